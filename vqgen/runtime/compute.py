"""The device and the dtype of a computation: `--device` and `--dtype` of every command."""

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
    """A device and a dtype.

    Attributes:
        device: The device of all tensors.
        dtype: float64 converts the weights. bfloat16 and float16 keep float32 weights and use autocast.
    """

    device: torch.device
    dtype: DType = "float32"

    @staticmethod
    def resolve(device: str = "auto", dtype: str = "float32") -> "Compute":
        """Turns the names that a user gives into a device and a dtype.

        Args:
            device: auto, cpu, cuda, cuda:N or mps. auto takes the accelerator, or the CPU if there is none.
            dtype: float32, bfloat16, float16 or float64.

        Raises:
            ConfigError: The machine has no such device, or the device does not support the dtype.
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
        """The dtype of weights and inputs."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def free_memory(self) -> int:
        """The bytes that one process may take on the device now. The processes of a machine share its memory."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        free = psutil.virtual_memory().available
        allowed = free_in_group()
        if allowed is not None:
            free = min(free, allowed)  # in a container, the rest of the machine's memory is out of reach
        return free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))

    def autocast(self) -> AbstractContextManager[object]:
        """Returns a context manager for matrix products in bfloat16 or float16, if `dtype` is one of the two."""
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
