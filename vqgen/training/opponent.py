"""The training of an opponent: a second model whose weights have an optimizer of their own."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from vqgen.config import TrainConfig
from vqgen.models.checkpoint import load_weights
from vqgen.training.objective import Opponent
from vqgen.training.optimization import make_optimizer
from vqgen.training.state import below, load_moments, moments


class OpponentTraining:
    """The steps of an opponent. They follow those of the model: the same loss, the same schedule, the same clipping.

    Args:
        opponent: The opponent, on the device of the training.
        config: The settings of the model's training.
    """

    def __init__(self, opponent: Opponent, config: TrainConfig) -> None:
        self.opponent = opponent
        self._clip = config.gradient_clip
        self._parameters = [p for p in opponent.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(opponent, config, betas=opponent.betas)

    def step(self, learning_rate: float) -> None:
        """Moves the weights by their gradient, in the steps in which the opponent takes part.

        Args:
            learning_rate: That of the model.
        """
        if self.opponent.takes_part:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate * self.opponent.rate
            if self._clip:
                nn.utils.clip_grad_norm_(self._parameters, self._clip)
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """Collects the weights, buffers and moments, by name."""
        own = {f"opponent.{name}": tensor for name, tensor in self.opponent.state_dict().items()}
        return own | {f"opponent-optimizer.{name}": value for name, value in moments(self._optimizer).items()}

    def load(self, state: Mapping[str, Tensor], origin: Path) -> None:
        """Loads the result of `state`.

        Args:
            state: The state of a training, with other tensors beside these.
            origin: The file that it comes from, for the error.

        Raises:
            CheckpointError: It is the state of another opponent.
        """
        load_weights(self.opponent, below(state, "opponent."), origin=origin)
        load_moments(self._optimizer, below(state, "opponent-optimizer."))
