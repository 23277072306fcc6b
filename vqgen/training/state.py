"""The saved state of a training, from which a cut run goes on: its progress, and tensors by name.

model.*  best.*  snapshot.*     weights: of the last step, of the best validation, of an early step
average.N                       the moving average of parameter N; after the parameters come the statistics
optimizer.N.*                   the optimizer's moments of parameter N, and its count of steps
scaler.*                        the scale of the loss, in float16
opponent.*  opponent-optimizer.N.*   weights and buffers of the opponent, if there is one, and its moments
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import Optimizer

from vqgen.errors import CheckpointError
from vqgen.storage.documents import parse_json
from vqgen.storage.tensors import load_text


@dataclass
class Progress:
    """The part of a training's state that is not tensors.

    Attributes:
        step: Number of finished steps.
        best_value: Smallest monitored metric so far, of the validations that count; infinite if none has counted.
        best_step: Step of the validation with this value.
        waited: Validations since that one.
        best_metrics: All metrics of that validation.
        seconds: Time of all steps so far, with their validations, over all sessions.
        pace: Of a training that a limit of time has shortened: its last step, and the step and place in the schedule at
            which that was decided (see `Pace`); None for a training of full length.
    """

    # The names of these fields are keys of the saved JSON.
    step: int = 0
    best_value: float = math.inf
    best_step: int = 0
    waited: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    pace: tuple[int, int, int | float] | None = None

    def begin_again(self) -> None:
        """Forgets why the training ended, so that it can go on: its patience, and its pace within a limit of time."""
        self.waited = 0
        self.pace = None

    def as_json(self) -> str:
        """Returns the JSON that `read` reads. Only a shortened training has a key for its pace."""
        return json.dumps({name: value for name, value in vars(self).items() if name != "pace" or value is not None})

    @staticmethod
    def read(text: str, origin: Path) -> "Progress":
        """Reads progress from JSON.

        Args:
            text: The JSON.
            origin: The file that contained it, for the error.

        Raises:
            CheckpointError: The text is not the progress of a training.
        """
        try:
            found = parse_json(text, origin, remedy="begin the stage anew with --redo")
            if "best_figures" in found:  # the name of the metrics in version 0.1
                found["best_metrics"] = found.pop("best_figures")
            if "pace" in found and found["pace"] is not None:  # JSON has no tuples
                found["pace"] = tuple(found["pace"])
            progress = Progress(**found)
            if math.isnan(progress.best_value):  # of an earlier version: no later value would be smaller
                progress.best_value = math.inf
            return progress
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"{origin}: is not a training state ({error}); begin the stage anew with --redo"
            ) from error


def state_path(folder: Path) -> Path:
    """Returns the file in a stage's folder from which a cut training goes on."""
    return folder / "state" / "training.safetensors"


def seconds_of_training(folder: Path) -> float | None:
    """Returns the duration of the training in a stage's folder over all sessions; None without a record of it.

    The steps of a killed session after its last saved state do not count: the next session repeated them.
    """
    path = state_path(folder)
    return parse_json(load_text(path), path).get("seconds") if path.is_file() else None


def moments(optimizer: Optimizer) -> dict[str, Tensor]:
    """Returns the state that an optimizer has of its parameters: "number of the parameter.name" -> tensor."""
    of_parameters = optimizer.state_dict()["state"].items()
    return {f"{number}.{name}": torch.as_tensor(value) for number, own in of_parameters for name, value in own.items()}


def load_moments(optimizer: Optimizer, found: dict[str, Tensor]) -> None:
    """Loads the result of `moments` into an optimizer.

    Args:
        optimizer: An optimizer of the same parameters.
        found: The result of `moments`.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in found.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape:
            # A fused optimizer walks through memory in step, but a file does not keep strides: the moments of a
            # channels-last kernel must be laid out like the kernel.
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def exact_number(value: float | int) -> Tensor:
    """Wraps a number in a tensor whose `item` returns it exactly and with its type."""
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else torch.int64)


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Selects the tensors whose names begin with `prefix`, and removes it from the names."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
