"""A run that is killed or stopped goes on with the same command and equals an uninterrupted run."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import (
    final_hashes,
    metrics,
    record,
    run_installed,
    small_document,
    start,
    wait_for,
    write_recipe,
)

KILLS = 5


def assert_same_run(run: Path, whole: Path) -> None:
    assert final_hashes(run) == final_hashes(whole)
    for stage in ("vqvae", "prior-top", "prior-bottom"):
        assert metrics(run / stage) == metrics(whole / stage)
        steps = [line["step"] for line in metrics(run / stage)]
        assert steps == list(range(1, len(steps) + 1))
        assert record(run / stage)["metrics"] == record(whole / stage)["metrics"]
    names = {path.relative_to(run) for path in run.rglob("*")}
    assert names == {path.relative_to(whole) for path in whole.rglob("*")}  # no temporary file is left


def longer_document() -> dict:
    """Builds a recipe that takes some seconds in every stage, so that random moments fall into all of them."""
    document = small_document(generate__images_per_label=30)
    document["vqvae"]["train"] |= {"steps": 150, "validate_every": 40}
    for prior in document["priors"]:
        prior["train"] |= {"steps": 120, "validate_every": 40}
    document["priors"][1] = document["priors"][1] | {"label_contrast": 1.0, "label_contrast_share": 0.5}
    return document


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, its recipe and its seconds."""
    root = tmp_path_factory.mktemp("whole")
    recipe = write_recipe(root / "tiny.toml", longer_document())
    began = time.monotonic()
    finished = run_installed("run", recipe, "--checkpoints", root)
    assert finished.code == 0, finished.err
    return root / "tiny", recipe, time.monotonic() - began


@pytest.mark.slow
def test_run_killed_at_random_moments_equals_an_uninterrupted_run(whole, tmp_path):
    run, recipe, seconds = whole
    moments = random.Random(0)
    kills = 0
    runs = 0
    while kills < KILLS or runs == 0:  # a run may end before the last kill; then the next run begins
        root = tmp_path / str(runs)
        process = start("run", recipe, "--checkpoints", root)
        try:
            # An uninterrupted run imports for about a third of its time, before any work begins.
            wait = moments.uniform(0.3, 0.7) * seconds if kills < KILLS else 300
            out, err = process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, err
        assert "Traceback" not in out + err
        assert_same_run(root / "tiny", run)
        runs += 1


MOMENTS = [
    "vqvae/metrics.jsonl",
    "vqvae/state/training.safetensors",
    "vqvae/model/config.json",
    "codes/train-00000.safetensors",
    "codes/manifest.json",
    "prior-top/state/training.safetensors",
    "prior-top/model/config.json",
    "samples/stage.json",
    "samples/4/00000.png",
]


@pytest.mark.slow
def test_run_killed_as_soon_as_a_file_appears_equals_an_uninterrupted_run(whole, tmp_path):
    run, recipe, _ = whole
    for name in MOMENTS:
        process = start("run", recipe, "--checkpoints", tmp_path)
        try:
            wait_for(tmp_path / "tiny" / name, process)
        finally:
            process.kill()
            process.communicate()
    finished = run_installed("run", recipe, "--checkpoints", tmp_path)
    assert finished.code == 0, finished.err
    assert_same_run(tmp_path / "tiny", run)


@pytest.mark.slow
def test_signal_saves_the_state_before_the_run_stops(whole, tmp_path):
    run, recipe, _ = whole
    for stage, number, code in (("vqvae", signal.SIGINT, 130), ("prior-top", signal.SIGTERM, 143)):
        never = ("--vqvae.train.save-every", 10**6, "--priors.0.train.save-every", 10**6)
        process = start("run", recipe, "--checkpoints", tmp_path, *never)
        wait_for(tmp_path / "tiny" / stage / "metrics.jsonl", process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        assert err == "vqgen: stopped; run the same command again to go on\n"
        assert (tmp_path / "tiny" / stage / "state" / "training.safetensors").is_file()
        assert metrics(tmp_path / "tiny" / stage)
    finished = run_installed("run", recipe, "--checkpoints", tmp_path, *never)
    assert finished.code == 0, finished.err
    assert_same_run(tmp_path / "tiny", run)


@pytest.mark.slow
def test_signal_to_torchrun_saves_the_state_before_the_run_stops(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", longer_document())
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "vqgen")
    process = start("train-vqvae", recipe, "--checkpoints", tmp_path, "--vqvae.train.steps", 4000, launcher=launcher)
    wait_for(tmp_path / "tiny" / "vqvae" / "metrics.jsonl", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert err.count("vqgen: stopped; run the same command again to go on") == 1
    assert (tmp_path / "tiny" / "vqvae" / "state" / "training.safetensors").is_file()
    assert not record(tmp_path / "tiny" / "vqvae")["complete"]


@pytest.mark.slow
def test_signal_during_sampling_stops_within_seconds(trained, tmp_path):
    process = start("generate", trained, "--images-per-label", 20000, "-o", tmp_path / "out")
    time.sleep(6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
