"""Torch as vqgen needs it, whatever a host program has set: float32 by default, on the CPU, without autocast.

A notebook may set a default dtype or device, or call vqgen within autocast or inference mode. Models would then be
built or computed in another dtype, and the same seed would give other images. What a host sets for the speed or the
repeatability of operations stays: threads, TF32, deterministic algorithms.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import torch

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

Kind = TypeVar("Kind", bound=type)

_lock = threading.Lock()
_inside = 0
"""Blocks that hold the default dtype, of all threads: it is one for the whole process."""
_dtype_of_host = torch.float32


@contextmanager
def plain_torch() -> Iterator[None]:
    """Computes as if the host program had set nothing, in the block, and puts its settings back.

    Gradients are recorded unless the host switched them off by `torch.no_grad`. The block belongs to its thread, but
    for the default dtype, which torch has for all threads: the last block that ends puts it back.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            # Tensors of inference mode could not be trained or changed in place later.
            stack.enter_context(torch.inference_mode(False))
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        _hold_float32()
        stack.callback(_release_float32)
        yield


def computes_plainly(act: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Makes a function, or every step of a generator, compute as in `plain_torch`, without gradients."""

    @functools.wraps(act)
    def plain(*arguments: Parameters.args, **options: Parameters.kwargs) -> Result:
        with plain_torch(), torch.no_grad():
            result = act(*arguments, **options)
        return cast(Result, _stepwise(result)) if inspect.isgenerator(result) else result

    return plain


def _stepwise(items: Generator[Any, Any, Any]) -> Iterator[Any]:
    # Between two steps the settings of the host hold again.
    with closing(items):
        while True:
            with plain_torch(), torch.no_grad():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def plain_methods(kind: Kind) -> Kind:
    """Makes all public methods of a class compute as in `plain_torch`, without gradients."""
    for name, member in list(vars(kind).items()):
        if name.startswith("_") and name not in ("__init__", "__call__"):
            continue
        if isinstance(member, (classmethod, staticmethod)):
            setattr(kind, name, type(member)(computes_plainly(member.__func__)))
        elif inspect.isfunction(member) and not getattr(member, "__isabstractmethod__", False):
            setattr(kind, name, computes_plainly(member))
    return kind


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Puts the global generator of torch's CPU back at the end of the block, which may draw from it."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _hold_float32() -> None:
    global _inside, _dtype_of_host
    with _lock:
        if _inside == 0:
            _dtype_of_host = torch.get_default_dtype()
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
        _inside += 1


def _release_float32() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and torch.get_default_dtype() != _dtype_of_host:
            torch.set_default_dtype(_dtype_of_host)
