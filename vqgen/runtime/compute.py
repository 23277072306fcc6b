"""Where and in what to compute: `--device` and `--dtype` of every command."""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import psutil
import torch
from torch import nn

from vqgen.errors import ConfigError
from vqgen.runtime.memory_group import free_in_group

DType = Literal["float32", "bfloat16", "float16", "float64"]

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A device and a number format.

    Attributes:
        device: Where tensors live.
        dtype: float64 converts the weights; bfloat16 and float16 keep float32 weights and use autocast.
    """

    device: torch.device
    dtype: DType = "float32"

    @staticmethod
    def resolve(device: str = "auto", dtype: str = "float32") -> "Compute":
        """Turns the names that a user gives into a device and a number format.

        Args:
            device: auto, cpu, cuda, cuda:N or mps; auto takes the accelerator where there is one.
            dtype: float32, bfloat16, float16 or float64.

        Raises:
            ConfigError: There is no such device or number format here.
        """
        if dtype not in get_args(DType):
            raise ConfigError(f"dtype: should be one of {', '.join(get_args(DType))}, found {dtype!r}")
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            resolved = torch.device(device)
        except RuntimeError as error:
            raise ConfigError(f"device: should be auto, cpu, cuda, cuda:N or mps, found {device!r}") from error
        _check_available(resolved)
        if resolved.type == "cpu" and dtype == "float16":
            raise ConfigError("dtype: should be float32, bfloat16 or float64 on a CPU, found float16")
        if resolved.type == "mps" and dtype == "float64":
            raise ConfigError("dtype: should be float32, bfloat16 or float16 on mps, found float64; try --device cpu")
        return Compute(resolved, dtype)  # type: ignore[arg-type]

    def place(self, module: Module) -> Module:
        """Moves a module to the device, its weights in float64 or float32."""
        return module.to(self.device, torch.float64 if self.dtype == "float64" else torch.float32)

    @property
    def float_dtype(self) -> torch.dtype:
        """Number format of inputs: that of the weights."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def free_memory(self) -> int:
        """Bytes that one process may take on the device now; processes of one machine share its memory."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        free, allowed = psutil.virtual_memory().available, free_in_group()
        return (free if allowed is None else min(free, allowed)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which matrix products run in bfloat16 or float16, if that is the number format."""
        if self.dtype in ("bfloat16", "float16"):
            return torch.autocast(self.device.type, dtype=getattr(torch, self.dtype))
        return nullcontext()


def _check_available(device: torch.device) -> None:
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"device: should be one of the {count} CUDA devices here, found '{device}'; try --device cpu"
            )
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise ConfigError("device: should be available here, found 'mps'; try --device cpu")
    elif device.type != "cpu":
        raise ConfigError(f"device: should be auto, cpu, cuda, cuda:N or mps, found '{device}'")
