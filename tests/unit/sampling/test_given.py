"""Codes that stay while the others are drawn: the samplers agree, and nothing else changes."""

import pytest
import torch

from vqgen.sampling import CachedSampler, CudaGraphSampler, Given, Guide, ImageNoise, LevelParams, PlainSampler

LABELS = torch.tensor([0, 2, -1])
ALL_PARAMS = LevelParams(0.7, 3, 0.9, guidance_scale=2.0, autoguidance_scale=1.5)


def draw(sampler, prior, condition, given, params=LevelParams(), guide=None, seed=1):  # noqa: B008
    return sampler.sample(prior, LABELS, condition, ImageNoise(seed, range(3)), params, guide, given)


def make_given(prior, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (3, prior.config.height, prior.config.width)
    codes = torch.randint(prior.config.codebook_size, shape, generator=generator)
    return Given(codes, torch.rand(shape, generator=generator) < 0.5)


def test_codes_in_order_time_are_those_of_the_grid(make_prior):
    order = make_prior(slope=2).order
    given = make_given(make_prior(slope=2))
    flat = given.in_order_time(order)
    positions = torch.from_numpy(order.positions)
    assert torch.equal(flat.codes, given.codes.flatten(1)[:, positions])
    assert torch.equal(flat.between(2, 5).redrawn, given.redrawn.flatten(1)[:, positions[2:5]])
    assert torch.equal(given.of_images(1, 3).codes, given.codes[1:])


@pytest.mark.parametrize("slope", [1, 2, "raster"])
@pytest.mark.parametrize("params", [LevelParams(), ALL_PARAMS])
def test_all_samplers_keep_the_codes_and_draw_the_same_others(make_prior, make_guide, conditioned, slope, params):
    prior = make_prior(slope=slope, coarser_height=3, coarser_width=2).eval()
    condition = conditioned(prior, 3)
    guide = make_guide(prior, 3)
    given = make_given(prior)
    expected = draw(PlainSampler(), prior, condition, given, params, guide)
    stays = ~given.redrawn
    assert torch.equal(expected.codes[stays], given.codes[stays])
    with torch.no_grad():
        likelihood = prior.log_likelihood(expected.codes, LABELS, condition)
    assert torch.allclose(expected.log_likelihood, likelihood, rtol=0, atol=1e-10)
    graph = CudaGraphSampler()
    for sampler in (CachedSampler(), graph, graph, graph):  # the third batch replays
        found = draw(sampler, prior, condition, given, params, guide)
        assert torch.equal(found.codes, expected.codes)
        assert torch.allclose(found.log_likelihood, expected.log_likelihood, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", [PlainSampler, CachedSampler, CudaGraphSampler])
def test_batches_with_codes_that_stay_and_batches_without_do_not_mix(make_prior, kind):
    prior = make_prior().eval()
    sampler = kind()
    free = draw(PlainSampler(), prior, None, None).codes
    of_seed = {seed: draw(PlainSampler(), prior, None, make_given(prior, seed)).codes for seed in (0, 1)}
    for seed in (None, None, 0, 0, 1, None, None, 1):
        given = None if seed is None else make_given(prior, seed)
        expected = free if seed is None else of_seed[seed]
        assert torch.equal(draw(sampler, prior, None, given).codes, expected)


def test_a_mask_of_everything_draws_as_if_nothing_were_given(make_prior):
    prior = make_prior().eval()
    given = make_given(prior)
    every = Given(given.codes, torch.ones_like(given.redrawn))
    assert torch.equal(draw(CachedSampler(), prior, None, every).codes, draw(CachedSampler(), prior, None, None).codes)


def test_a_code_is_that_of_free_sampling_as_long_as_the_codes_before_it_are(make_prior):
    prior = make_prior(slope=2).eval()
    free = draw(PlainSampler(), prior, None, None)
    last = torch.from_numpy(prior.order.times == prior.order.num_steps - 1).expand(3, -1, -1)
    other = (free.codes + 1) % prior.config.codebook_size
    clamped = draw(PlainSampler(), prior, None, Given(other, ~last))
    assert torch.equal(clamped.codes[~last], free.codes[~last])
    assert torch.equal(clamped.codes[last], other[last])


def test_autoguidance_needs_its_guide_with_given_codes_too(make_prior):
    prior = make_prior().eval()
    params = LevelParams(autoguidance_scale=2.0)
    with pytest.raises(ValueError, match="guide should be given"):
        draw(CachedSampler(), prior, None, make_given(prior), params)
    draw(CachedSampler(), prior, None, make_given(prior), params, Guide(prior, None))


@pytest.mark.gpu
@pytest.mark.usefixtures("unchecked_annotations")
def test_recorded_map_on_a_gpu_keeps_the_codes_of_each_batch(make_prior):
    prior = make_prior().eval().cuda()
    graph = CudaGraphSampler()
    for seed in (0, 0, 1, 2):  # the second batch is recorded, the later ones are replayed
        given = make_given(prior, seed)
        given = Given(given.codes.cuda(), given.redrawn.cuda())
        noise = (ImageNoise(4, range(3), torch.device("cuda")) for _ in range(2))
        expected = PlainSampler().sample(prior, LABELS.cuda(), None, next(noise), LevelParams(), None, given)
        found = graph.sample(prior, LABELS.cuda(), None, next(noise), LevelParams(), None, given)
        assert torch.equal(found.codes, expected.codes)
        assert torch.equal(found.codes[~given.redrawn], given.codes[~given.redrawn])
