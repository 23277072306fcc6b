import threading
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from vqgen.runtime.plain_torch import computes_plainly, kept_random_state, plain_methods, plain_torch


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


AMBIENT = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "device": lambda: torch.device("meta"),
    "nothing": lambda: torch.enable_grad(),
}


@pytest.fixture(params=AMBIENT)
def ambient(request):
    return AMBIENT[request.param]


def settings():
    return (
        torch.get_default_dtype(),
        torch.is_autocast_enabled("cpu"),
        torch.is_inference_mode_enabled(),
        torch.get_default_device().type,
    )


PLAIN = (torch.float32, False, False, "cpu")


def test_settings_of_the_host_are_away_in_the_block_and_back_after_it(ambient):
    with ambient():
        before = settings()
        with plain_torch():
            assert settings() == PLAIN
            with plain_torch():
                assert settings() == PLAIN
            assert settings() == PLAIN
        assert settings() == before
        with pytest.raises(KeyError), plain_torch():
            raise KeyError
        assert settings() == before
    assert settings() == PLAIN


def test_same_network_computes_the_same_numbers(ambient):
    @computes_plainly
    def compute():
        with kept_random_state():
            torch.manual_seed(0)
            return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))(torch.linspace(0, 1, 16).view(2, 8))

    expected = compute()
    with ambient():
        found = compute()
    assert found.device.type == "cpu"
    assert not found.is_inference()
    assert not found.requires_grad
    assert torch.equal(found, expected)


def test_steps_of_a_generator_are_plain_and_the_host_is_itself_between_them():
    closed = []

    @computes_plainly
    def steps():
        try:
            for number in range(3):
                yield number, settings(), torch.is_grad_enabled()
        finally:
            closed.append(settings())

    with default_dtype(torch.float64):
        host = settings()
        found = []
        for step in steps():
            found.append(step)
            assert settings() == host
            assert torch.is_grad_enabled()
        assert found == [(number, PLAIN, False) for number in range(3)]
        begun = steps()
        next(begun)
        begun.close()
        assert len(closed) == 2
        assert settings() == host


def test_weights_made_in_inference_mode_can_be_trained():
    with torch.inference_mode(), plain_torch():
        layer = nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    assert layer.weight.grad is not None


def test_default_dtype_comes_back_after_the_last_of_two_threads():
    inside = threading.Event()
    leave = threading.Event()
    found = []

    def stay():
        with plain_torch():
            inside.set()
            leave.wait(10)
            found.append(torch.get_default_dtype())

    with default_dtype(torch.float64):
        thread = threading.Thread(target=stay)
        thread.start()
        assert inside.wait(10)
        with plain_torch():
            found.append(torch.get_default_dtype())
        found.append(torch.get_default_dtype())  # the other block still computes
        leave.set()
        thread.join(10)
        assert torch.get_default_dtype() == torch.float64
    assert found == [torch.float32] * 3


def test_random_state_is_that_of_before():
    expected = torch.Generator().manual_seed(3)
    torch.manual_seed(3)
    with kept_random_state():
        torch.rand(100)
    assert torch.equal(torch.rand(4), torch.rand(4, generator=expected))


def test_all_public_methods_of_a_class_are_plain():
    @plain_methods
    class Host:
        def __init__(self):
            self.made = settings()

        def __call__(self):
            return settings()

        def method(self):
            """Returns the settings."""
            return settings(), torch.is_grad_enabled()

        @classmethod
        def of_class(cls):
            return cls, settings()

        @staticmethod
        def of_nobody():
            return settings()

        def _private(self):
            return settings()

    with default_dtype(torch.float64):
        host = Host()
        assert host.made == host() == Host.of_nobody() == PLAIN
        assert host.method() == (PLAIN, False)
        assert Host.of_class() == (Host, PLAIN)
        assert host._private() != PLAIN
    assert Host.method.__doc__ == "Returns the settings."
