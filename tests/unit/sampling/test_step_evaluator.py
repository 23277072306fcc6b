"""A step evaluator computes the logits of a full pass, and its memory does not grow."""

import pytest
import torch

from vqgen.sampling.step_evaluator import StepEvaluator

SLOPES = [1, 2, 3, "raster"]
LABELS = torch.tensor([0, 2, -1])
MODELS = [
    {},
    {"attention_every": 0, "kernel_size": 3, "output_layers": 2},
    {"attention_every": 1, "height": 5, "width": 2},
    {"positions": "none", "attention_every": 0},
    {"coarser_height": 3, "coarser_width": 2, "layers": 3},
]


@torch.no_grad()
def largest_difference(prior, condition):
    """Returns the largest difference to the logits of a full pass, over all steps, when the same codes are appended."""
    codes = torch.randint(prior.config.codebook_size, (len(LABELS), prior.order.height, prior.order.width))
    full = prior(codes, LABELS, condition).flatten(2)
    evaluator = StepEvaluator(prior, LABELS, condition)
    assert evaluator.num_steps == prior.order.num_steps
    largest = 0.0
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
    assert largest_difference(prior, condition) < 1e-10
    assert largest_difference(prior.float(), None if condition is None else condition.float()) < 1e-5


def test_logits_with_weights_and_caches_in_bfloat16_are_float32(make_prior):
    prior = make_prior(slope=2).float().eval()
    codes = torch.randint(5, (3, 3, 4))
    with torch.no_grad():
        exact = StepEvaluator(prior, LABELS, None)
        rounded = StepEvaluator(prior, LABELS, None, torch.bfloat16)
        for step, positions in enumerate(map(torch.from_numpy, prior.order.steps())):
            one = exact.logits(step)
            other = rounded.logits(step)
            assert other.dtype == torch.float32
            assert 0 < (one - other).abs().max() < 0.2  # eight bits of mantissa, a few layers
            for evaluator in (exact, rounded):
                evaluator.append(step, codes.flatten(1)[:, positions].T)


@pytest.mark.parametrize("slope", [2, "raster"])
def test_memory_does_not_grow_with_the_steps(make_prior, bytes_of, slope):
    prior = make_prior(slope=slope, height=6, width=8).eval()
    sizes = []
    with torch.no_grad():
        evaluator = StepEvaluator(prior, LABELS, None)
        for step, positions in enumerate(prior.order.steps()):
            evaluator.logits(step)
            evaluator.append(step, torch.zeros(len(positions), 3, dtype=torch.int64))
            sizes.append(bytes_of(evaluator))
    # The sums known ahead belong to a span. The widest span comes in the first half.
    assert sizes[-1] <= max(sizes[: len(sizes) // 2 + 1])
    assert max(sizes) < 1.5 * sizes[0]
