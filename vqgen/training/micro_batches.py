"""Batches in the training loop. A batch is a dataclass of tensors and lists; here it is cut, pinned and moved."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor


def split_batch(batch: Any, parts: int) -> list[Any]:
    """Cuts a batch along its first dimension into at most `parts` pieces, none of them empty."""
    # Pieces of equal size, the last one smaller: a batch of 5 in 4 parts has the sizes 2, 2 and 1.
    size = -(-length_of(batch) // parts)
    whole = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return [
        replace(
            batch, **{name: value if value is None else value[begin : begin + size] for name, value in whole.items()}
        )
        for begin in range(0, length_of(batch), size)
    ]


def length_of(batch: Any) -> int:
    """Returns the number of images of a batch: the length of its first field."""
    return len(getattr(batch, fields(batch)[0].name))


def pinned(batch: Any) -> Any:
    """Copies the tensors of a batch to page-locked memory; they move from there while the device computes."""
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **{name: value.pin_memory() for name, value in tensors.items()})


def to_device(batch: Any, device: torch.device) -> list[Any]:
    """Returns the fields of a batch in their order, tensors on `device`."""
    values = [getattr(batch, f.name) for f in fields(batch)]
    return [value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for value in values]
