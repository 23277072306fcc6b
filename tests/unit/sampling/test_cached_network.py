"""The conditioning of a step, known before any of its codes."""

import pytest
import torch

from vqgen.sampling.cached_network import Conditioning, gated_blocks

LABELS = torch.tensor([0, 2, -1])


@pytest.fixture
def prior(make_prior):
    return make_prior(coarser_height=3, coarser_width=2).eval()


def make_conditioning(prior, conditioned, labels=LABELS, seed=0):
    with torch.no_grad():
        return Conditioning(prior, labels, conditioned(prior, len(labels), seed), 4, torch.float64)


def assert_equal(one, other, begin, end):
    assert torch.equal(one.of_first(begin, end), other.of_first(begin, end))
    assert torch.equal(one.of_blocks(begin, end), other.of_blocks(begin, end))


@torch.no_grad()
def test_contributions_equal_the_layers_of_the_prior(prior, conditioned):
    conditioning = make_conditioning(prior, conditioned)
    condition = conditioned(prior, 3).flatten(2).permute(2, 0, 1)[torch.from_numpy(prior.order.positions)]
    positions = (prior.rows + prior.columns).flatten(0, 1)[torch.from_numpy(prior.order.positions)]
    label = prior.embed_labels(LABELS, 3)
    first = conditioning.of_first(2, 5)
    blocks = conditioning.of_blocks(2, 5)
    assert torch.allclose(first.unflatten(0, (3, 3)), (positions[2:5] + prior.first.bias)[:, None].expand(-1, 3, -1))
    for block, found in zip(gated_blocks(prior), blocks, strict=True):
        expected = block.label(label) + block.condition(condition[2:5]) + block.convolution.bias
        assert torch.allclose(found.unflatten(0, (3, 3)), expected, atol=1e-12)


@torch.no_grad()
def test_copied_conditioning_is_that_of_the_other_batch_at_the_same_addresses(prior, conditioned):
    one = make_conditioning(prior, conditioned)
    other = make_conditioning(prior, conditioned, LABELS.flip(0), seed=1)
    addresses = [one._labels.data_ptr(), one._condition.data_ptr()]
    assert not torch.equal(one.of_blocks(0, 2), other.of_blocks(0, 2))
    one.copy_(other)
    assert_equal(one, other, 0, 2)
    assert addresses == [one._labels.data_ptr(), one._condition.data_ptr()]


@torch.no_grad()
def test_contributions_without_coarser_codes_are_the_same_at_every_position(make_prior, conditioned):
    conditioning = make_conditioning(make_prior().eval(), conditioned)
    assert torch.equal(conditioning.of_blocks(0, 2), conditioning.of_blocks(7, 9))
