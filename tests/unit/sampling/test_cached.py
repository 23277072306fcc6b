"""The cached sampler draws the codes of the plain one, with one evaluation of each position."""

import pytest
import torch
from combinations import combinations

from vqgen.sampling import CachedSampler, ImageNoise, LevelParams, PlainSampler
from vqgen.sampling.cached_layers import Output

SLOPES = [1, 2, 3, "raster"]
LABELS = torch.tensor([0, 2, -1])
MODELS = [
    {},
    {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
    {"attention_every": 1, "height": 5, "width": 2},
    {"positions": "none", "attention_every": 0},
    {"coarser_height": 3, "coarser_width": 2, "layers": 3},
    {"coarser_height": 3, "coarser_width": 4},
]
PARAMS = [LevelParams(), LevelParams(temperature=0.7, top_k=3), LevelParams(temperature=0.0)]


@pytest.mark.parametrize(("slope", "changes", "params"), combinations(SLOPES, MODELS, PARAMS, every=3))
def test_codes_equal_those_of_the_plain_sampler(make_prior, conditioned, slope, changes, params):
    prior = make_prior(slope=slope, **changes)
    condition = conditioned(prior, len(LABELS))
    plain, cached = (
        sampler.sample(prior, LABELS, condition, ImageNoise(3, range(3)), params)
        for sampler in (PlainSampler(), CachedSampler())
    )
    assert torch.equal(plain.codes, cached.codes)
    assert torch.allclose(plain.log_likelihood, cached.log_likelihood, rtol=0, atol=1e-10)


@pytest.mark.parametrize("slope", SLOPES)
def test_network_is_evaluated_once_per_step_and_once_at_each_position(make_prior, slope, monkeypatch):
    prior = make_prior(slope=slope)
    positions = []
    compute = Output.__call__

    def count(self, features):
        positions.append(len(features))
        return compute(self, features)

    monkeypatch.setattr(Output, "__call__", count)
    CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    assert len(positions) == prior.order.num_steps
    assert sum(positions) == 3 * prior.order.num_positions


def test_codes_can_be_trained_on(make_prior):
    prior = make_prior()
    sample = CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    prior(sample.codes, LABELS, None).sum().backward()
    assert prior.embedding.weight.grad is not None


def test_batch_changes_no_image(make_prior):
    prior = make_prior()
    together = CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams()).codes
    for index in range(3):
        noise = ImageNoise(0, [index])
        alone = CachedSampler().sample(prior, LABELS[index : index + 1], None, noise, LevelParams()).codes
        assert torch.equal(alone, together[index : index + 1])


def test_likelihood_under_autocast_is_finite_and_in_float64(make_prior):
    prior = make_prior(slope=2).float().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    assert sample.log_likelihood.dtype == torch.float64
    assert torch.isfinite(sample.log_likelihood).all()
