"""The codes that one pass can keep depend on no redrawn code, and given them one pass is exact."""

import pytest
import torch
from combinations import combinations
from listed_codes import GIVEN, chi_square_ratio, conditional, edited, frequencies, listed_priors
from tiny_models import draw_codes, make_pixelcnn

from vqgen.codes import conditioning_codes
from vqgen.editing import is_exact_in_one_pass, rows_below, with_dependent_codes


def two_levels(slope, conditioning_layers, side=4):
    top = make_pixelcnn(level="top", height=side, width=side, slope=slope, attention_every=2)
    grid = {"height": 8, "width": 8, "coarser_height": side, "coarser_width": side}
    bottom = make_pixelcnn(slope=slope, attention_every=2, conditioning_layers=conditioning_layers, **grid)
    return [top, bottom]


def deep_level(slope, conditioning_layers):
    """Three grids of one size; the last one is conditioned on both others."""
    top, second = two_levels(slope, conditioning_layers, side=8)
    grid = {"height": 8, "width": 8, "coarser_height": 8, "coarser_width": 8, "conditioning_grids": 2}
    third = make_pixelcnn(level="bottom-2", slope=slope, conditioning_layers=conditioning_layers, **grid)
    return [top, second, third]


def log_probabilities(priors, codes):
    labels = torch.tensor([1])
    grids = {prior.config.level: grid for prior, grid in zip(priors, codes, strict=True)}
    with torch.no_grad():
        return [
            prior(grid, labels, prior.encode_condition(conditioning_codes(prior.config, grids))).log_softmax(1)
            for prior, grid in zip(priors, codes, strict=True)
        ]


@pytest.mark.parametrize(
    ("slope", "layers", "rows", "side"),
    combinations([1, 2, "raster"], [0, 1], [0.25, 0.5, 0.75], [4, 8, "deep"], every=3),
)
def test_kept_codes_depend_on_no_redrawn_code_and_every_other_code_does(slope, layers, rows, side):
    priors = deep_level(slope, layers) if side == "deep" else two_levels(slope, layers, side)
    marked = rows_below(rows, priors)
    closed = with_dependent_codes(priors, marked)
    before = [draw_codes(prior, 1) for prior in priors]
    reached = [torch.zeros_like(grid) for grid in closed.values()]
    for seed in range(1, 9):
        # The redrawn codes alone change, as in an edit.
        after = [
            torch.where(grid, draw_codes(prior, 1, seed), codes)
            for prior, grid, codes in zip(priors, closed.values(), before, strict=True)
        ]
        for place, (one, other) in enumerate(
            zip(log_probabilities(priors, before), log_probabilities(priors, after), strict=True)
        ):
            kept = ~list(closed.values())[place]
            change = (one - other).abs().amax(dim=1)
            assert not change[kept].any()
            reached[place] |= change > 1e-12
    # Nothing is given up without need: each code that was added depends on what is redrawn.
    for place, level in enumerate(closed):
        assert reached[place][closed[level] & ~marked[level]].all()


@pytest.mark.parametrize(("slope", "kept"), [("raster", 8), (2, 7)])
def test_edge_is_straight_in_raster_order_and_slanted_in_a_wavefront(slope, kept):
    priors = two_levels(slope, 0)
    assert int((~with_dependent_codes(priors, rows_below(0.5, priors))["top"]).sum()) == kept


def test_deep_conditioning_gives_up_the_finer_level():
    priors = two_levels(2, 2)
    assert with_dependent_codes(priors, rows_below(0.5, priors))["bottom"].all()


def test_one_pass_is_exact_where_nothing_known_comes_later():
    tiny_priors = listed_priors()
    closed = with_dependent_codes(tiny_priors, {
        "top": torch.tensor([[[False, True]]]), "bottom": torch.zeros(1, 2, 2, dtype=torch.bool)
    })  # fmt: skip
    assert torch.equal(closed["bottom"], torch.tensor([[[False, True], [True, True]]]))
    hole = [1, 3, 4, 5]
    rows = edited(tiny_priors, hole, 1)
    assert chi_square_ratio(frequencies(rows, hole), conditional(tiny_priors, GIVEN, hole, 1)) < 1


def test_exactness_is_told_for_each_image():
    priors = two_levels(2, 0)
    top = torch.zeros(3, 4, 4, dtype=torch.bool)
    bottom = torch.zeros(3, 8, 8, dtype=torch.bool)
    bottom[0] = True  # a finer level, whole
    bottom[1, 7, 7] = True  # the last code
    bottom[2, 0, 0] = True  # the first one
    assert is_exact_in_one_pass(priors, {"top": top, "bottom": bottom}).tolist() == [True, True, False]


def test_rows_that_the_share_cuts_are_redrawn():
    priors = two_levels(2, 0)
    below = rows_below(0.4, priors)
    assert [int((~grid).any(dim=2).sum()) for grid in below.values()] == [1, 3]
    ten = make_pixelcnn(height=10)
    assert int((~rows_below(0.3, [ten])["bottom"]).any(dim=2).sum()) == 3
