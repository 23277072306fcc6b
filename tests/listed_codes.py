"""A model of 3 ^ 6 codes, so small that every one of its images can be listed."""

import itertools
import math

import torch
from tiny_models import make_pixelcnn
from torch import nn

from vqgen.codes import Codes
from vqgen.editing import EditRequest, edit_codes, joint_log_likelihood
from vqgen.sampling import CachedSampler, LevelParams

GIVEN = torch.tensor([0, 2, 1, 0, 2, 1])
"""A row of all codes of an image: two of the top, four of the bottom."""

TOP = {"level": "top", "height": 1, "width": 2, "codebook_size": 3, "layers": 1, "attention_every": 1}
BOTTOM = TOP | {"level": "bottom", "height": 2, "coarser_height": 1, "coarser_width": 2, "conditioning_layers": 0}


def far_from_uniform(model, seed):
    """Redraws the last layer, so that codes depend strongly on each other."""
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(model.output[-1].weight, std=0.7, generator=generator)
    for name in ("embedding", "coarser_embedding", "label_embedding"):
        if hasattr(model, name):
            nn.init.normal_(getattr(model, name).weight, std=2.0, generator=generator)
    return model


def listed_priors():
    """Builds two levels of 1 x 2 and 2 x 2 codes, 3 entries, in float64."""
    return [far_from_uniform(make_pixelcnn(**settings), seed) for seed, settings in enumerate((TOP, BOTTOM))]


def grids_of(priors, flat):
    """Turns rows of all codes of an image, coarse to fine, into codes."""
    sizes = [prior.order.num_positions for prior in priors]
    parts = flat.split(sizes, dim=1)
    return Codes(
        {
            prior.config.level: part.unflatten(1, (prior.config.height, prior.config.width)).contiguous()
            for prior, part in zip(priors, parts, strict=True)
        }
    )


def rows_of(codes):
    """Turns codes into rows of all codes of an image, coarse to fine."""
    return torch.cat([grid.flatten(1) for grid in codes.grids.values()], dim=1)


@torch.no_grad()
def conditional(priors, given, hole, label):
    """Computes p(codes of the hole | all others, label) by listing all of them.

    Args:
        priors: The priors.
        given: One row of all codes.
        hole: Places in the row.
        label: The label.

    Returns:
        The probability of each combination of codes, the last place fastest.
    """
    size = priors[0].config.codebook_size
    every = torch.tensor(list(itertools.product(range(size), repeat=len(hole))))
    rows = given.repeat(len(every), 1)
    rows[:, hole] = every
    labels = torch.full((len(every),), label, dtype=torch.int64)
    return joint_log_likelihood(priors, grids_of(priors, rows), labels).softmax(0)


def frequencies(rows, hole, size=3):
    """Counts the combinations of codes in the hole, in the order of `conditional`."""
    index = torch.zeros(len(rows), dtype=torch.int64)
    for place in hole:
        index = index * size + rows[:, place]
    return torch.bincount(index, minlength=size ** len(hole))


def chi_square_ratio(observed, probabilities):
    """Returns chi-square, divided by a bound that draws from `probabilities` exceed once in 10 ^ 7.

    Cells below 5 are joined. Chi-square with f degrees of freedom exceeds f + 2 sqrt(f x) + 2 x with probability below
    exp(-x) (Laurent and Massart 2000); x = 16 makes that 10 ^ -7, over all seeds.
    """
    expected = probabilities * observed.sum()
    large = expected >= 5
    expected = torch.cat([expected[large], expected[~large].sum()[None].clamp(min=1e-9)])
    seen = torch.cat([observed[large], observed[~large].sum()[None]])
    freedom = len(expected) - 1
    bound = freedom + 2 * math.sqrt(freedom * 16) + 2 * 16
    return float(((seen - expected).square() / expected).sum() / bound)


def edited(priors, hole, label, images=1000, **settings):
    """Edits `GIVEN` many times over, and returns the rows of codes.

    Args:
        priors: The priors.
        hole: Places in the row that are drawn anew.
        label: The label.
        images: Number of edits.
        settings: Fields of the request.
    """
    marked = torch.zeros(images, len(GIVEN), dtype=torch.int64)
    marked[:, hole] = 1
    redrawn = {level: grid.bool() for level, grid in grids_of(priors, marked).grids.items()}
    codes = grids_of(priors, GIVEN.repeat(images, 1))
    labels = torch.full((images,), label, dtype=torch.int64)
    request = EditRequest(**({"batch_size": images} | settings))
    params = [LevelParams()] * len(priors)
    found = edit_codes(priors, codes, redrawn, labels, request, params=params, sampler=CachedSampler())
    return rows_of(found.codes)
