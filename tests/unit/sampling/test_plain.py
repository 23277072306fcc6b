import itertools
import math

import pytest
import torch

from vqgen.runtime.randomness import derive_seed
from vqgen.sampling import ImageNoise, LevelParams, LevelSample, PlainSampler

SLOPES = [1, 2, 3, "raster"]
LABELS = torch.tensor([0, 1, 2, 3, -1])


def sample(prior, labels=LABELS, params=None, seed=5, condition=None):
    return PlainSampler().sample(
        prior, labels, condition, ImageNoise(seed, range(len(labels))), params or LevelParams()
    )


def naive_sample(prior, label, params, generator, condition=None):
    """Samples one image, one position after the other in order time, each from a full pass in plain arithmetic."""
    times = prior.order.times
    size = prior.config.codebook_size
    grid = torch.zeros(1, *times.shape, dtype=torch.int64)
    total = 0.0
    for row, column in sorted(itertools.product(*map(range, times.shape)), key=lambda at: (times[at], at[0])):
        logits = prior(grid, label[None], condition)[0, :, row, column].tolist()
        uniform = torch.rand(size, generator=generator, dtype=torch.float64).tolist()
        open_codes = sorted(range(size), key=lambda code: (-logits[code], code))[: params.top_k]
        if params.temperature == 0:
            code = open_codes[0]
        else:
            noisy = {c: logits[c] / params.temperature - math.log(-math.log(uniform[c])) for c in open_codes}
            code = max(noisy, key=noisy.__getitem__)
        grid[0, row, column] = code
        total += logits[code] - math.log(math.fsum(math.exp(logit) for logit in logits))
    return grid[0], total


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("params", [LevelParams(), LevelParams(temperature=0.0), LevelParams(temperature=0.7, top_k=3)])
def test_sample_equals_a_loop_over_images_and_positions(make_prior, slope, params):
    prior = make_prior(slope=slope).eval()
    result = sample(prior, params=params)
    assert isinstance(result, LevelSample)
    with torch.no_grad():
        for index, label in enumerate(LABELS):
            generator = torch.Generator().manual_seed(derive_seed(5, "image", index))
            codes, log_likelihood = naive_sample(prior, label, params, generator)
            assert torch.equal(result.codes[index], codes)
            assert result.log_likelihood[index].item() == pytest.approx(log_likelihood, abs=1e-10)


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("params", [LevelParams(), LevelParams(temperature=0.5, top_k=2, top_p=0.9)])
def test_likelihood_is_the_teacher_forced_one_of_the_unfiltered_model(make_prior, slope, params):
    prior = make_prior(slope=slope, coarser_height=3, coarser_width=2).eval()
    with torch.no_grad():
        condition = prior.encode_condition(torch.randint(5, (5, 3, 2)))
        result = sample(prior, params=params, condition=condition)
        expected = prior.log_likelihood(result.codes, LABELS, condition)
    assert result.log_likelihood.dtype == torch.float64
    assert torch.allclose(result.log_likelihood, expected, rtol=0, atol=1e-10)


def test_temperature_zero_takes_the_most_likely_codes_and_uses_up_the_same_draws(make_prior):
    prior = make_prior().eval()
    noise = [ImageNoise(seed, range(2)) for seed in (0, 0, 1)]
    labels = torch.tensor([0, 1])
    greedy = [
        PlainSampler().sample(prior, labels, None, each, LevelParams(temperature=temperature))
        for each, temperature in zip(noise, (0.0, 1.0, 0.0), strict=True)
    ]
    assert torch.equal(greedy[0].codes, greedy[2].codes)
    with torch.no_grad():
        logits = prior(greedy[0].codes, labels, None)
    assert torch.equal(logits.argmax(dim=1), greedy[0].codes)
    assert torch.equal(noise[0].of_level(1, 3).gumbel(1), noise[1].of_level(1, 3).gumbel(1))


def test_samples_have_the_distribution_of_the_model(make_prior):
    prior = make_prior(height=2, width=2, codebook_size=3, layers=1, attention_every=1).eval()
    count = 6000
    codes = sample(prior, torch.ones(count, dtype=torch.int64)).codes
    every = torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, 2, 2)
    with torch.no_grad():
        expected = count * prior.log_likelihood(every, torch.ones(81, dtype=torch.int64), None).exp()
    observed = torch.bincount(codes.flatten(1) @ torch.tensor([27, 9, 3, 1]), minlength=81)
    # Cells below 5 are joined. Chi-square with f degrees of freedom exceeds f + 2 sqrt(f x) + 2 x with probability
    # below exp(-x) (Laurent and Massart 2000); x = 16 makes that 10^-7 over all seeds.
    large = expected >= 5
    expected = torch.cat([expected[large], expected[~large].sum()[None]])
    observed = torch.cat([observed[large], observed[~large].sum()[None]])
    freedom = len(expected) - 1
    assert freedom > 10
    assert ((observed - expected).square() / expected).sum() < freedom + 2 * math.sqrt(freedom * 16) + 2 * 16


@pytest.mark.parametrize("training", [True, False])
def test_model_and_generators_are_left_as_they_were(make_prior, training):
    prior = make_prior(dropout=0.5).train(training)
    state = torch.get_rng_state()
    first = sample(prior)
    assert all(module.training is training for module in prior.modules())
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.codes, sample(prior.train(not training)).codes)  # no dropout in either mode


@pytest.mark.usefixtures("unchecked_annotations")
def test_mode_of_the_model_is_restored_after_an_error(make_prior):
    prior = make_prior().train()
    with pytest.raises(ValueError, match="labels should be int64"):
        sample(prior, LABELS.float())
    assert prior.training


def test_sample_of_a_float32_model_has_the_same_dtypes(make_prior):
    result = sample(make_prior().float())
    assert result.codes.dtype == torch.int64
    assert result.codes.shape == (5, 3, 4)
    assert result.log_likelihood.dtype == torch.float64
