"""Sweeps converge to the distribution of the hole given everything else, on a model whose images can be listed."""

import pytest
import torch
from listed_codes import GIVEN, chi_square_ratio, conditional, edited, frequencies, listed_priors

from vqgen.editing import SweepNoise

HOLES = {"across levels": [0, 2, 4], "in one level": [2, 3]}
"""Places in a row of all codes. Later codes are known in each."""


@pytest.fixture(scope="module")
def tiny_priors():
    return listed_priors()


@pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)
@pytest.mark.parametrize(("rescored", "sweeps"), [(2, 10), (3, 4)])
def test_many_sweeps_draw_from_the_distribution_given_all_other_codes(tiny_priors, hole, rescored, sweeps):
    rows = edited(tiny_priors, hole, 1, sweeps=sweeps, rescored=rescored)
    expected = conditional(tiny_priors, GIVEN, hole, 1)
    assert chi_square_ratio(frequencies(rows, hole), expected) < 1
    # The label counts: another one has another distribution.
    assert chi_square_ratio(frequencies(rows, hole), conditional(tiny_priors, GIVEN, hole, 2)) > 1


@pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)
def test_one_pass_does_not_know_the_codes_that_come_later(tiny_priors, hole):
    rows = edited(tiny_priors, hole, 1)
    assert chi_square_ratio(frequencies(rows, hole), conditional(tiny_priors, GIVEN, hole, 1)) > 2


def test_one_step_with_every_entry_as_a_candidate_is_an_exact_draw(tiny_priors):
    rows = edited(tiny_priors, [2], 0, sweeps=1, rescored=3)
    assert chi_square_ratio(frequencies(rows, [2]), conditional(tiny_priors, GIVEN, [2], 0)) < 1
    few = edited(tiny_priors, [2], 0, sweeps=1, rescored=2)
    assert chi_square_ratio(frequencies(few, [2]), conditional(tiny_priors, GIVEN, [2], 0)) > 1


def test_draws_of_an_image_do_not_depend_on_the_others():
    together = SweepNoise(3, range(5)).gumbel(torch.arange(5), 7)
    alone = SweepNoise(3, [4])
    assert torch.equal(alone.gumbel(torch.tensor([0]), 7)[0], together[4])
    # Another image draws in between, and image 4 goes on where it was.
    both = SweepNoise(3, [2, 4])
    first = both.gumbel(torch.tensor([1]), 3)
    both.gumbel(torch.tensor([0]), 3)
    second = both.gumbel(torch.tensor([0, 1]), 4)[1:]
    assert torch.equal(torch.cat([first, second], dim=1)[0], together[4])
