"""The program around a command: a notebook or an application calls `main([...])`, and finds its state as it was.

This module imports no torch: a command that does without it should start at once.
"""

import logging
import os
import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def restored_host() -> Iterator[None]:
    """Puts back at the end of the block what a command changes for the whole process, also after an error.

    These are environment variables, the logger of vqgen, the global random generators, the threads of torch, and the
    state that Accelerate keeps. In the block torch computes as in `plain_torch`. Handlers of signals, filters of
    warnings and standard files have blocks of their own: see `signals`, `ambient` and `streams`.
    """
    with ExitStack() as stack:
        stack.enter_context(_restored_environment())
        stack.enter_context(_restored_logger())
        stack.enter_context(_restored_random_state())
        # Libraries that are not loaded yet have no state of a host.
        if "torch" in sys.modules:
            stack.enter_context(_restored_torch())
        stack.enter_context(_restored_accelerate())
        yield


@contextmanager
def _restored_environment() -> Iterator[None]:
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value


@contextmanager
def _restored_logger() -> Iterator[None]:
    logger = logging.getLogger("vqgen")
    before = (logger.handlers, logger.level, logger.propagate)
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before


@contextmanager
def _restored_random_state() -> Iterator[None]:
    before = random.getstate()
    numpy = sys.modules.get("numpy")
    of_numpy = numpy.random.get_state() if numpy else None
    try:
        yield
    finally:
        random.setstate(before)
        if numpy:
            numpy.random.set_state(of_numpy)


@contextmanager
def _restored_torch() -> Iterator[None]:
    import torch

    from vqgen.runtime.plain_torch import kept_random_state, plain_torch

    threads = torch.get_num_threads()
    of_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        # A host that called this within `torch.no_grad` still wants its models trained.
        with plain_torch(), torch.enable_grad(), kept_random_state():
            yield
    finally:
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if of_gpus is not None:
            torch.cuda.set_rng_state_all(of_gpus)


@contextmanager
def _restored_accelerate() -> Iterator[None]:
    """Hides the state that Accelerate keeps for the whole process: it refuses a second one with other settings."""
    before = [dict(state) for state in _states_of_accelerate()]
    for state in _states_of_accelerate():
        state.clear()
    try:
        yield
    finally:
        # A state that is new was made by the command, and a host that uses Accelerate makes its own.
        for state in _states_of_accelerate():
            state.clear()
        for state, content in zip(_states_of_accelerate(), before, strict=False):
            state.update(content)


def _states_of_accelerate() -> list[dict]:
    module = sys.modules.get("accelerate.state")
    if module is None:
        return []
    kinds = (module.PartialState, module.AcceleratorState, module.GradientState)
    return [kind._shared_state for kind in kinds]
