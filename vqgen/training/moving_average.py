"""The moving average of a model's weights, which is validated and kept in place of the raw weights."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vqgen.training.objective import Objective


class MovingAverage:
    """The exponential moving average of parameters, and of statistics that belong to them. It starts at their values.

    Args:
        parameters: The parameters to follow.
        decay: Share of the average that a step leaves, in (0, 1), once the warm-up is over.
        statistics: Buffers to follow, too. Of a VQ-VAE: the codebooks are a function of them, and averaged encoders
            need averaged codebooks.

    Attributes:
        values: The average of each parameter, then of each statistic.
    """

    def __init__(self, parameters: list[Tensor], decay: float, statistics: Sequence[Tensor] = ()) -> None:
        self._followed = [*parameters, *statistics]
        self.values = [tensor.detach().clone() for tensor in self._followed]
        self._parameters = len(parameters)
        self._decay = decay

    def update(self, step: int, moves: int = 0) -> None:
        """Moves the average towards the present values after step number `step`, counted from 0.

        Args:
            step: The step.
            moves: Steps that have moved the statistics. Before the first one they are replaced.
        """
        self._move(slice(0, self._parameters), step + 1)
        self._move(slice(self._parameters, None), moves)

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Takes saved averages.

        Args:
            saved: Number of the value -> its average. A training of version 0.1 saved no statistics: their averages
                start at the present values.
        """
        with torch.no_grad():
            for number, (value, present) in enumerate(zip(self.values, self._followed, strict=True)):
                value.copy_(saved[str(number)] if number < self._parameters else saved.get(str(number), present))

    @contextmanager
    def in_model(self, dependent: Sequence[Tensor] = ()) -> Iterator[None]:
        """Holds the average in the model during the block, and the model's own values again after it.

        Args:
            dependent: Further tensors that the block changes, and that get their values again.
        """
        held = [*self._followed, *dependent]
        raw = [tensor.detach().clone() for tensor in held]
        _copy(self._followed, self.values)
        yield
        _copy(held, raw)

    def _move(self, part: slice, moves: int) -> None:
        if not self.values[part]:
            return
        # Warm-up: the decay grows from 0.1 to its final value, so that early steps are forgotten faster. Otherwise the
        # random start would keep a weight of decay^steps, 0.37 after 1 / (1 - decay) steps.
        decay = min(self._decay, moves / (9 + moves))
        get_ema_multi_avg_fn(decay)(self.values[part], self._followed[part], moves)


def average_of(objective: Objective, parameters: list[Tensor], decay: float) -> MovingAverage | None:
    """Returns the moving average of a training; None if its decay is 0."""
    return MovingAverage(parameters, decay, objective.statistics()) if decay else None


@contextmanager
def holding(average: MovingAverage | None, objective: Objective) -> Iterator[None]:
    """Holds the average in an objective's model during the block, with all that depends on it; None changes nothing."""
    if average is None:
        yield
        return
    saved = objective.model.state_dict(keep_vars=True).values()
    with average.in_model([tensor for tensor in saved if not isinstance(tensor, nn.Parameter)]):
        objective.use_statistics()
        yield


def _copy(tensors: list[Tensor], values: list[Tensor]) -> None:
    # Values are copied into the tensors: the optimizer and compiled modules hold these very tensors.
    with torch.no_grad():
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
