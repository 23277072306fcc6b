import json

import pytest
import torch
from tiny_models import make_baseline

from vqgen.commands import generate
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.errors import ConfigError
from vqgen.pipeline import BaselinePipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.pipeline.request import GenerationRequest
from vqgen.runtime.collective import Processes
from vqgen.runtime.compute import Compute
from vqgen.sampling import SamplingParams


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    opens(pipe)
    return lambda *words: call(generate, "c", "-o", tmp_path / "out", "--device", "cpu", "--quiet", *words)


@pytest.fixture
def requests(monkeypatch):
    """The requests of the commands, which the real function still answers."""
    from vqgen.pipeline.sharing import generate_shared

    seen = []

    def record(pipe, request, processes, *, quiet=False):
        seen.append((request, quiet))
        return generate_shared(pipe, request, processes, quiet=quiet)

    monkeypatch.setattr("vqgen.pipeline.sharing.generate_shared", record)
    return seen


def test_request_has_every_parameter_of_the_command_line(run, requests):
    words = (
        "--labels", "dog", "index:0", "--images-per-label", "3", "--seed", "7", "--temperature", "0.5", "0.75",
        "--top-k", "4", "--top-p", "0.9", "--guidance-scale", "1.5", "--batch-size", "2", "--max-memory", "500MB",
    )  # fmt: skip
    assert run(*words) == 0
    params = SamplingParams(temperature=[0.5, 0.75], top_k=4, top_p=0.9, guidance_scale=[1.5], autoguidance_scale=[1.0])
    request = GenerationRequest(["dog", "index:0"], 3, 7, params, batch_size=2, max_memory=500_000_000)
    assert requests == [(request, True)]


def test_request_without_options_draws_eight_images_of_every_label(run, requests, tmp_path):
    assert run() == 0
    ((request, _),) = requests
    assert (request.labels, request.images_per_label, request.seed, request.keep) == (None, 8, 0, 1.0)
    written = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("0*.png"))
    assert written == [f"{name}/{number:05d}.png" for name in ("10", "cat", "dog") for number in range(8)]


def test_samples_are_those_of_the_pipeline_and_their_parameters_are_written(run, pipe, tmp_path, capsys):
    assert run("--labels", "dog", "--images-per-label", "2", "--seed", "5", "--temperature", "0.5") == 0
    output = pipe("dog", 2, seed=5, temperature=0.5)
    document = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert document["seed"] == 5
    assert document["sampling"]["temperature"] == [0.5]
    assert document["sampling"]["keep"] == 1.0
    assert [image["log_likelihood"] for image in document["images"]] == output.log_likelihood.tolist()
    nats = -output.log_likelihood.mean().item()
    assert capsys.readouterr().out == (
        f"2 images in {tmp_path / 'out'}, grid.png shows them all; {nats:.4g} nats each\n"
    )


def test_summary_of_a_model_without_likelihood_has_no_nats(run, opens, tmp_path, capsys):
    data = DataConfig(source="digits", image_size=8, channels=1)
    parts = BaselineParts(name="b", data=data, label_map=LabelMap(()), model=make_baseline())
    opens(BaselinePipeline(parts, Compute.resolve("cpu", "float64")))
    assert run("--images-per-label", "2") == 0
    assert capsys.readouterr().out == f"2 images in {tmp_path / 'out'}, grid.png shows them all\n"


@pytest.mark.parametrize(("rank", "is_written"), [(0, True), (1, False)])
def test_first_process_alone_writes_and_prints(run, pipe, tmp_path, capsys, monkeypatch, rank, is_written):
    output = pipe("dog", 1)
    monkeypatch.setattr(
        "vqgen.runtime.launch.join_processes", lambda device, dtype: Processes(rank, 2, torch.device("cpu"))
    )
    monkeypatch.setattr("vqgen.pipeline.sharing.generate_shared", lambda *words, **options: iter([output]))
    assert run() == 0
    assert (tmp_path / "out" / "grid.png").exists() == is_written
    assert bool(capsys.readouterr().out) == is_written


def test_pipeline_is_opened_on_the_device_of_its_process(call, pipe, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("vqgen.pipeline.open_pipeline", lambda name, **where: opened.append((name, where)) or pipe)
    words = ("some/run", "-o", tmp_path / "out", "--images-per-label", 1, "--quiet", "--dtype", "float64")
    assert call(generate, *words, "--device", "cpu") == 0
    assert opened == [("some/run", {"device": "cpu", "dtype": "float64"})]


def test_samples_of_an_earlier_call_are_replaced_only_on_request(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("--labels", "cat", "dog", "--images-per-label", "2") == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"should be a new or empty folder, found cat/00000\.png, and 5 more"):
        run("--labels", "dog", "--images-per-label", "1")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "cat" / "mine.txt").write_text("mine")
    capsys.readouterr()
    assert run("--labels", "dog", "--images-per-label", "1", "--overwrite") == 0
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert found == ["cat/mine.txt", "dog/00000.png", "grid.png", "samples.json"]
    assert "; 1 older file is there too" in capsys.readouterr().out


def test_samples_of_a_call_that_was_cut_are_counted(run, tmp_path, capsys):
    assert run("--labels", "cat", "--images-per-label", "2") == 0
    (tmp_path / "out" / "samples.json").unlink()  # the file that is written last
    capsys.readouterr()
    assert run("--labels", "cat", "--images-per-label", "1", "--overwrite") == 0
    assert "; 1 older file is there too" in capsys.readouterr().out


def test_used_folder_is_refused_before_the_checkpoint_is_opened(call, tmp_path, monkeypatch):
    monkeypatch.setattr("vqgen.pipeline.open_pipeline", lambda *a, **k: pytest.fail("opened it"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").touch()
    with pytest.raises(ConfigError, match="new or empty folder"):
        call(generate, "c", "-o", tmp_path / "out")
