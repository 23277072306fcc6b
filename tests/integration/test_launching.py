"""Runs of one, two and three processes have the same models, codes and samples."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_runs import Finished, all_files, metrics, pixels, record, run_installed, small_document, write_recipe

pytestmark = pytest.mark.slow


def launch(processes: int, *words: object, program: tuple[str, ...] = ("-m", "vqgen"), **variables: str) -> Finished:
    """Runs the program by torchrun."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
    return run_installed(*words, launcher=(sys.executable, *torchrun, *program), **variables)


def document(steps: int) -> dict:
    """Builds a recipe with restarts and label dropout, whose batches cannot be divided among two or three processes."""
    made = small_document(generate__images_per_label=3, vqvae__restart_after=4)
    made["vqvae"]["train"] |= {"steps": steps, "batch_size": 13, "validate_every": 25, "learning_rate": 3e-3}
    for prior in made["priors"]:
        prior["train"] |= {"steps": 6, "batch_size": 7}
    return made


def weights_differ_by(one: Path, other: Path) -> float:
    """Returns the largest difference of two weights of the same name."""
    first = load_file(one / "model" / "model.safetensors")
    second = load_file(other / "model" / "model.safetensors")
    assert first.keys() == second.keys()
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


def losses_differ_by(one: Path, other: Path) -> float:
    """Returns the largest difference of two logged metrics of the same name and step, validation included."""
    lines = metrics(one)
    others = metrics(other)
    assert [line.keys() for line in lines] == [line.keys() for line in others]
    return max(abs(line[name] - pair[name]) for line, pair in zip(lines, others, strict=True) for name in line)


def run_with(processes: int, root: Path, dtype: str, steps: int) -> Path:
    """Runs all stages with a number of processes and returns the run folder."""
    recipe = write_recipe(root / "tiny.toml", document(steps))
    words = ("run", recipe, "--checkpoints", root, "--run-name", f"by-{processes}", "--dtype", dtype)
    finished = launch(processes, *words) if processes > 1 else run_installed(*words)
    assert finished.code == 0, finished.err
    assert finished.out.count("samples: 30 images") == 1  # printed by one process
    run = root / f"by-{processes}"
    for stage in ("vqvae", "codes", "prior-top", "prior-bottom", "samples"):
        assert record(run / stage)["environment"]["processes"] == processes
    return run


@pytest.fixture(scope="module")
def in_float64(tmp_path_factory):
    root = tmp_path_factory.mktemp("float64")
    return {processes: run_with(processes, root, "float64", 50) for processes in (1, 2, 3)}


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_train_the_same_vqvae_in_float64(in_float64, processes):
    one = in_float64[1] / "vqvae"
    many = in_float64[processes] / "vqvae"
    assert len(metrics(one)) == 50
    assert weights_differ_by(one, many) < 1e-8  # codebooks and their averages among them
    assert losses_differ_by(one, many) < 1e-8
    weights = load_file(one / "model" / "model.safetensors")
    assert all(tensor.dtype == torch.float64 for name, tensor in weights.items() if "ema" in name)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_extract_the_codes_of_every_image_once(in_float64, processes):
    for path in sorted((in_float64[1] / "codes").glob("*.safetensors")):
        one = load_file(path)
        many = load_file(in_float64[processes] / "codes" / path.name)
        assert one.keys() == many.keys()
        assert all(torch.equal(one[name], many[name]) for name in one)
    found = record(in_float64[processes] / "codes")["metrics"]
    assert found == pytest.approx(record(in_float64[1] / "codes")["metrics"])


def test_processes_share_the_samples_of_a_run(in_float64, tmp_path):
    # All samples are of one run: the priors of the runs differ by their dropout, which each process draws for itself.
    words = ("generate", in_float64[1], "--images-per-label", 3, "--seed", 0, "--dtype", "float64", "-o")
    finished = launch(3, *words, tmp_path / "many")
    assert finished.code == 0, finished.err
    pictures = sorted((in_float64[1] / "samples").rglob("*.png"))
    assert len(pictures) == 31
    for path in pictures:
        assert np.array_equal(pixels(path), pixels(tmp_path / "many" / path.relative_to(in_float64[1] / "samples")))


def test_processes_agree_to_rounding_in_float32(tmp_path):
    one, two = (run_with(processes, tmp_path, "float32", 20) / "vqvae" for processes in (1, 2))
    assert weights_differ_by(one, two) < 1e-5
    assert losses_differ_by(one, two) < 1e-5


def test_more_processes_than_images_in_a_batch_are_refused(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", document(5))
    finished = launch(2, "run", recipe, "--checkpoints", tmp_path / "c", "--vqvae.train.batch-size", 1)
    assert finished.code == 1  # torchrun's own
    assert finished.err.count("vqgen: vqvae.train.batch_size: should be at least the 2 processes, found 1") == 1
    assert not (tmp_path / "c").exists()


FAILING = """
import os, sys
from vqgen.errors import DataError
from vqgen.stages import extract_codes

def fail(*arguments):
    raise DataError("cannot read image 'x'")

if os.environ["RANK"] == "1":
    {patch}

from vqgen.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("extract_codes._ShardEncoder.__call__ = fail", "vqgen: cannot read image 'x'"),
        ("from vqgen.data import ImageBatches; ImageBatches._batch = fail", "vqgen, process 1: cannot read image 'x'"),
    ],
    ids=["while extracting", "while training"],
)
def test_error_of_one_process_is_printed_once_and_stops_all(tmp_path, patch, message):
    (tmp_path / "vqgen").write_text(FAILING.format(patch=patch))
    recipe = write_recipe(tmp_path / "tiny.toml", document(5))
    finished = launch(2, "run", recipe, "--checkpoints", tmp_path / "c", program=(str(tmp_path / "vqgen"),))
    assert finished.code == 1
    assert finished.err.count("cannot read image 'x'") == 1
    assert message in finished.err
    assert "[rank" not in finished.err  # no traceback of a process; torchrun adds its own


def test_second_launch_skips_everything(in_float64):
    root = in_float64[2].parent
    before = all_files(in_float64[2])
    words = ("run", root / "tiny.toml", "--checkpoints", root, "--run-name", "by-2", "--dtype", "float64")
    finished = launch(2, *words)
    assert finished.code == 0, finished.err
    assert finished.out.count(": complete\n") == 5
    assert all_files(in_float64[2]) == before
