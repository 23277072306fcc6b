import logging
import os
import random
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from vqgen.runtime.host import restored_host


def state() -> dict:
    """Returns everything that `restored_host` promises to put back."""
    logger = logging.getLogger("vqgen")
    return {
        "environment": dict(os.environ),
        "logger": (list(logger.handlers), logger.level, logger.propagate),
        "python": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "grad": torch.is_grad_enabled(),
    }


def change_everything():
    os.environ["VQGEN_NEW"] = "1"
    os.environ["PATH"] = "nowhere"
    os.environ.pop("HOME", None)
    logger = logging.getLogger("vqgen")
    logger.handlers = [logging.NullHandler()]
    logger.setLevel(logging.ERROR)
    logger.propagate = not logger.propagate
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    torch.set_num_threads(torch.get_num_threads() + 1)


@pytest.mark.parametrize("error", [None, KeyError, SystemExit, KeyboardInterrupt])
def test_everything_is_put_back_also_after_an_error(error):
    before = state()
    try:
        with restored_host():
            change_everything()
            assert all(state()[name] != before[name] for name in before if name not in ("dtype", "grad"))
            if error:
                raise error
    except (KeyError, SystemExit, KeyboardInterrupt):
        pass
    assert state() == before


def test_torch_is_plain_in_the_block_and_models_can_be_trained():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            with restored_host():
                weight = torch.ones(2, 2, requires_grad=True)
                (weight @ weight).sum().backward()
                assert weight.grad is not None
                assert weight.grad.dtype == torch.float32
            assert not torch.is_grad_enabled()
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("was_loaded", [True, False])
def test_state_of_accelerate_is_hidden_and_comes_back(monkeypatch, was_loaded):
    kinds = [SimpleNamespace(_shared_state={"device": number}) for number in range(3)]
    module = ModuleType("accelerate.state")
    module.PartialState, module.AcceleratorState, module.GradientState = kinds
    if was_loaded:
        monkeypatch.setitem(sys.modules, "accelerate.state", module)
    else:
        monkeypatch.delitem(sys.modules, "accelerate.state", raising=False)
    with restored_host():
        monkeypatch.setitem(sys.modules, "accelerate.state", module)
        if was_loaded:
            assert [kind._shared_state for kind in kinds] == [{}, {}, {}]
        for kind in kinds:
            kind._shared_state["device"] = "ours"
    assert [kind._shared_state for kind in kinds] == ([{"device": n} for n in range(3)] if was_loaded else [{}, {}, {}])
