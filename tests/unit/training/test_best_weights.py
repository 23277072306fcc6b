import math

import pytest
import torch
from torch import nn

from vqgen.training.best_weights import BestWeights, copied_weights
from vqgen.training.objective import Objective
from vqgen.training.state import Progress


class Counting(Objective):
    monitor = "mse"

    def __init__(self, counts):
        super().__init__()
        self.model = nn.Linear(1, 1, bias=False)
        self.counts = counts

    def validation_counts(self, step, place):
        return self.counts(step)


def judged(values, counts=lambda step: True):
    """Judges a value at each step; the weight is the number of the step. Returns the kept weight and the progress."""
    objective = Counting(counts)
    best = BestWeights(objective)
    progress = Progress()
    for step, value in enumerate(values, 1):
        progress.step = step
        nn.init.constant_(objective.model.weight, step)
        best.judge(progress, {"mse": value}, step - 1, is_last=step == len(values))
    return int(best.weights["weight"].item()), progress


@pytest.mark.parametrize(
    ("values", "best", "waited"),
    [([3.0, 1.0, 2.0], 2, 1), ([1.0, 1.0, 1.0], 1, 2), ([math.nan, 2.0, math.inf], 2, 1)],
)
def test_smallest_finite_value_chooses_the_weights(values, best, waited):
    weight, progress = judged(values)
    assert (weight, progress.best_step, progress.waited) == (best, best, waited)
    assert progress.best_metrics == {"val_mse": values[best - 1]}


def test_last_weights_are_kept_if_no_validation_counts():
    weight, progress = judged([1.0, 2.0, 3.0], counts=lambda step: False)
    assert (weight, progress.best_step, progress.best_value, progress.waited) == (3, 3, math.inf, 0)


def test_later_end_replaces_weights_that_no_validation_chose():
    objective = Counting(lambda step: False)
    best = BestWeights(objective)
    best.weights = {"weight": torch.zeros(1, 1)}  # of the end of a shorter training
    best.judge(Progress(step=7), {"mse": 1.0}, 6, is_last=False)
    assert best.weights["weight"].item() == 0
    nn.init.constant_(objective.model.weight, 8)
    best.judge(Progress(step=8), {"mse": 2.0}, 7, is_last=True)
    assert best.weights["weight"].item() == 8


def test_copy_does_not_follow_the_model():
    model = nn.Linear(2, 2)
    copy = copied_weights(model)
    nn.init.zeros_(model.weight)
    assert copy["weight"].abs().sum() > 0
    assert not copy["weight"].requires_grad
