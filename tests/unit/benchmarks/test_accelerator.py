"""Parts that share their time, are recorded whatever happens to them, and are skipped once they are done."""

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import accelerator, accelerator_parts
from benchmarks.accelerator import Results, not_reached, run_part, run_parts
from benchmarks.accelerator_parts import LeftOut, Part, Parts, files_with_gpu_tests
from vqgen.config import save_recipe
from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.records import StageRecord

TINY = {"sizes": "tiny", "device": "cpu"}


def part(text, name="a", share=1.0, result=dict, grace=5.0):
    return Part(name, share, lambda: [sys.executable, "-c", text], result, grace)


def left_out(name="a"):
    def words():
        raise LeftOut("there are no images")

    return Part(name, 1.0, words, dict)


# A part


def test_finished_part_is_done():
    record = run_part(part("print('hello')", result=lambda: {"rows": [1]}), 60)
    assert (record["status"], record["exit_code"], record["result"]) == ("done", 0, {"rows": [1]})
    assert record["command"] == "python -c 'print('\"'\"'hello'\"'\"')'"
    assert record["output"] == ("hello",)
    assert 0 < record["seconds"] < record["limit_seconds"] == 60
    assert "torch" in record["machine"]
    assert "reason" not in record


def test_part_that_fails_keeps_its_results_and_its_last_line():
    record = run_part(part("import sys; sys.exit('CUDA error')", result=lambda: {"left": ["x"]}), 60)
    assert (record["status"], record["reason"], record["exit_code"]) == ("failed", "CUDA error", 1)
    assert record["result"] == {"left": ["x"]}


def test_part_that_crashes_is_recorded():
    record = run_part(part("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"), 60)
    assert (record["status"], record["exit_code"], record["reason"]) == ("failed", -11, "it printed nothing")


def test_part_that_does_not_fit_is_stopped():
    record = run_part(part("import time; time.sleep(60)"), 1.0)
    assert (record["status"], record["reason"]) == ("out of time", "stopped after 1 s")


def test_part_without_time_is_not_begun(tmp_path):
    mark = tmp_path / "begun"
    record = run_part(part(f"open({str(mark)!r}, 'w')"), 0.5)
    assert record == {"status": "out of time", "reason": "not begun, its time was over"}
    assert not mark.exists()


@pytest.mark.parametrize("limit", [60, 0])
def test_part_that_cannot_run_gives_its_reason(limit):
    assert run_part(left_out(), limit) == {"status": "left out", "reason": "there are no images"}


def test_damaged_files_are_reported():
    def damaged():
        raise CheckpointError("stage.json: is not a JSON file")

    record = run_part(Part("a", 1.0, damaged, dict), 60)
    assert record == {"status": "failed", "reason": "stage.json: is not a JSON file"}
    record = run_part(part("pass", result=damaged), 60)
    assert (record["status"], record["result"]) == ("done", {"error": "stage.json: is not a JSON file"})


# All parts


def open_results(folder: Path) -> Results:
    return Results.open(folder, TINY)


def test_results_are_saved_after_each_part(tmp_path, capsys):
    seen = []

    def look():
        path = tmp_path / "results.json"
        seen.append(list(json.loads(path.read_text())["parts"]) if path.exists() else [])
        return {}

    parts = [part("pass", name, result=look) for name in "abc"]
    assert run_parts(parts, open_results(tmp_path), 60) == []
    assert seen == [[], ["a"], ["a", "b"]]
    document = json.loads((tmp_path / "results.json").read_text())
    assert {"command", "machine", "sizes", "device", "parts", "not_reached"} == document.keys()
    assert document["not_reached"] == []


def test_second_start_runs_only_what_is_not_done(tmp_path, capsys):
    ran = []
    parts = [
        part("pass", "done", result=lambda: ran.append("done") or {}),
        part("raise SystemExit('broken')", "fails", result=lambda: ran.append("fails") or {}),
        left_out("waits"),
    ]
    assert run_parts(parts, open_results(tmp_path), 60) == ["fails"]
    parts[2] = part("pass", "waits", result=lambda: ran.append("waits") or {})
    assert run_parts(parts, open_results(tmp_path), 60) == ["fails"]
    assert ran == ["done", "fails", "fails", "waits"]
    states = {name: record["status"] for name, record in open_results(tmp_path).parts.items()}
    assert states == {"done": "done", "fails": "failed", "waits": "done"}


