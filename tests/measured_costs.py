"""Costs as torch measures them, for the tests of the costs that are counted."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted(act: Callable[[], object]) -> int:
    """Returns the FLOPs that torch counts."""
    # With attentions of plain products: on a CPU torch does not count the fused ones.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops()


def kept_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Returns the bytes that autograd keeps for the backward pass, each storage once, without the weights."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in kept.values())
