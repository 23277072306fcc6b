"""Guidance by the null label and by a guide: closed forms, no change at scale 1, the same codes from all samplers."""

import pytest
import torch

from vqgen.sampling import CachedSampler, CudaGraphSampler, Guide, ImageNoise, LevelParams, PlainSampler, guided_logits
from vqgen.sampling.cached_layers import Output

LABELS = torch.tensor([0, 2, -1])
SAMPLERS = [PlainSampler(), CachedSampler(), CudaGraphSampler()]


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("auto_scale", [0.0, 0.5, 1.0, 1.5, 3.0])
def test_guided_logits_are_the_product_of_powers(scale, auto_scale):
    logits = [torch.randn(4, 6, dtype=torch.float64) for _ in range(1 + (scale != 1) + (auto_scale != 1))]
    given, *others = (each.softmax(-1) for each in logits)
    expected = given
    if scale != 1:
        expected = expected * (given / others.pop(0)) ** (scale - 1)
    if auto_scale != 1:
        expected = expected * (given / others.pop(0)) ** (auto_scale - 1)
    expected = expected / expected.sum(-1, keepdim=True)
    params = LevelParams(guidance_scale=scale, autoguidance_scale=auto_scale)
    assert len(logits) == params.copies
    assert torch.allclose(guided_logits(logits, params).softmax(-1), expected, atol=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_scale_1_is_no_guidance_and_evaluates_no_image_twice(make_prior, sampler, monkeypatch):
    prior = make_prior()
    rows = []
    compute = Output.__call__
    prior.output.register_forward_hook(lambda module, inputs, output: rows.append(output.shape[:-1].numel()))

    def count(self, features):
        rows.append(len(features))
        return compute(self, features)

    monkeypatch.setattr(Output, "__call__", count)
    one, other = (
        sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), params)
        for params in (LevelParams(), LevelParams(guidance_scale=1.0))
    )
    assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.log_likelihood, other.log_likelihood)
    half = len(rows) // 2
    assert rows
    assert rows[:half] == rows[half:]


@pytest.mark.parametrize("slope", [1, 2, "raster"])
@pytest.mark.parametrize("changes", [{}, {"coarser_height": 3, "coarser_width": 2}])
@pytest.mark.parametrize(
    "params",
    [
        LevelParams(guidance_scale=2.5),
        LevelParams(0.8, 3, guidance_scale=0.3),
        LevelParams(autoguidance_scale=1.5),
        LevelParams(1.2, guidance_scale=2.5, autoguidance_scale=2.0),
    ],
)
def test_faster_samplers_draw_the_guided_codes_of_the_plain_one(
    make_prior, make_guide, conditioned, slope, changes, params
):
    prior = make_prior(slope=slope, **changes)
    guide = make_guide(prior, 3)
    condition = conditioned(prior, 3)
    plain, *others = (s.sample(prior, LABELS, condition, ImageNoise(3, range(3)), params, guide) for s in SAMPLERS)
    for other in others:
        assert torch.equal(plain.codes, other.codes)
        assert torch.allclose(plain.log_likelihood, other.log_likelihood, rtol=0, atol=1e-10)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guidance_0_samples_as_without_a_label(make_prior, sampler):
    prior = make_prior()
    guided = sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams(guidance_scale=0.0)).codes
    free = sampler.sample(prior, torch.full((3,), -1), None, ImageNoise(0, range(3)), LevelParams()).codes
    assert torch.equal(guided, free)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("changes", [{}, {"coarser_height": 3, "coarser_width": 2}])