def test_part_that_is_not_begun_leaves_its_earlier_results(tmp_path, capsys):
    sleeps = part("import time; time.sleep(60)", result=lambda: {"rows": [1]})
    run_parts([sleeps], open_results(tmp_path), 1.2)
    run_parts([sleeps], open_results(tmp_path), 0.1)
    record = open_results(tmp_path).parts["a"]
    assert (record["reason"], record["result"]) == ("stopped after 1 s", {"rows": [1]})


def test_time_that_is_left_goes_to_later_parts(tmp_path, monkeypatch, capsys):
    now = [0.0]
    used = iter([10.0, 40.0, 5.0])
    limits = []

    def run(part, limit):
        limits.append(limit)
        now[0] += next(used)
        return {"status": "done"}

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(accelerator, "run_part", run)
    parts = [part("", "a", 0.2), part("", "b", 0.3), part("", "c", 0.5)]
    run_parts(parts, open_results(tmp_path), 100)
    assert limits == pytest.approx([20, 90 * 3 / 8, 50])


def test_part_without_a_share_leaves_the_time_to_the_others(tmp_path, monkeypatch, capsys):
    limits = []
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    monkeypatch.setattr(accelerator, "run_part", lambda part, limit: limits.append(limit) or {"status": "done"})
    run_parts([part("", "a", 0.5), part("", "b", 0.0)], open_results(tmp_path), 100)
    assert limits == [100, 0]


def test_folder_with_other_results_is_refused(tmp_path, capsys):
    run_parts([part("pass")], open_results(tmp_path), 60)
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(
        ConfigError, match=r"-o: should be .* sizes full, found results of sizes tiny .* choose another"
    ):
        Results.open(tmp_path, {"sizes": "full", "device": "cpu"})
    assert (tmp_path / "results.json").read_text() == before


def test_everything_that_is_missing_is_named():
    lines = not_reached(
        {
            "a": {"status": "done", "result": {"left": [], "failed": {}, "left_out": []}},
            "b": {"status": "out of time", "reason": "stopped after 3 s", "result": {"left": ["x", "y"]}},
            "c": {"status": "left out", "reason": "no images"},
            "d": {"status": "done", "result": {"left_out": ["6M 64 batch 64"]}},
            "z": {"status": "done", "result": {"left_out": {"lpips": "images are too small"}}},
            "e": {
                "status": "failed",
                "reason": "broken",
                "result": {"failed": {"paper-top": "OutOfMemoryError: 80 GB"}},
            },
        }
    )
    assert lines == [
        "b: out of time; stopped after 3 s; left: x, y",
        "c: left out; no images",
        "d: too large for the time or the memory: 6M 64 batch 64",
        "e: failed; broken; paper-top failed: OutOfMemoryError: 80 GB",
    ]


# The parts of the program


def make_parts(folder: Path, is_tiny=True, device="cpu"):
    return {part.name: part for part in Parts(device, is_tiny, folder / "data", folder / "work").all()}


@pytest.mark.parametrize("is_tiny", [True, False])
def test_shares_of_the_parts_are_the_whole_time(tmp_path, is_tiny, monkeypatch):
    monkeypatch.setattr(accelerator_parts, "open_images", lambda data, seed: None)
    parts = make_parts(tmp_path, is_tiny)
    assert sum(part.share for part in parts.values()) == pytest.approx(1)
    assert [name.split("-")[0] for name in parts] == sorted(
        (name.split("-")[0] for name in parts), key=["tests", "sampling", "training", "recipe", "judged"].index
    )


def test_full_sizes_are_those_of_the_paper_and_the_recipes(tmp_path):
    (tmp_path / "work").mkdir()
    parts = make_parts(tmp_path, is_tiny=False, device="cuda")
    words = {name: " ".join(part.words()[1:]) for name, part in parts.items() if name.split("-")[0] in
             ("sampling", "training")}  # fmt: skip
    assert words["sampling-6M"].startswith(
        "-m benchmarks.sampling --sizes 6M --grids 32 64 --batches 1 64 --alone --dtype bfloat16 --device cuda"
    )
    assert "--sizes paper-bottom --grids 64" in words["sampling-paper-bottom"]
    assert "--cases paper-vqvae paper-top paper-bottom " in words["training-paper"]
    assert all("--dtypes bfloat16 float32" in text for name, text in words.items() if "training" in name)


