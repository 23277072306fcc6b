"""What a cut training goes on from: how far it was, and tensors by name.

model.*  best.*  snapshot.*     weights: of the last step, of the best validation, of an early step
average.N                       the moving average of parameter N
optimizer.N.*                   what the optimizer knows of parameter N
scaler.*                        the scale of the loss, in float16
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from vqgen.errors import CheckpointError
from vqgen.storage.tensors import load_text


@dataclass
class Progress:
    """What changes from step to step, beside tensors; saved with the state.

    Attributes:
        step: Steps done.
        best_value: Smallest monitored figure so far.
        best_step: Step at which it was found.
        waited: Validations since then.
        best_figures: All figures of that validation.
        seconds: Time that the steps so far took, validations included, in all sessions.
    """

    step: int = 0
    best_value: float = math.inf
    best_step: int = 0
    waited: int = 0
    best_figures: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @staticmethod
    def read(text: str, origin: Path) -> "Progress":
        """Reads what was saved as JSON.

        Args:
            text: The JSON.
            origin: The file that it is from.

        Raises:
            CheckpointError: It is none.
        """
        try:
            return Progress(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise CheckpointError(f"{origin}: is no training state ({error}); begin anew with --redo") from error


def state_path(folder: Path) -> Path:
    """The file in a stage's folder from which a cut training goes on."""
    return folder / "state" / "training.safetensors"


def seconds_of_training(folder: Path) -> float | None:
    """How long the training in a stage's folder took, in all sessions together; None where nothing says so.

    What a killed session did after its last saved state is not counted: the next one did it again.
    """
    path = state_path(folder)
    return json.loads(load_text(path)).get("seconds") if path.is_file() else None


def moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimizer knows of its parameters: number of the parameter and name -> tensor."""
    of_parameters = optimizer.state_dict()["state"].items()
    return {f"{number}.{name}": torch.as_tensor(value) for number, own in of_parameters for name, value in own.items()}


def load_moments(optimizer: Optimizer, found: dict[str, Tensor]) -> None:
    """Gives an optimizer what `moments` returned.

    Args:
        optimizer: Of the same parameters.
        found: From `moments`.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in found.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape:
            # a fused optimizer walks through memory: moments must lie there as their parameters do
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def exact_number(value: float | int) -> Tensor:
    """A number as a tensor that gives it back exactly, and of the same type."""
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


def below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