def test_autoguidance_0_samples_the_guide_as_it_sees_the_coarser_codes(
    make_prior, make_guide, conditioned, sampler, changes
):
    prior = make_prior(**changes)
    guide = make_guide(prior, 3)
    noise = ImageNoise(0, range(3))
    condition = conditioned(prior, 3)
    guided = sampler.sample(prior, LABELS, condition, noise, LevelParams(autoguidance_scale=0.0), guide).codes
    alone = sampler.sample(guide.prior, LABELS, guide.condition, ImageNoise(0, range(3)), LevelParams()).codes
    free = sampler.sample(prior, LABELS, condition, ImageNoise(0, range(3)), LevelParams()).codes
    assert torch.equal(guided, alone)
    assert not torch.equal(guided, free)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_guide_that_is_the_prior_itself_changes_nothing(make_prior, sampler):
    prior = make_prior()
    noises = [ImageNoise(0, range(3)) for _ in range(2)]
    guided = sampler.sample(prior, LABELS, None, noises[0], LevelParams(autoguidance_scale=4.0), Guide(prior, None))
    free = sampler.sample(prior, LABELS, None, noises[1], LevelParams())
    assert torch.equal(guided.codes, free.codes)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_autoguidance_without_a_guide_is_refused(make_prior, sampler):
    with pytest.raises(ValueError, match=r"guide should be given at autoguidance_scale 1\.5, found None"):
        sampler.sample(make_prior(), LABELS, None, ImageNoise(0, range(3)), LevelParams(autoguidance_scale=1.5))


def test_recorded_map_follows_another_guide_other_labels_and_other_weights_of_the_guide(make_prior, make_guide):
    prior = make_prior()
    sampler = CudaGraphSampler()
    guide = make_guide(prior, 3)
    params = LevelParams(guidance_scale=2.0, autoguidance_scale=3.0)

    def codes(its_guide, its_sampler=sampler, labels=LABELS):
        # The second of two equal batches is recorded.
        first, second = (
            its_sampler.sample(prior, labels, None, ImageNoise(1, range(3)), params, its_guide).codes for _ in range(2)
        )
        assert torch.equal(first, second)
        return second

    first = codes(guide)
    assert torch.equal(codes(Guide(prior, None)), codes(Guide(prior, None), PlainSampler()))
    assert torch.equal(codes(guide), first)
    others = LABELS.flip(0)
    assert torch.equal(codes(guide, labels=others), codes(guide, PlainSampler(), others))
    with torch.no_grad():
        guide.prior.output[-1].weight.mul_(-1)
    assert torch.equal(codes(guide), codes(guide, PlainSampler()))
    assert not torch.equal(codes(guide), first)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_modes_of_prior_and_guide_are_restored(make_prior, make_guide, sampler):
    prior = make_prior(dropout=0.5).train()
    guide = make_guide(prior, 3)
    guide.prior.eval()
    params = LevelParams(autoguidance_scale=2.0)
    one, other = (sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), params, guide).codes for _ in range(2))
    assert torch.equal(one, other)
    assert prior.training
    assert not guide.prior.training


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_likelihood_is_that_of_the_unguided_model(make_prior, make_guide, sampler):
    prior = make_prior().eval()
    params = LevelParams(0.5, guidance_scale=3.0, autoguidance_scale=2.0)
    sample = sampler.sample(prior, LABELS, None, ImageNoise(0, range(3)), params, make_guide(prior, 3))
    with torch.no_grad():
        expected = prior.log_likelihood(sample.codes, LABELS, None)
    assert torch.allclose(sample.log_likelihood, expected, rtol=0, atol=1e-10)


def test_code_is_drawn_from_the_guided_distribution(make_prior):
    """Compares 2,000 draws of a single code: all shares are within four deviations (chance to fail: below 5 * 7e-5)."""
    prior = make_prior(height=1, width=1).eval()
    with torch.no_grad():
        prior.label_embedding.weight.mul_(3)
        prior.output[-1].weight.mul_(0.3)
    labels = torch.zeros(2000, dtype=torch.int64)
    codes = (
        CachedSampler().sample(prior, labels, None, ImageNoise(0, range(2000)), LevelParams(guidance_scale=2.0)).codes
    )
    with torch.no_grad():
        given, free = (prior(codes[:1], torch.tensor([label]), None).flatten() for label in (0, prior.null_label))
    expected = guided_logits([given, free], LevelParams(guidance_scale=2.0)).softmax(-1)
    assert (given.softmax(-1) - expected).abs().max() > 0.05
    shares = codes.flatten().bincount(minlength=5) / 2000
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / 2000).sqrt() + 1e-12).all()
