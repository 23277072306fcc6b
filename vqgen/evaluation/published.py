"""Weights that others publish, read as plain tensors."""

from pathlib import Path

import torch
from torch import Tensor

from vqgen.errors import CheckpointError


def read_published_weights(path: Path, network: str, expected: str) -> dict[str, Tensor]:
    """Reads a file of weights that torch wrote; anything in it but tensors is refused, not executed.

    Args:
        path: The file.
        network: What the weights should be of.
        expected: Name of a tensor that this network has.

    Raises:
        CheckpointError: The file is missing, or holds something else.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        names = sorted(weights)
    except Exception as error:  # torch has its own for every way in which a file can be wrong
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: should hold the weights of {network}, found something else: {reason}"
        ) from error
    if expected not in names:
        raise CheckpointError(
            f"{path}: should hold the weights of {network}, found something else: {', '.join(map(str, names[:3]))}"
        )
    return weights
