import json
import math

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from vqgen.errors import DataError
from vqgen.training.metrics_log import MetricsLog, read_metrics
from vqgen.training.objective import Limit


@pytest.fixture
def log(tmp_path):
    log = MetricsLog(tmp_path / "stage" / "metrics.jsonl", Accelerator(cpu=True), "stage")
    log.truncate(0)
    return log


def steps(log):
    return [line["step"] for line in read_metrics(log.path)]


def add(log, *numbers):
    for number in numbers:
        log.add(number, {"loss": torch.tensor(number / 2), "part": torch.tensor(1.0)}, 1e-3)


def test_each_step_is_a_line_with_all_its_metrics(log):
    add(log, 1, 2)
    log.add_validation({"mse": 0.25})
    assert log.flush() == {"loss": 1.0, "part": 1.0, "learning_rate": 1e-3, "val_mse": 0.25}
    add(log, 3)
    assert log.flush() == {"loss": 1.5, "part": 1.0, "learning_rate": 1e-3}
    assert log.flush() == {}
    assert read_metrics(log.path) == [
        {"step": 1, "loss": 0.5, "part": 1.0, "learning_rate": 1e-3},
        {"step": 2, "loss": 1.0, "part": 1.0, "learning_rate": 1e-3, "val_mse": 0.25},
        {"step": 3, "loss": 1.5, "part": 1.0, "learning_rate": 1e-3},
    ]


def test_nothing_is_written_or_read_back_before_the_flush(log, monkeypatch):
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, real=real: reads.append(1) or real(self))
    add(log, *range(1, 6))
    assert (reads, steps(log)) == ([], [])
    log.flush()
    assert (len(reads), steps(log)) == (1, [1, 2, 3, 4, 5])


@pytest.mark.parametrize(
    "cut", ['{"step": 4, "lo', '{"step": 4', "{", '{"loss": 1.0}', "4", "null", '"step"', "[" * 10**5]
)
def test_truncation_drops_later_lines_and_a_half_written_one(log, cut):
    add(log, 1, 2, 3)
    log.flush()
    with log.path.open("a") as file:
        file.write(cut)
    log.truncate(2)
    assert steps(log) == [1, 2]
    add(log, 3)
    log.flush()
    assert steps(log) == [1, 2, 3]


def test_line_that_only_lacks_its_end_is_kept(log):
    add(log, 1)
    log.flush()
    with log.path.open("a") as file:
        file.write(json.dumps({"step": 2, "loss": 1.0}))
    log.truncate(2)
    add(log, 3)
    log.flush()
    assert steps(log) == [1, 2, 3]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_loss_that_is_not_finite_is_an_error_at_its_step(log, value):
    add(log, 5, 6)
    log.add(7, {"loss": torch.tensor(value), "part": torch.tensor(1.0)}, 1e-3)
    with pytest.raises(DataError, match=rf"loss: should be finite, found {value} at step 7; lower learning_rate"):
        log.flush()
    assert steps(log) == []


@pytest.mark.parametrize(("value", "is_error"), [(9.0, False), (-9.0, False), (-11.0, True), (math.nan, True)])
def test_metric_beyond_its_limit_is_an_error_with_its_remedy(tmp_path, value, is_error):
    log = MetricsLog(tmp_path / "metrics.jsonl", Accelerator(cpu=True), "vqvae", [Limit("part", "mend it", 10.0)])
    add(log, 5)
    log.add(6, {"loss": torch.tensor(1.0), "part": torch.tensor(value)}, 1e-3)
    if not is_error:
        log.flush()
        return
    with pytest.raises(DataError, match=rf"part: should be finite and at most 10, found {value:g} at step 6; mend it"):
        log.flush()


def test_first_step_beyond_a_limit_is_named(tmp_path):
    """A discriminator that explodes may spoil the loss a step later."""
    log = MetricsLog(tmp_path / "metrics.jsonl", Accelerator(cpu=True), "vqvae", [Limit("part", "mend it", 10.0)])
    log.add(1, {"loss": torch.tensor(1.0), "part": torch.tensor(1e3)}, 1e-3)
    log.add(2, {"loss": torch.tensor(math.nan), "part": torch.tensor(1.0)}, 1e-3)
    with pytest.raises(DataError, match=r"part: .* at step 1;"):
        log.flush()


class Recorded:
    """A tracker that keeps what it is given."""

    name = "tensorboard"

    def __init__(self):
        self.metrics = []
        self.pictures = []
        self.tracker = self

    def log(self, values, step):
        self.metrics.append((step, values))

    def add_image(self, key, image, global_step, dataformats):
        self.pictures.append((global_step, key, image.shape))

    def flush(self):
        pass


def test_tracker_receives_the_latest_step_of_a_block_and_its_pictures(log):
    log.accelerator.trackers = [tracker := Recorded()]
    add(log, 1, 2)
    log.add_pictures(lambda: {"pairs": Image.new("L", (3, 2))})
    log.add_validation({"mse": 0.25})
    log.flush()
    ((step, metrics),) = tracker.metrics
    assert step == 2
    assert metrics.pop("stage/steps_per_second") > 0
    assert metrics == {"stage/loss": 1.0, "stage/part": 1.0, "stage/learning_rate": 1e-3, "stage/val_mse": 0.25}
    assert tracker.pictures == [(2, "stage/pairs", (2, 3, 3))]


def test_pictures_are_not_drawn_without_a_tracker(log):
    add(log, 1)
    log.add_pictures(lambda: pytest.fail("drew them"))
