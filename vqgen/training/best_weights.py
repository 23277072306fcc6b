"""The weights that are the result of a training: those of its best validation."""

import math

from torch import Tensor, nn

from vqgen.training.objective import Objective
from vqgen.training.state import Progress


class BestWeights:
    """The weights of the best validation so far.

    Validations count from the first one that the objective lets count and that is finite. Those before choose no
    weights and use up no patience. If none counts, the last weights are the result.

    Args:
        objective: The model, and the metric that chooses.

    Attributes:
        weights: Name -> tensor; empty before a validation has counted.
    """

    def __init__(self, objective: Objective) -> None:
        self.weights: dict[str, Tensor] = {}
        self._objective = objective

    def judge(self, progress: Progress, metrics: dict[str, float], place: int | float, *, is_last: bool) -> None:
        """Keeps the weights in the model if they are the best so far; otherwise patience has waited once more.

        Args:
            progress: The progress of the training, which has the best value and notes a better one.
            metrics: The validation of these weights.
            place: Place of the last step in the schedule.
            is_last: True at the last step.
        """
        value = metrics[self._objective.monitor]
        counts = self._objective.validation_counts(progress.step - 1, place)
        if counts and math.isfinite(value) and value < progress.best_value:
            self._keep(progress, metrics, value)
        elif is_last and math.isinf(progress.best_value):
            self._keep(progress, metrics, math.inf)  # any later one is better, if the training gets more steps
        elif self.weights:
            progress.waited += counts

    def _keep(self, progress: Progress, metrics: dict[str, float], value: float) -> None:
        """Keeps the weights in the model as the result so far."""
        progress.best_value = value
        progress.best_step = progress.step
        progress.waited = 0
        progress.best_metrics = {f"val_{name}": number for name, number in metrics.items()}
        self.weights = copied_weights(self._objective.model)


def copied_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies the state of a model: name -> tensor."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
