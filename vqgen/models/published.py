"""Weights that others publish, read as plain tensors."""

from pathlib import Path

import torch
from torch import Tensor

from vqgen.errors import CheckpointError


def read_published_weights(path: Path, network: str, expected: str) -> dict[str, Tensor]:
    """Reads a file of weights that torch wrote. A file with anything but tensors is refused and never executed.

    Args:
        path: The file.
        network: Name of the network whose weights are expected, for messages.
        expected: Name of a tensor of this network.

    Raises:
        CheckpointError: The file is missing, or holds something else.
    """
    try:
        # A pickle can run code when it is read; with weights_only torch builds nothing but tensors.
        weights = torch.load(path, map_location="cpu", weights_only=True)
        # Inside the `try`: a file may also hold something that has no names.
        names = sorted(weights)
    except Exception as error:  # torch raises a different one for every kind of damage
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: should hold the weights of {network}, found something else: {reason}"
        ) from error
    if expected not in names:
        raise CheckpointError(
            f"{path}: should hold the weights of {network}, found something else: {', '.join(map(str, names[:3]))}"
        )
    return weights
