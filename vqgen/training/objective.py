"""The interface between a stage and the training loop: an objective, batches and a session."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from accelerate import Accelerator
from PIL import Image
from torch import Tensor, nn


@dataclass(frozen=True)
class Limit:
    """The bound of a metric beyond which a training has diverged.

    Attributes:
        metric: Name of the metric.
        remedy: The remedy, for the error.
        most: Its largest absolute value; any finite one by default.
    """

    metric: str
    remedy: str
    most: float = math.inf


class Opponent(nn.Module):
    """A model that is trained against the model of an objective, which owns it. Its weights are no result.

    Attributes:
        rate: Its learning rate, as a multiple of that of the model.
        betas: Decays of the two moments of its optimizer.
        takes_part: True in the steps in which its weights get a gradient.
    """

    rate: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    takes_part: bool = False


class Objective(nn.Module):
    """A model and its loss. The loop wraps and calls it like any module.

    `forward` takes the fields of a batch and returns the mean loss and, by name, further metrics of the step. With an
    opponent the loss has the terms of both, each with a gradient at its own weights only. The metric `loss` is then
    the model's part, which is logged.

    Attributes:
        model: The model whose weights are trained and kept.
        monitor: Name of the validation metric that chooses the best weights; smaller is better.
    """

    model: nn.Module
    monitor: str

    @property
    def opponent(self) -> Opponent | None:
        """The opponent of the model, a part of this module; None for a model that trains alone."""
        return None

    @property
    def limits(self) -> Sequence[Limit]:
        """The bounds of metrics beside the loss, which has to be finite in any case."""
        return ()

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Returns the modules to compile: large ones, without Python state that changes between steps."""
        return [self]

    def begin_step(self, step: int, seed: int) -> None:
        """Prepares a step, counted from 0. The seed is the same in all processes."""

    def end_step(self) -> None:
        """Finishes a step after the optimizer's update, in all processes."""

    def statistics(self) -> list[Tensor]:
        """Returns buffers that `end_step` moves, and that a moving average of the weights should follow."""
        return []

    def statistics_steps(self) -> int:
        """Returns the number of steps that have moved the statistics."""
        return 0

    def use_statistics(self) -> None:
        """Computes all that depends on the statistics, after they were replaced by their averages."""

    def validation_counts(self, step: int, place: int | float) -> bool:
        """Returns True if a validation may choose the weights, and use up patience.

        Args:
            step: Number of the last step, from 0, as in `begin_step`.
            place: Place of this step in the schedule; `step` itself in a training of full length.
        """
        return True

    def validate(self) -> dict[str, float]:
        """Computes the validation metrics over all processes, with the weights in the model."""
        raise TypeError(f"{type(self).__name__} should define validate")

    def pictures(self) -> Mapping[str, Image.Image]:
        """Draws pictures of the validation for a tracker, by name, in the main process alone."""
        return {}


@runtime_checkable
class Batches(Protocol):
    """The training data of one process."""

    def steps(self, start: int) -> Iterator[Any]:
        """Yields this process's share of each step's batch, from step `start` on: dataclasses, images first."""
        ...

    def global_size(self, step: int) -> int:
        """Returns the number of images in a step's batch, over all processes."""
        ...


@runtime_checkable
class PacedBatches(Batches, Protocol):
    """Batches that change at a place in the schedule, for example by a loss that only the last steps have."""

    def follow(self, place: Callable[[int], int | float]) -> None:
        """Takes the place of each step in the schedule from now on; without a call it is the step itself."""
        ...


@dataclass(frozen=True)
class Session:
    """The processes, seed and folder of a training.

    Attributes:
        stage: Name of the stage, a part of every seed.
        seed: The recipe's seed.
        accelerator: Processes, device and precision.
        folder: The stage's folder, which receives `state/` and `metrics.jsonl`.
        double: Trains in float64.
        quiet: Shows no progress bar.
        continued_from: Finished steps of a training that had ended and goes on; None for any other training.
        start: Gives the model weights in place of its random ones. It is called unless a saved state has all weights.
    """

    stage: str
    seed: int
    accelerator: Accelerator
    folder: Path
    double: bool = False
    quiet: bool = False
    continued_from: int | None = None
    start: Callable[[nn.Module], object] | None = None
