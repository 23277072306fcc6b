"""The command for an accelerator, at tiny sizes on a CPU: all parts, a second start, parts that fail or do not fit."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from small_runs import Finished, run_installed

CHECKOUT = Path(__file__).parents[2]

PARTS = ["tests", "sampling-tiny", "training-tiny", "recipe", "judged-unguided", "judged-guided"]


def start(folder: Path, *words: object, minutes: float = 10) -> Finished:
    program = (sys.executable, "-m", "benchmarks.accelerator")
    arguments = ("--tiny", "--minutes", minutes, "-o", folder, *words)
    return run_installed(*arguments, cwd=CHECKOUT, timeout=300, launcher=program)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def states(folder: Path) -> dict[str, str]:
    return {name: record["status"] for name, record in results(folder)["parts"].items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a start with enough time. Tests only read it."""
    folder = tmp_path_factory.mktemp("measured")
    finished = start(folder, "--device", "cpu")
    assert finished.code == 0, finished.out + finished.err
    assert "not reached" not in finished.out
    return folder


@pytest.fixture
def copied(measured: Path, tmp_path: Path) -> Path:
    """A copy of `measured`."""
    return Path(shutil.copytree(measured, tmp_path / "copied"))


@pytest.mark.slow
def test_all_parts_are_measured(measured):
    document = results(measured)
    assert list(document["parts"]) == PARTS
    assert set(states(measured).values()) == {"done"}
    assert (document["sizes"], document["device"], document["not_reached"]) == ("tiny", "cpu", [])
    assert document["command"].startswith("python -m benchmarks.accelerator --tiny")
    for record in document["parts"].values():
        assert record["command"].startswith("python -m ")
        assert {"torch", "python", "vqgen"} <= record["machine"].keys()
        assert 0 < record["seconds"] < record["limit_seconds"]


@pytest.mark.slow
def test_results_of_each_part_are_kept(measured):
    parts = {name: record["result"] for name, record in results(measured)["parts"].items()}
    assert parts["tests"]["counts"].keys() <= {"passed", "skipped"}
    assert sum(parts["tests"]["counts"].values()) > 0
    sampled = [(row["grid"], row["batch"]) for row in parts["sampling-tiny"]["rows"]]
    assert sampled == [(4, 1), (4, 2), (8, 1), (8, 2)]
    assert all(0 < row["share_of_limit"] < 1 for row in parts["sampling-tiny"]["rows"])
    steps = [(row["case"], row["dtype"]) for row in parts["training-tiny"]["rows"]]
    assert steps == [(case, dtype) for case in ("tiny-vqvae", "tiny-top") for dtype in ("bfloat16", "float32")]
    assert all(0 < row["share_of_limit"] < 1 for row in parts["training-tiny"]["rows"])
    assert all(stage["complete"] for stage in parts["recipe"]["stages"].values())
    assert parts["recipe"]["stages"]["vqvae"]["steps"] == 8
    for name, groups in (("unguided", {"reconstruction", "distribution"}), ("guided", {"distribution"})):
        found = {metric["group"] for metric in parts[f"judged-{name}"]["metrics"]}
        assert groups <= found
    assert "reconstruction" not in {metric["group"] for metric in parts["judged-guided"]["metrics"]}


@pytest.mark.slow
def test_second_start_skips_what_is_done_and_makes_what_is_missing(copied):
    document = results(copied)
    del document["parts"]["judged-guided"]
    (copied / "results.json").write_text(json.dumps(document))
    finished = start(copied, "--device", "cpu")
    assert finished.code == 0, finished.out + finished.err
    assert f"done before, skipped: {', '.join(PARTS[:-1])}" in finished.out
    again = results(copied)["parts"]
    assert {name: again[name] for name in PARTS[:-1]} == document["parts"]
    assert again["judged-guided"]["status"] == "done"


@pytest.mark.slow
def test_part_that_fails_does_not_stop_the_next_one(copied):
    document = results(copied)
    for name in ("recipe", "judged-unguided"):
        del document["parts"][name]
    (copied / "results.json").write_text(json.dumps(document))
    (copied / "work" / "digits" / "vqvae" / "stage.json").write_text("{")
    finished = start(copied, "--device", "cpu")
    assert finished.code == 1, finished.out + finished.err
    assert states(copied)["recipe"] == "failed"
    assert states(copied)["judged-unguided"] == "done"  # by the pipeline of the first start
    record = results(copied)["parts"]["recipe"]
    assert "stage.json" in record["reason"]
    assert f"not reached: recipe: failed; {record['reason']}" in finished.out


@pytest.mark.slow
def test_parts_that_do_not_fit_into_the_time_are_named(tmp_path):
    finished = start(tmp_path / "new", "--device", "cpu", minutes=0.1)
    assert finished.code == 0, finished.out + finished.err
    found = states(tmp_path / "new")
    assert list(found) == PARTS
    assert set(found.values()) <= {"out of time", "left out"}
    assert found["training-tiny"] == "out of time"
    for line in results(tmp_path / "new")["not_reached"]:
        assert f"not reached: {line}" in finished.out
    assert len(results(tmp_path / "new")["not_reached"]) == len(PARTS)
