"""What a stage brings to the training loop: an objective, its data, and where and as what it trains."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from accelerate import Accelerator
from torch import nn


class Objective(nn.Module):
    """What a stage trains: a model and its loss. The loop wraps and calls it like any module.

    Attributes:
        model: The model whose weights are trained and kept.
        monitor: Name of the validation figure by which the best weights are chosen; smaller is better.
    """

    model: nn.Module
    monitor: str

    def compiled_parts(self) -> Iterable[nn.Module]:
        """The modules that `compile` compiles: large, and without what Python remembers between steps."""
        return [self]

    def begin_step(self, step: int, seed: int) -> None:
        """Is called before each step, counted from 0, with a seed that is the same in all processes."""

    def end_step(self) -> None:
        """Is called after each optimizer step, in all processes."""

    def validate(self) -> dict[str, float]:
        """Computes the validation figures over all processes; the weights to judge are in place."""
        raise TypeError(f"{type(self).__name__} should define validate")


class Batches(Protocol):
    """The training data of one process."""

    def steps(self, start: int) -> Iterator[Any]:
        """This process's share of each step's batch from `start` on: dataclasses of tensors, images first."""
        ...

    def global_size(self, step: int) -> int:
        """Images of a step's batch over all processes."""
        ...


@dataclass(frozen=True)
class Session:
    """Where and as what a stage trains.

    Attributes:
        stage: Name of the stage, part of every seed.
        seed: The recipe's seed.
        accelerator: Processes, device and precision.
        folder: The stage's folder: `state/` and `metrics.jsonl` are written there.
        double: Train in float64.
        quiet: Show no progress bar.
    """

    stage: str
    seed: int
    accelerator: Accelerator
    folder: Path
    double: bool = False
    quiet: bool = False
