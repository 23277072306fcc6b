"""Models whose tensors have shapes but no numbers, so that even a large one takes no memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Model = TypeVar("Model", bound=nn.Module)


def without_weights(build: Callable[[], Model]) -> Model:
    """Builds a model on the device "meta", without drawing its first weights."""
    with torch.device("meta"), _Unfilled():
        return build()


class _Unfilled(TorchFunctionMode):
    """A context in which random numbers are not drawn, because only shapes count.

    On the device "meta" torch computes some shapes in Python and imports its compiler for it, which takes a second:
    those of random numbers and of arithmetic that is not in place. Models use none of the latter in their constructors.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init" or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
