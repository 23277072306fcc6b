from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image

from vqgen.errors import ConfigError, VQGenWarning
from vqgen.runtime.trackers import TrackedRun, end_trackers, log_metrics, log_pictures, require_tracker, start_tracker


class Fake:
    """A tracker that keeps what it is given, or fails."""

    def __init__(self, name="mlflow", error=None):
        self.name = name
        self.error = error
        self.calls = []

    def log(self, *words, **options):
        self.calls.append((*words, options))
        if self.error is not None:
            raise self.error

    def finish(self):
        self.log("finish")


@pytest.fixture
def accelerator(tmp_path):
    pytest.importorskip("tensorboard")
    return Accelerator(cpu=True, log_with="tensorboard", project_dir=tmp_path)


@pytest.fixture
def run(tmp_path):
    return TrackedRun("digits", "try-2", tmp_path, ["vqvae", "samples"], {"seed": 7, "vqvae.downsample": [4, 2]})


def test_package_is_needed(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    require_tracker("tensorboard")
    with pytest.raises(ConfigError, match="tracker: no_such is not installed"):
        require_tracker("no_such")
    # wandb makes a folder of its own name, which Python takes for a package.
    (tmp_path / "no_such").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="tracker: no_such is not installed"):
        require_tracker("no_such")


def test_event_file_has_metrics_pictures_and_the_recipe(accelerator, run, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert start_tracker(accelerator, "tensorboard", run) == str(tmp_path / "digits")
    log_metrics(accelerator, "vqvae", {"loss": 0.5}, 20)
    log_metrics(accelerator, "prior-top", {"loss": 2.5}, 20)
    picture = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    log_pictures(accelerator, "vqvae", {"reconstructions": picture}, 20)
    end_trackers(accelerator)
    assert accelerator.trackers == []
    events = EventAccumulator(str(tmp_path / "digits"))
    events.Reload()
    found = {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {"vqvae/loss": [(20, 0.5)], "prior-top/loss": [(20, 2.5)]}
    (shown,) = events.Images("vqvae/reconstructions")
    assert (shown.step, shown.width, shown.height) == (20, 8, 6)
    (text,) = events.Tensors("recipe/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "    seed = 7\n    vqvae.downsample = [4, 2]"


def test_steps_of_each_stage_are_its_own(run):
    mlflow = Fake("mlflow")
    wandb = Fake("wandb")
    for tracker in (mlflow, wandb):
        log_metrics(SimpleNamespace(trackers=[tracker]), "vqvae", {"loss": 0.5}, 20)
    assert mlflow.calls == [({"vqvae/loss": 0.5}, {"step": 20})]
    assert wandb.calls == [({"vqvae/loss": 0.5, "vqvae/step": 20}, {})]


def test_tracker_that_fails_is_dropped_with_one_warning():
    tracker = Fake(error=ConnectionError("server away\nmore"))
    accelerator = SimpleNamespace(trackers=[tracker])
    with pytest.warns(
        VQGenWarning, match=r"tracker: mlflow failed \(server away\); the run goes on without it"
    ) as told:
        log_metrics(accelerator, "vqvae", {"loss": 0.5}, 20)
        log_pictures(accelerator, "vqvae", {"a": Image.new("L", (2, 2))}, 20)
        end_trackers(accelerator)
    assert len(told) == len(tracker.calls) == 1


def test_tracker_that_fails_at_its_end_does_not_fail_the_run():
    accelerator = SimpleNamespace(trackers=[Fake(error=OSError())])
    with pytest.warns(VQGenWarning, match=r"tracker: mlflow failed \(OSError\)"):
        end_trackers(accelerator)
    assert accelerator.trackers == []


def test_tracker_that_cannot_start_is_an_error_with_a_remedy(accelerator, run, tmp_path):
    (tmp_path / "digits").write_text("a file in the place of the folder")
    match = r"tracker: tensorboard does not start \(.*exists.*\); check the permissions .*, or train with tracker none"
    with pytest.raises(ConfigError, match=match):
        start_tracker(accelerator, "tensorboard", run)
    assert accelerator.trackers == []


def test_nothing_happens_without_a_tracker():
    accelerator = SimpleNamespace(trackers=[])
    log_metrics(accelerator, "vqvae", {"loss": 0.5}, 20)
    log_pictures(accelerator, "vqvae", {"a": Image.new("L", (2, 2))}, 20)
    end_trackers(accelerator)
