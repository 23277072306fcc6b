"""Rescored codes have the likelihood of the whole model, at every position of every level."""

import pytest
import torch
from tiny_models import make_pixelcnn

from vqgen.codes import Codes
from vqgen.editing import Joint, joint_log_likelihood
from vqgen.editing import joint as joint_module
from vqgen.editing.joint import rows_at_a_time

LABELS = torch.tensor([0, 2, 3])


@pytest.fixture(scope="module", params=[1, 2])
def three_levels(request):
    """Three grids of codes; with 2, the last one is conditioned on both others."""
    sizes = {1: {"top": (1, 2), "middle": (2, 2), "bottom": (2, 4)},
             2: {"top": (2, 2), "middle": (2, 2), "bottom": (2, 4)}}[request.param]  # fmt: skip
    priors = []
    coarser = (0, 0)
    for place, (level, (height, width)) in enumerate(sizes.items()):
        grid = {"height": height, "width": width, "coarser_height": coarser[0], "coarser_width": coarser[1]}
        grid["conditioning_grids"] = min(request.param, max(1, place))
        priors.append(make_pixelcnn(level=level, slope=2, attention_every=2, codebook_size=4, **grid))
        coarser = (height, width)
    return priors


def draw(priors, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {prior.config.level: (3, prior.config.height, prior.config.width) for prior in priors}
    return Codes({level: torch.randint(4, shape, generator=generator) for level, shape in shapes.items()})


@torch.no_grad()
@pytest.mark.parametrize("working_set", [1 << 28, 1])
def test_likelihood_of_another_code_is_that_of_the_whole_model(three_levels, working_set, monkeypatch):
    monkeypatch.setattr(joint_module, "_WORKING_SET", working_set)  # 1 evaluates image by image
    codes = draw(three_levels)
    before = joint_log_likelihood(three_levels, codes, LABELS)
    images = torch.tensor([0, 2, 2])
    other = torch.tensor([1, 3, 0])
    joint = Joint(three_levels, codes, LABELS)
    for place, prior in enumerate(three_levels):
        joint.enter(place)
        level = prior.config.level
        for position in range(prior.order.num_positions):
            own = joint.log_probabilities(images, position)
            now = joint.codes_at(images, position)
            assert torch.equal(now, codes.grids[level].flatten(1)[images, position])
            gain = joint.after_with(images, position, other) - joint.after(images, position)
            gain += (own.gather(1, other[:, None]) - own.gather(1, now[:, None]))[:, 0]
            rows = codes[images]
            rows.grids[level].view(3, -1)[:, position] = other
            expected = joint_log_likelihood(three_levels, rows, LABELS[images]) - before[images]
            assert torch.allclose(gain, expected, rtol=0, atol=1e-9)


@torch.no_grad()
def test_put_codes_are_seen_by_all_that_follows(three_levels):
    codes = draw(three_levels)
    joint = Joint(three_levels, codes, LABELS)
    joint.enter(1)
    joint.put(torch.tensor([1]), 0, (codes.grids["middle"][1:2, 0, 0] + 1) % 4)
    fresh = Joint(three_levels, joint.codes, LABELS)
    fresh.enter(1)
    every = torch.arange(3)
    assert torch.allclose(joint.log_probabilities(every, 3), fresh.log_probabilities(every, 3), rtol=0, atol=1e-10)
    assert torch.allclose(joint.after(every, 1), fresh.after(every, 1), rtol=0, atol=1e-10)
    assert not torch.equal(joint.codes.grids["middle"], codes.grids["middle"])
    assert torch.equal(draw(three_levels).grids["middle"], codes.grids["middle"])  # the given codes are copied


def test_joint_likelihood_is_the_sum_over_levels(three_levels):
    codes = draw(three_levels)
    last = three_levels[-1].config.conditioning_grids
    above = [None, codes.top, codes.middle if last == 1 else codes.top + 4 * codes.middle]
    expected = torch.zeros(3, dtype=torch.float64)
    with torch.no_grad():
        for prior, coarser in zip(three_levels, above, strict=True):
            grid = codes.grids[prior.config.level]
            expected += prior.log_likelihood(grid, LABELS, prior.encode_condition(coarser))
        found = joint_log_likelihood(three_levels, codes, LABELS)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_large_maps_are_evaluated_a_few_at_a_time():
    small = make_pixelcnn(codebook_size=6)
    large = make_pixelcnn(height=32, width=32, codebook_size=512)
    assert 1 <= rows_at_a_time(large) < 50 < rows_at_a_time(small)
