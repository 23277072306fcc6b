"""Compiled steps have the frequencies and the features of `FixedSteps`, to the last bit."""

import numpy as np
import pytest
import torch
from combinations import combinations
from tiny_models import make_pixelcnn
from torch import nn

from vqgen.codec import c_fixed
from vqgen.codec.c_steps import CompiledSteps, steps_of
from vqgen.codec.fixed_prior import FixedPrior, FixedSteps

pytestmark = pytest.mark.skipif(c_fixed.library() is None, reason="the C functions cannot be compiled here")

ALIKE = {"positions": "none", "attention_every": 0}
MODELS = [
    {},
    {"kernel_size": 3, "output_layers": 2},
    {"slope": 3, "kernel_size": 7, "layers": 3},
    {"slope": 1, "kernel_size": 3, "output_layers": 0},
    {"slope": 4, "kernel_size": 9, "width": 6, "layers": 3},
    {"channels": 32, "codebook_size": 33},
    {"height": 4, "width": 6, "coarser_height": 2, "coarser_width": 3},
    {"height": 4, "width": 8, "coarser_height": 4, "coarser_width": 2, "conditioning_layers": 0},
    {"height": 3, "width": 3, "coarser_height": 3, "coarser_width": 3, "conditioning_layers": 3},
    {"height": 3, "width": 3, "coarser_height": 3, "coarser_width": 3, "conditioning_grids": 3},
    {"height": 4, "width": 6, "coarser_height": 2, "coarser_width": 3, "conditioning_norm": True},
]


def make_prior(**changes):
    """Makes a prior whose biases and norms are not those of its start."""
    model = make_pixelcnn(**ALIKE, **changes)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
    prior = FixedPrior(model)
    # Results beyond the bounds, too.
    prior.blocks[0].project.bias[::2] = 250.0
    return prior


def arguments(prior, height, width, count):
    config = prior.model.config
    draws = torch.Generator().manual_seed(count)
    labels, coarser = torch.arange(count) % 3 - 1, None
    if prior.coarser is not None:
        size = (count, -(-height // prior.coarser.ratio[0]), -(-width // prior.coarser.ratio[1]))
        coarser = torch.randint(config.codebook_size**config.conditioning_grids, size, generator=draws)
    codes = torch.randint(config.codebook_size, (count, height, width), generator=draws).numpy()
    return labels, coarser, codes


def rings(steps):
    return [ring.features for ring in (steps._codes, *steps._features)]


SIZES = [(1, 1, 1), (7, 5, 2), (4, 1, 3), (60, 9, 1), (20, 40, 5)]
"""Height and width of the grids, and their number."""


@pytest.mark.parametrize(("changes", "size"), combinations(MODELS, SIZES, every=2), ids=str)
@torch.no_grad()
def test_steps_have_the_bits_of_those_in_torch(monkeypatch, changes, size):
    height, width, count = size
    prior = make_prior(**changes)
    labels, coarser, codes = arguments(prior, height, width, count)
    compiled = CompiledSteps(prior, height, width, labels, coarser)
    expected = FixedSteps(prior, height, width, labels, coarser)
    with monkeypatch.context() as patched:
        patched.setattr(c_fixed, "can_compute", lambda features: False)
        for time in expected.times:
            assert np.array_equal(compiled.frequencies(time), expected.frequencies(time))
            here = codes[:, *expected.places(time)].T
            compiled.append(time, here)
            expected.append(time, here)
            assert all(torch.equal(one, other) for one, other in zip(rings(compiled), rings(expected), strict=True))


def test_steps_are_compiled_where_functions_are(monkeypatch):
    prior = make_prior()
    assert steps_of(prior) is CompiledSteps
    monkeypatch.setattr(c_fixed, "library", lambda: None)
    assert steps_of(prior) is FixedSteps


@pytest.mark.parametrize("code", [-1, 10**6])
def test_codes_that_are_none_are_refused(code):
    prior = make_prior()
    labels, _, _ = arguments(prior, 3, 3, 1)
    steps = CompiledSteps(prior, 3, 3, labels, None)
    with pytest.raises(IndexError, match=f"found {code} to {code}"):
        steps.append(0, np.full((1, 1), code))
