"""Runs with trackers: the records are read back, and the results are those of a run without."""

import os
import socket
import sqlite3
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from small_runs import Finished, assert_refused, final_hashes, metrics, run_installed, small_document, write_recipe

pytestmark = pytest.mark.slow

STEPS = [4, 5, 8, 10, 12, 15, 16, 20, 24]
"""Steps at which a block of metrics is written: every 4, every save (5) and every validation (12)."""


@pytest.fixture
def run(tmp_path):
    """Trains the recipe of `trained` with a tracker, in a folder of its own."""

    def train(kind: str, *words: object, **variables: str) -> Finished:
        if find_spec(kind) is None:
            pytest.skip(f"{kind} is not installed")
        recipe = write_recipe(tmp_path / "tiny.toml", small_document())
        options = ("--vqvae.train.tracker", kind, "--parallel-stages", 1, *words)
        words = ("run", recipe, "--checkpoints", tmp_path / "runs", *options)
        return run_installed(*words, cwd=tmp_path, timeout=300, **variables)

    return train


@pytest.fixture
def door():
    """A port at which a program that looks for the internet through a proxy would knock."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def assert_nobody_knocked(door: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        door.accept()


def through(door: socket.socket) -> dict[str, str]:
    address = "http://127.0.0.1:{1}".format(*door.getsockname())
    return {name: address for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY")}


def assert_same_results(finished: Finished, tracked: Path, trained: Path) -> None:
    assert finished.code == 0, finished.err
    assert "Traceback" not in finished.err and "Warning" not in finished.err, finished.err
    assert final_hashes(tracked) == final_hashes(trained)


def test_tensorboard_has_the_curves_of_each_stage_and_pictures(run, trained, tmp_path):
    finished = run("tensorboard")
    folder = tmp_path / "runs" / "tiny"
    assert_same_results(finished, folder, trained)
    assert f"tracker tensorboard: {folder / 'tiny'}\n" in finished.out
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tiny"))
    events.Reload()
    lines = {line["step"]: line for line in metrics(folder / "vqvae")}
    shown = events.Scalars("vqvae/loss")
    assert [each.step for each in shown] == STEPS
    assert [each.value for each in shown] == pytest.approx([lines[step]["loss"] for step in STEPS])
    assert [each.step for each in events.Scalars("vqvae/val_mse")] == [12, 24]
    assert events.Scalars("prior-top/loss") and events.Scalars("prior-bottom/loss")
    assert [each.step for each in events.Images("vqvae/reconstructions")] == [12, 24]
    (grid,) = events.Images("samples/grid")
    with Image.open(BytesIO(grid.encoded_image_string)) as logged, Image.open(folder / "samples/grid.png") as written:
        assert logged.convert("L").tobytes() == written.tobytes()


def test_wandb_works_offline_and_keeps_quiet(run, trained, tmp_path, door):
    finished = run("wandb", WANDB_MODE="offline", HOME=str(tmp_path), **through(door))
    folder = tmp_path / "runs" / "tiny"
    assert_same_results(finished, folder, trained)
    assert_nobody_knocked(door)
    assert "\nwandb: " not in f"\n{finished.out}\n{finished.err}"
    (records,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    assert f"tracker wandb: {records.parent}\n" in finished.out
    content = records.read_bytes()
    for name in (b"vqvae/loss", b"vqvae/val_mse", b"prior-top/loss", b"samples/nats_per_image", b"priors.1.layers"):
        assert name in content
    media = records.parent / "files" / "media" / "images"
    assert len(list(media.glob("vqvae/reconstructions*.png"))) == 2
    (grid,) = media.glob("samples/grid*.png")
    with Image.open(grid) as logged, Image.open(folder / "samples/grid.png") as written:
        assert logged.convert("L").tobytes() == written.tobytes()
    assert not (tmp_path / "wandb").exists()


def test_mlflow_keeps_a_database_in_the_run_folder(run, trained, tmp_path, door):
    finished = run("mlflow", **through(door))
    folder = tmp_path / "runs" / "tiny"
    assert_same_results(finished, folder, trained)
    assert_nobody_knocked(door)
    assert f"tracker mlflow: {folder / 'mlflow'}\n" in finished.out
    assert "INFO" not in finished.out + finished.err
    database = sqlite3.connect(folder / "mlflow" / "mlflow.db")
    try:
        found = database.execute("select step, value from metrics where key = 'vqvae/loss' order by step").fetchall()
        lines = {line["step"]: line for line in metrics(folder / "vqvae")}
        assert found == [(step, pytest.approx(lines[step]["loss"])) for step in STEPS]
        settings = dict(database.execute("select key, value from params").fetchall())
        assert settings["priors.1.layers"] == "1" and settings["vqvae.downsample"] == "[8, 4]"
        assert database.execute("select name, status from runs").fetchall() == [("tiny", "FINISHED")]
    finally:
        database.close()
    pictures = [path.name for path in (folder / "mlflow" / "artifacts").rglob("*.png")]
    assert len([name for name in pictures if name.startswith("vqvae~reconstructions")]) == 2
    assert len([name for name in pictures if name.startswith("samples~grid")]) == 1
    assert not (tmp_path / "mlflow.db").exists() and not (tmp_path / "mlruns").exists()


def test_stages_side_by_side_have_records_of_their_own(run, trained, tmp_path):
    finished = run("wandb", "--parallel-stages", 2, WANDB_MODE="offline", HOME=str(tmp_path))
    folder = tmp_path / "runs" / "tiny"
    assert_same_results(finished, folder, trained)
    records = [path.read_bytes() for path in (folder / "wandb").glob("offline-run-*/run-*.wandb")]
    assert sorted(b"prior-top/loss" in each for each in records) == [False, False, True]
    assert sorted(b"tiny prior-bottom" in each for each in records) == [False, False, True]


def test_tracker_without_a_key_is_refused_before_the_training(run, tmp_path):
    finished = run("wandb", HOME=str(tmp_path), NETRC=os.devnull)
    assert_refused(finished, "tracker: wandb does not start", "WANDB_MODE=offline", "train with tracker none")
    assert not (tmp_path / "runs" / "tiny" / "vqvae").exists()


def test_server_that_goes_away_does_not_end_the_training(run, trained, tmp_path):
    pytest.importorskip("mlflow")
    # The database goes away during the training, as a server does: its table is dropped by the first picture.
    program = """
import sqlite3, sys
from pathlib import Path
from vqgen.cli import main
from vqgen.stages.train_vqvae import VQVAEObjective

def pictures(self):
    (path,) = Path("runs").glob("tiny/mlflow/mlflow.db")
    with sqlite3.connect(path) as database:
        database.execute("drop table metrics")
    return {}

VQVAEObjective.pictures = pictures
sys.exit(main(sys.argv[1:]))
"""
    recipe = write_recipe(tmp_path / "tiny.toml", small_document())
    words = ("run", recipe, "--checkpoints", "runs", "--vqvae.train.tracker", "mlflow", "--parallel-stages", 1)
    finished = run_installed(*words, launcher=(sys.executable, "-c", program), cwd=tmp_path, timeout=300)
    assert finished.code == 0, finished.err
    assert finished.err.count("tracker: mlflow failed") == 1
    assert "metrics.jsonl has all metrics" in finished.err
    assert final_hashes(tmp_path / "runs" / "tiny") == final_hashes(trained)
