"""The interface between a stage and the training loop: an objective, batches and a session."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from accelerate import Accelerator
from torch import nn


class Objective(nn.Module):
    """A model and its loss. The loop wraps and calls it like any module.

    `forward` takes the fields of a batch and returns the mean loss and, by name, further metrics of the step.

    Attributes:
        model: The model whose weights are trained and kept.
        monitor: Name of the validation metric that chooses the best weights; smaller is better.
    """

    model: nn.Module
    monitor: str

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Returns the modules to compile: large ones, without Python state that changes between steps."""
        return [self]

    def begin_step(self, step: int, seed: int) -> None:
        """Prepares a step, counted from 0. The seed is the same in all processes."""

    def end_step(self) -> None:
        """Finishes a step after the optimizer's update, in all processes."""

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
    """

    stage: str
    seed: int
    accelerator: Accelerator
    folder: Path
    double: bool = False
    quiet: bool = False
    continued_from: int | None = None
