"""Quantizers in turn: the sum of the entries, the codes of the residuals, the gradients, and the steps that wait."""

import copy

import pytest
import torch
from tiny_quantizers import make_latents, make_quantizer, rows

from vqgen.nn.quantizers.learned import SimVQQuantizer
from vqgen.nn.quantizers.residual import quantize_in_turn, sum_of_entries
from vqgen.nn.rotation import rotate_through
from vqgen.nn.straight_through import straight_through


def make(depth, kind="ema", **settings):
    """Quantizers in float64, each with a codebook of its own."""
    if kind == "ema":
        return [make_quantizer(**settings) for _ in range(depth)]
    settings = {"data_init": False, "restart_after": 0} | settings
    return [SimVQQuantizer(6, 3, **settings).double() for _ in range(depth)]


def in_turn(quantizers, latents, estimator=straight_through):
    return quantize_in_turn(quantizers, latents, estimator)


KINDS = pytest.mark.parametrize("kind", ["ema", "simvq"])


@KINDS
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_map_is_the_sum_of_the_entries_bit_for_bit(kind, depth):
    quantizers = make(depth, kind)
    found = in_turn(quantizers, make_latents(b=3))
    entries = [quantizer.embed(part.codes) for quantizer, part in zip(quantizers, found.parts, strict=True)]
    assert len(found.parts) == depth
    assert torch.equal(found.quantized, sum_of_entries(entries))


@KINDS
def test_each_code_is_the_nearest_to_what_the_codes_before_it_leave(kind):
    quantizers = make(3, kind)
    latents = make_latents()
    found = in_turn(quantizers, latents)
    for place, latent in enumerate(rows(latents)):
        left = latent
        for quantizer, part in zip(quantizers, found.parts, strict=True):
            entries = quantizer.entries().detach()
            distances = [float((left - entry).square().sum()) for entry in entries]
            code = int(part.codes.flatten()[place])
            assert code == distances.index(min(distances))
            left = left - entries[code]


@KINDS
def test_error_falls_with_every_quantizer_that_starts_at_its_residuals(kind):
    latents = make_latents(b=8, side=6)
    quantizers = make(4, kind, data_init=True)
    left = [latents - in_turn(quantizers[:depth], latents).quantized for depth in (1, 2, 3, 4)]
    errors = [float(each.square().mean()) for each in left]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.3 * errors[0]


@KINDS
def test_gradient_of_the_map_is_exactly_one(kind):
    latents = make_latents().requires_grad_()
    in_turn(make(3, kind), latents).quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))


def test_commitment_losses_compare_the_latents_with_each_partial_sum():
    """Section 3.1 of the paper: |z - sg(sum up to d)|^2 for each depth d, whose gradient is 2 (z - sum) / elements."""
    quantizers = make(3)
    latents = make_latents().requires_grad_()
    found = in_turn(quantizers, latents)
    torch.stack([part.commitment_loss for part in found.parts]).sum().backward()
    partial = torch.zeros_like(latents)
    expected = torch.zeros_like(latents)
    for quantizer, part in zip(quantizers, found.parts, strict=True):
        partial = partial + quantizer.embed(part.codes)
        left = (latents - partial).detach()
        torch.testing.assert_close(part.commitment_loss.detach(), left.square().mean(), rtol=0, atol=1e-14)
        expected += 2 * left / left.numel()
    torch.testing.assert_close(latents.grad, expected, rtol=0, atol=1e-14)


def test_rotation_turns_the_latents_to_the_sum():
    latents, upstream = make_latents().requires_grad_(), make_latents()
    found = in_turn(make(2), latents, rotate_through)
    (found.quantized * upstream).sum().backward()
    alone = rows(latents.detach()).requires_grad_()
    turned, _ = rotate_through(alone, rows(found.quantized.detach()))
    (turned * rows(upstream)).sum().backward()
    torch.testing.assert_close(rows(latents.grad), alone.grad, rtol=0, atol=1e-14)


def test_codebook_loss_moves_an_entry_to_its_residual_alone():
    quantizers = make(2, "simvq")
    latents = make_latents().requires_grad_()
    found = in_turn(quantizers, latents)
    found.parts[1].codebook_loss.backward()
    assert quantizers[0].projection.grad is None
    assert quantizers[1].projection.grad.any()
    assert latents.grad is None


def test_statistics_are_those_of_each_quantizer_alone():
    quantizers = make(2)
    alone = copy.deepcopy(quantizers)
    latents = make_latents()
    first = alone[0](latents).quantized.detach()
    alone[1](latents - first)
    in_turn(quantizers, latents)
    for one, other in zip(quantizers, alone, strict=True):
        one.update()
        other.update()
        assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def test_latents_pass_unchanged_while_a_quantizer_waits():
    latents = make_latents().requires_grad_()
    found = in_turn(make(3, quantize_after=1), latents)
    assert torch.equal(found.quantized, latents)
    assert all(not part.codes.any() and not part.commitment_loss for part in found.parts)
    # What the first one leaves passes the second one.
    found = in_turn([*make(1), *make(1, quantize_after=1)], latents)
    assert found.parts[0].codes.any()
    torch.testing.assert_close(found.quantized, latents, rtol=0, atol=1e-15)


def test_one_quantizer_is_left_as_it_is():
    (quantizer,) = make(1)
    latents = make_latents()
    found = in_turn([quantizer], latents)
    assert found.quantized is found.parts[0].quantized
    assert torch.equal(found.quantized, quantizer(latents).quantized)


def test_residuals_of_bfloat16_have_the_digits_of_the_entries():
    quantizers = [each.float() for each in make(2, dim=4)]
    latents = make_latents(dim=4).bfloat16().requires_grad_()
    found = in_turn(quantizers, latents)
    assert found.quantized.dtype == torch.float32
    whole = in_turn(quantizers, latents.detach().float())
    assert torch.equal(found.parts[1].codes, whole.parts[1].codes)
    found.quantized.sum().backward()
    assert torch.equal(latents.grad, torch.ones_like(latents))
