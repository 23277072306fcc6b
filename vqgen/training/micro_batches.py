"""What the training loop does with a batch, a dataclass of tensors and lists: cut it, pin it, move it."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor


def split_batch(batch: Any, parts: int) -> list[Any]:
    """Cuts a dataclass of tensors and lists along its first dimension into at most `parts` pieces, none empty."""
    size = -(-length_of(batch) // parts)
    whole = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return [
        replace(
            batch, **{name: value if value is None else value[begin : begin + size] for name, value in whole.items()}
        )
        for begin in range(0, length_of(batch), size)
    ]


def length_of(batch: Any) -> int:
    """Images of a batch: the length of its first field."""
    return len(getattr(batch, fields(batch)[0].name))


def pinned(batch: Any) -> Any:
    """The same dataclass, its tensors in page-locked memory, from which they are copied while the device computes."""
    tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **{name: value.pin_memory() for name, value in tensors.items()})


def to_device(batch: Any, device: torch.device) -> list[Any]:
    """The fields of a dataclass in their order, tensors on `device`."""
    values = [getattr(batch, f.name) for f in fields(batch)]
    return [value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for value in values]