def test_results_of_an_earlier_start_are_forgotten(tmp_path):
    (tmp_path / "work").mkdir()
    old = tmp_path / "work" / "sampling-tiny.json"
    old.write_text('{"rows": ["old"]}')
    sampling = make_parts(tmp_path)["sampling-tiny"]
    sampling.words()
    assert sampling.result() == {}
    old.write_text('{"rows": ["new"]}')
    assert sampling.result() == {"rows": ["new"]}


def test_recipe_without_images_is_left_out(tmp_path):
    parts = make_parts(tmp_path, is_tiny=False)
    with pytest.raises(LeftOut, match=r"fashion-mnist cannot be opened in .*data"):
        parts["recipe"].words()
    # The other parts have its time.
    assert [parts[name].share for name in ("recipe", "judged-unguided", "judged-guided")] == [0, 0, 0]


def test_run_is_judged_by_what_it_has(tmp_path):
    parts = make_parts(tmp_path)
    for name in ("judged-unguided", "judged-guided"):
        with pytest.raises(LeftOut, match="the run has no pipeline yet"):
            parts[name].words()
    pipeline = tmp_path / "work" / "digits" / "pipeline"
    pipeline.mkdir(parents=True)
    write_pipeline(pipeline, "vqvae", "prior-top")
    assert "--only reconstruction codes" in " ".join(parts["judged-unguided"].words())
    with pytest.raises(LeftOut, match="no priors yet that could be guided"):
        parts["judged-guided"].words()
    write_pipeline(pipeline, "vqvae", "prior-top", "prior-bottom")
    unguided, guided = (" ".join(parts[f"judged-{name}"].words()) for name in ("unguided", "guided"))
    assert "--only" not in unguided and "--guidance-scale" not in unguided
    assert "--guidance-scale 1 1.5 --only code-entropy distribution" in guided


def write_pipeline(folder: Path, *models: str):
    shipped = Path(__file__).parents[3] / "checkpoints" / "pretrained" / "digits" / "pipeline.json"
    document = json.loads(shipped.read_text())
    (folder / "pipeline.json").write_text(json.dumps(document | {"sha256": dict.fromkeys(models, "0" * 64)}))


def test_stages_of_a_cut_run_are_described(tmp_path, tiny_recipe):
    recipe = make_parts(tmp_path)["recipe"]
    assert recipe.result() == {}
    run = tmp_path / "work" / "digits"
    (run / "vqvae").mkdir(parents=True)
    (run / "codes").mkdir()
    save_recipe(tiny_recipe(), run / "recipe.toml")
    StageRecord("vqvae", {}, {}, {}, complete=True, metrics={"val_mse": 0.5}, seconds=3.0).write(run / "vqvae")
    StageRecord("codes", {}, {}, {}).write(run / "codes")
    (run / "vqvae" / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n')
    result = recipe.result()
    assert result["stages"]["vqvae"] == {
        "complete": True, "steps": 2, "seconds": 3.0, "metrics": {"val_mse": 0.5}
    }  # fmt: skip
    assert result["stages"]["codes"] == {"complete": False}
    assert result["left"] == ["codes", "prior-top", "prior-bottom", "samples"]


def test_files_with_tests_for_an_accelerator_are_found():
    assert "tests/unit/sampling/test_cuda_graph.py" in files_with_gpu_tests()
    assert not any("benchmarks" in name for name in files_with_gpu_tests())


# Arguments


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--minutes", "0"], "--minutes: should be above 0, found 0"),
        (["--minutes", "inf"], "--minutes: should be above 0, found inf"),
        (["--device", "abacus"], "device: should be auto, cpu, cuda, cuda:N or mps, found 'abacus'"),
        (["--device", "cpu:0"], "--device: should be cuda, mps, cpu or auto, found 'cpu:0'"),
    ],
)
def test_wrong_argument_is_refused(words, message, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["accelerator", "-o", str(tmp_path / "out"), *words])
    assert accelerator.main() == 2
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "out").exists()
