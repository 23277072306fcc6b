"""The moving average of a model's weights, which is validated and kept in place of the raw weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """The exponential moving average of parameters. It starts at their values.

    Args:
        parameters: The parameters to follow.
        decay: Share of the average that a step leaves, in (0, 1), once the warm-up is over.

    Attributes:
        values: The average of each parameter.
    """

    def __init__(self, parameters: list[Tensor], decay: float) -> None:
        self.values = [parameter.detach().clone() for parameter in parameters]
        self._parameters = parameters
        self._decay = decay

    def update(self, step: int) -> None:
        """Moves the average towards the parameters after step number `step`, counted from 0."""
        # Warm-up: the decay grows from 0.1 to its final value, so that early steps are forgotten faster. Otherwise the
        # random start would keep a weight of decay^steps, 0.37 after 1 / (1 - decay) steps.
        decay = min(self._decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(self.values, self._parameters, step)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Holds the average in the parameters during the block, and their own values again after it."""
        raw = [parameter.detach().clone() for parameter in self._parameters]
        self._copy(self.values)
        yield
        self._copy(raw)

    def _copy(self, values: list[Tensor]) -> None:
        # Values are copied into the tensors: the optimizer and compiled modules hold these very tensors.
        with torch.no_grad():
            for parameter, value in zip(self._parameters, values, strict=True):
                parameter.copy_(value)
