"""The cached sampler is the plain one, but for rounding and for the work it does."""

import pytest
import torch

from vqgen.order import CausalOrder
from vqgen.sampling import CachedSampler, ImageNoise, LevelParams, PlainSampler, bytes_per_image
from vqgen.sampling.cached_layers import Output
from vqgen.sampling.step_evaluator import StepEvaluator
from vqgen.sampling.step_tables import open_taps, span_of, split_taps

SLOPES = [1, 2, 3, "raster"]
LABELS = torch.tensor([0, 2, -1])
MODELS = [
    {},
    {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
    {"attention_every": 1, "height": 5, "width": 2},
    {"coarser_height": 3, "coarser_width": 2, "layers": 3},
]


@torch.no_grad()
def logits_differ_by(prior, condition):
    """The largest difference to a full pass, over all steps, when the same codes are put."""
    codes = torch.randint(prior.config.codebook_size, (len(LABELS), prior.order.height, prior.order.width))
    full = prior(codes, LABELS, condition).flatten(2)
    evaluator, largest = StepEvaluator(prior, LABELS, condition), 0.0
    for step, positions in enumerate(map(torch.from_numpy, prior.order.steps())):
        found = evaluator.logits(step)
        largest = max(largest, (found - full[:, :, positions].permute(2, 0, 1)).abs().max().item())
        evaluator.append(step, codes.flatten(1)[:, positions].T)
    return largest


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("changes", MODELS)
def test_teacher_forced_logits_are_those_of_a_full_pass_at_every_step(make_prior, conditioned, slope, changes):
    prior = make_prior(slope=slope, **changes).eval()
    condition = conditioned(prior, len(LABELS))
    assert logits_differ_by(prior, condition) < 1e-10
    assert logits_differ_by(prior.float(), None if condition is None else condition.float()) < 1e-5


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize("params", [LevelParams(), LevelParams(temperature=0.7, top_k=3), LevelParams(temperature=0)])
def test_the_same_codes_as_the_plain_sampler(make_prior, conditioned, slope, changes, params):
    prior = make_prior(slope=slope, **changes)
    condition = conditioned(prior, len(LABELS))
    plain, cached = (
        sampler.sample(prior, LABELS, condition, ImageNoise(3, range(3)), params)
        for sampler in (PlainSampler(), CachedSampler())
    )
    assert torch.equal(plain.codes, cached.codes)
    assert torch.allclose(plain.log_likelihood, cached.log_likelihood, rtol=0, atol=1e-10)


@pytest.mark.parametrize("slope", SLOPES)
def test_one_evaluation_per_step_and_each_position_once(make_prior, slope, monkeypatch):
    prior, positions = make_prior(slope=slope), []
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


def test_the_batch_changes_no_image(make_prior):
    prior = make_prior()
    together = CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams()).codes
    for index in range(3):
        noise = ImageNoise(0, [index])
        alone = CachedSampler().sample(prior, LABELS[index : index + 1], None, noise, LevelParams()).codes
        assert torch.equal(alone, together[index : index + 1])


def test_under_autocast_weights_and_caches_are_bfloat16_and_logits_float32(make_prior):
    prior = make_prior(slope=2).float().eval()
    codes = torch.randint(5, (3, 3, 4))
    with torch.no_grad():
        exact, rounded = StepEvaluator(prior, LABELS, None), StepEvaluator(prior, LABELS, None, torch.bfloat16)
        for step, positions in enumerate(map(torch.from_numpy, prior.order.steps())):
            one, other = exact.logits(step), rounded.logits(step)
            assert other.dtype == torch.float32
            assert 0 < (one - other).abs().max() < 0.2  # eight bits of mantissa, a few layers
            for evaluator in (exact, rounded):
                evaluator.append(step, codes.flatten(1)[:, positions].T)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sample = CachedSampler().sample(prior, LABELS, None, ImageNoise(0, range(3)), LevelParams())
    assert sample.log_likelihood.dtype == torch.float64
    assert torch.isfinite(sample.log_likelihood).all()


@pytest.mark.parametrize("slope", [2, "raster"])
def test_nothing_that_is_kept_grows_with_the_steps(make_prior, slope):
    prior = make_prior(slope=slope, height=6, width=8).eval()
    sizes = []
    with torch.no_grad():
        evaluator = StepEvaluator(prior, LABELS, None)
        for step, positions in enumerate(prior.order.steps()):
            evaluator.logits(step)
            evaluator.append(step, torch.zeros(len(positions), 3, dtype=torch.int64))
            sizes.append(bytes_of(evaluator))
    # What is known ahead belongs to a span; the widest one comes in the first half.
    assert sizes[-1] <= max(sizes[: len(sizes) // 2 + 1])
    assert max(sizes) < 1.5 * sizes[0]


def tensors_of(thing):
    """All tensors that an object of ours holds."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        for item in thing.values() if isinstance(thing, dict) else thing:
            yield from tensors_of(item)
    elif type(thing).__module__.startswith("vqgen.sampling"):
        yield from tensors_of(vars(thing))


def bytes_of(thing):
    """Memory behind all tensors that an object of ours holds, each counted once."""
    return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors_of(thing)}.values())


@pytest.mark.parametrize("changes", MODELS)
@pytest.mark.parametrize("slope", [2, "raster"])
def test_stated_memory_covers_what_is_kept_and_is_no_more_than_twice_that(make_prior, conditioned, slope, changes):
    prior = make_prior(slope=slope, **({"height": 12, "width": 12, "channels": 32} | changes)).eval()
    if prior.config.is_conditioned:
        prior = make_prior(slope=slope, **(changes | {"height": 12, "width": 12, "channels": 32})).eval()
    b, sizes = 8, []
    with torch.no_grad():
        for count in (b, 2 * b):  # the difference is free of the weights
            labels = torch.zeros(count, dtype=torch.int64)
            evaluator = StepEvaluator(prior, labels, conditioned(prior, count))
            evaluator.logits(0)
            sizes.append(bytes_of(evaluator))
    kept = (sizes[1] - sizes[0]) / b
    assert kept <= bytes_per_image(prior.config, 8) <= 2 * kept


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("slope", [1, 2, 3, 5, "raster"])
def test_far_taps_read_what_is_a_span_old_and_near_ones_what_is_younger(slope, kernel_size):
    order = CausalOrder(9, 10, slope)
    span = span_of(order, kernel_size)
    assert order.effective_slope < 10 or span > 1
    for strict in (True, False):
        taps, (near, far) = open_taps(order, kernel_size, strict), split_taps(order, kernel_size, strict, span)
        assert sorted(near + far) == list(range(len(taps)))
        ages = [-(dc + order.effective_slope * dr) for dr, dc in taps]
        assert far == ([place for place, age in enumerate(ages) if age >= span] if span > 1 else [])
