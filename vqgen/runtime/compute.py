"""The device and the dtype of a computation: `--device` and `--dtype` of every command."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args
from weakref import WeakKeyDictionary

import psutil
import torch
from torch import Tensor, nn

from vqgen.arguments import as_text
from vqgen.errors import ConfigError
from vqgen.runtime.ambient import launched_here
from vqgen.runtime.memory_group import free_in_group

DType = Literal["float32", "bfloat16", "float16", "float64"]

Module = TypeVar("Module", bound=nn.Module)

_EXACT: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
"""Module in float32 -> its state in float64, of which its weights are the rounded ones."""

_DEVICES = "auto, cpu, cuda, cuda:N or mps"


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
    def resolve(device: str | torch.device = "auto", dtype: str | torch.dtype = "float32") -> "Compute":
        """Turns the names that a user gives into a device and a dtype.

        Args:
            device: auto, cpu, cuda, cuda:N or mps, or a device of torch. auto takes a CUDA device, or the CPU if there
                is none. It never takes mps, which has no float64: only encoding and decoding work there.
            dtype: float32, bfloat16, float16 or float64, or one of these dtypes of torch.

        Raises:
            ConfigError: The machine has no such device, or the device does not support the dtype.
        """
        device = str(device) if isinstance(device, torch.device) else as_text("device", device, _DEVICES)
        dtype = _dtype_name("dtype", dtype)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            resolved = torch.device(device)
        except RuntimeError as error:
            raise ConfigError(f"device: should be {_DEVICES}, found {device!r}") from error
        _check_available(resolved)
        if resolved.type == "cpu" and dtype == "float16":
            raise ConfigError("dtype: should be float32, bfloat16 or float64 on a CPU, found float16")
        if resolved.type == "mps" and dtype == "float64":
            raise ConfigError("dtype: should be float32, bfloat16 or float16 on mps, found float64; try --device cpu")
        return Compute(resolved, dtype)  # type: ignore[arg-type]

    def place(self, module: Module) -> Module:
        """Moves a module to the device, its weights in float64 or float32.

        Weights in float64 are kept when they are rounded to float32: see `exact_weights`. A later move to float64 gives
        them back.
        """
        exact = exact_weights(module)
        if self.float_dtype == torch.float64:
            placed = module.to(self.device, torch.float64)
            if exact is not None:
                placed.load_state_dict(exact)
            return placed
        if exact is not None:
            _EXACT[module] = exact
        # One after the other: mps takes no weights in float64, not even to round them.
        return module.to(torch.float32).to(self.device)

    def as_current(self) -> AbstractContextManager[object]:
        """Returns a context manager in which "cuda" without a number is this device.

        Libraries that move to "cuda" then use the GPU that the user named.
        """
        is_numbered = self.device.type == "cuda" and self.device.index is not None
        return torch.cuda.device(self.device) if is_numbered else nullcontext()

    @property
    def float_dtype(self) -> torch.dtype:
        """The dtype of weights and inputs."""
        return torch.float64 if self.dtype == "float64" else torch.float32

    @property
    def free_memory(self) -> int:
        """The bytes that one process may take on the device now. The processes of a machine share its memory."""
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            # The allocator of torch keeps the memory of freed tensors for the next ones of this process.
            return free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        free = psutil.virtual_memory().available
        allowed = free_in_group()
        if allowed is not None:
            free = min(free, allowed)  # in a container, the rest of the machine's memory is out of reach
        return free // launched_here()

    def autocast(self) -> AbstractContextManager[object]:
        """Returns a context manager for matrix products in bfloat16 or float16, if `dtype` is one of the two."""
        if self.dtype in ("bfloat16", "float16"):
            return torch.autocast(self.device.type, dtype=getattr(torch, self.dtype))
        return nullcontext()


def exact_weights(module: nn.Module) -> dict[str, Tensor] | None:
    """Returns the state of a module in float64, also if `Compute.place` has rounded it to float32.

    Returns:
        Name -> tensor; None for a module that never was in float64, or whose weights have changed since the rounding.
    """
    state = module.state_dict()
    if any(tensor.dtype == torch.float64 for tensor in state.values()):
        return dict(state)
    exact = _EXACT.get(module)
    if exact is None or exact.keys() != state.keys():
        return None
    # A module that was trained or loaded anew is another model.
    rounded = ((exact[name].to(tensor.dtype), tensor.to(exact[name].device)) for name, tensor in state.items())
    return exact if all(torch.equal(was, now) for was, now in rounded) else None


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
        raise ConfigError(f"device: should be {_DEVICES}, found '{device}'")


def as_dtype(name: str, value: object) -> torch.dtype:
    """Returns a dtype of torch.

    Args:
        name: Name of the parameter, for the message.
        value: float32, bfloat16, float16 or float64, or one of these dtypes of torch.

    Raises:
        ConfigError: The value is no such dtype.
    """
    return getattr(torch, _dtype_name(name, value))


def _dtype_name(name: str, value: object) -> str:
    text = str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else as_text(name, value)
    if text not in get_args(DType):
        raise ConfigError(f"{name}: should be one of {', '.join(get_args(DType))}, found {text!r}")
    return text
