"""The threads of a computation on a CPU: as many as its work can use.

A matrix product is cut into parts for the threads, and ends when the last part does. For a small product the cut costs
more than it saves; and if another program runs beside this one, every product waits for the thread that is not running.
So small models compute in one thread. The number follows from the work and not from a measurement: a run then repeats
bit for bit.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from vqgen.runtime.cores import available_cores

MULTIPLICATIONS_PER_THREAD = 40_000_000
"""Multiplications of an average layer, in the forward pass of a batch, that make a thread worth while.

`python -m benchmarks.training_step` shows the work from which a second thread pays.
"""

_fixed = False


def fix_threads(count: int) -> None:
    """Computes in `count` threads from now on, whatever the work is: for a program that computes nothing else."""
    global _fixed
    torch.set_num_threads(count)
    _fixed = True


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Computes in `count` threads in the block, whatever the work is."""
    global _fixed
    before = _fixed
    with exact_threads(count):
        _fixed = True
        try:
            yield
        finally:
            _fixed = before


def threads_for(rows: float, *models: nn.Module) -> int:
    """Returns the threads for a computation, at most those that torch has now, and one for each core.

    Args:
        rows: Rows of the matrix that an average layer multiplies: positions of all images of a batch.
        models: The models that compute. The largest one counts.
    """
    return threads_for_work(max((rows * _weights_of_a_layer(model) for model in models), default=0.0))


def threads_of_model(rows: float, *models: nn.Module) -> AbstractContextManager[None]:
    """Computes in as many threads as the models can use, in a block; see `threads_for`. Other devices need none."""
    if any(parameter.device.type != "cpu" for model in models for parameter in model.parameters()):
        return nullcontext()
    return computing_threads(threads_for(rows, *models))


def threads_for_work(multiplications: float) -> int:
    """Returns the threads for a computation, at most those that torch has now, and one for each core.

    Args:
        multiplications: Multiplications of an average layer, for a whole batch.
    """
    if _fixed:
        return torch.get_num_threads()
    return min(most_threads(), max(1, int(multiplications / MULTIPLICATIONS_PER_THREAD)))


def most_threads() -> int:
    """Returns the threads that work of any size may take: those that torch has now, at most one for each core."""
    # In a container torch starts a thread for each core of the machine, however few the container may use.
    return torch.get_num_threads() if _fixed else min(torch.get_num_threads(), available_cores())


def layers_of(model: nn.Module) -> int:
    """Counts the matrices and kernels of a model: its layers, without norms and biases."""
    return sum(1 for parameter in model.parameters() if parameter.ndim > 1)


def _weights_of_a_layer(model: nn.Module) -> float:
    """Returns the mean number of weights of a layer: the multiplications of a row."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return weights / max(1, layers_of(model))


def computing_threads(count: int) -> AbstractContextManager[None]:
    """Computes in `count` threads in the block, unless `fixed_threads` has fixed another number."""
    return nullcontext() if _fixed else exact_threads(count)


@contextmanager
def exact_threads(count: int) -> Iterator[None]:
    """Computes in `count` threads in the block, for results or times that belong to this number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
