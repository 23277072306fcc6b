"""Restarts of idle codes."""

import copy

import pytest
import torch
from tiny_quantizers import changed, copied_state, latents_at, make_latents, make_quantizer, rows, step
from torch.utils._python_dispatch import TorchDispatchMode


def test_restart_skips_latents_that_equal_an_entry_and_tries_again():
    quantizer = make_quantizer(size=4, restart_after=2)
    busy = quantizer.codebook[:1].T.reshape(1, 3, 1, 1).repeat(6, 1, 1, 1)
    before = quantizer.codebook.clone()
    for _ in range(5):
        step(quantizer, busy)
    assert torch.equal(quantizer.codebook[1:], before[1:])
    step(quantizer, busy + torch.arange(6, dtype=torch.float64)[:, None, None, None])
    assert not torch.equal(quantizer.codebook[1:], before[1:])


def test_restart_resets_entry_sum_count_and_age_together():
    quantizer = make_quantizer(size=4, restart_after=3)
    before = quantizer.codebook.clone()
    busy = latents_at(before, [0] + [1] * 30, noise=1e-3)  # 1 in 31 seeds has both codes draw the same latent
    for number in range(1, 4):
        quantizer.step_seed = number
        step(quantizer, busy)
        assert quantizer.idle_steps.tolist() == ([0, 0, number, number] if number < 3 else [0] * 4)
        assert torch.equal(quantizer.codebook[2:], before[2:]) == (number < 3)
    restarted = quantizer.codebook[2:]
    assert (restarted[:, None] == rows(busy)).all(dim=2).any(dim=1).all()  # bit for bit; cdist may round
    assert torch.equal(quantizer.ema_sums[2:], restarted)
    assert quantizer.ema_counts[2:].tolist() == [1.0, 1.0]
    assert quantizer.ema_counts[1] > 1


def test_idle_code_without_restarts_waits_for_ever_and_latents_are_not_kept():
    quantizer = make_quantizer(size=4, restart_after=0)
    before = quantizer.codebook.clone()
    for _ in range(200):
        quantizer(latents_at(before, [0]))
        assert quantizer._latents == []
        quantizer.update()
    assert torch.equal(quantizer.codebook[1:], before[1:])


def test_update_uses_its_statistics_only_once():
    quantizer = make_quantizer(restart_after=5)
    step(quantizer, make_latents())
    before = copied_state(quantizer)
    quantizer.update()
    assert changed(before, copied_state(quantizer)) == []


class NoWaiting(TorchDispatchMode):
    """Refuses the operations whose result, or its shape, a host needs before it can go on."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name.startswith("index") and any(t is not None and t.dtype == torch.bool for t in indices_of(args))
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "unique_dim", "equal"):
            raise AssertionError(f"{name} waits for the device")
        return function(*args, **(kwargs or {}))


def indices_of(args):
    return args[1] if len(args) > 1 and isinstance(args[1], list) else []


@pytest.mark.parametrize("waits", [lambda t: t[t > 0], lambda t: int(t.sum()), lambda t: t.long().abs().bincount()])
def test_waiting_for_the_device_is_noticed(waits):
    with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
        waits(torch.randn(5))


def test_steps_and_restarts_do_not_wait_for_the_device():
    quantizer = make_quantizer(size=40, data_init=True, restart_after=2)
    step(quantizer, make_latents())  # the start may wait: it happens once
    never = copy.deepcopy(quantizer)
    never.restart_after = 0
    with NoWaiting():
        for number in range(4):
            z = (make_latents() + number).requires_grad_()
            out = quantizer(z)
            (out.quantized.sum() + out.commitment_loss).backward()
            quantizer.update()
            step(never, z.detach())
    assert not torch.equal(quantizer.codebook, never.codebook), "nothing restarted"
