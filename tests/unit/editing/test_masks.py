"""Masks: any pixel of a cell marks its code, and a mask is read as its picture is."""

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.editing import check_redrawn, read_masks, redrawn_codes
from vqgen.errors import DataError

LEVELS = {"top": 4, "bottom": 2}


def painted(height, width, *pixels):
    mask = np.zeros((height, width), bool)
    for row, column in pixels:
        mask[row, column] = True
    return mask


def test_code_is_redrawn_if_any_pixel_of_its_cell_is():
    mask = read_masks(painted(8, 8, (0, 7), (5, 1)), [(8, 8)], 8)
    found = redrawn_codes(mask, LEVELS)
    assert found["top"].nonzero().tolist() == [[0, 0, 1], [0, 1, 0]]
    assert found["bottom"].nonzero().tolist() == [[0, 0, 3], [0, 2, 0]]


def test_all_kinds_of_masks_are_one():
    mask = painted(8, 8, (3, 4), (3, 5))
    white = (mask * 255).astype(np.uint8)
    alpha = Image.merge("LA", [Image.new("L", (8, 8), 255), Image.fromarray(white)])
    kinds = [
        mask, white, torch.from_numpy(mask), torch.from_numpy(white), Image.fromarray(white), Image.fromarray(mask),
        Image.fromarray(white).convert("RGB"), alpha, [mask], torch.from_numpy(mask)[None], [Image.fromarray(white)],
    ]  # fmt: skip
    for kind in kinds:
        assert torch.equal(read_masks(kind, [(8, 8)], 8), torch.from_numpy(mask)[None])


def test_thin_line_survives_the_scaling_and_the_crop_is_that_of_the_picture():
    # The picture is 64 wide and 32 high: the model sees columns 16 to 47, four pixels in one.
    mask = read_masks(painted(32, 64, (5, 21), (0, 15), (31, 47)), [(64, 32)], 8)
    assert mask.nonzero().tolist() == [[0, 1, 1], [0, 7, 7]]
    small = read_masks(painted(4, 4, (1, 2)), [(4, 4)], 8)
    assert small.nonzero().tolist() == [[0, 2, 4], [0, 2, 5], [0, 3, 4], [0, 3, 5]]


def test_each_picture_may_have_a_mask_of_its_own():
    masks = [painted(8, 8, (0, 0)), painted(4, 4, (3, 3))]
    found = read_masks(masks, [(8, 8), (4, 4)], 8)
    assert found[0].nonzero().tolist() == [[0, 0]]
    assert found[1].nonzero().tolist() == [[6, 6], [6, 7], [7, 6], [7, 7]]
    one = read_masks(masks[0], [(8, 8), (8, 8)], 8)
    assert torch.equal(one[0], one[1])


def test_mask_of_another_size_is_refused():
    with pytest.raises(DataError, match="mask: should have the size of its picture, 9 x 8, found 8 x 9"):
        read_masks(painted(9, 8, (0, 0)), [(9, 8)], 8)
    with pytest.raises(DataError, match="should have the size of its picture, 4 x 4, picture 1, found 8 x 8"):
        read_masks(painted(8, 8, (0, 0)), [(8, 8), (4, 4)], 8)
    with pytest.raises(DataError, match="mask: should be one for all of 3 pictures or one for each, found 2"):
        read_masks([painted(8, 8, (0, 0))] * 2, [(8, 8)] * 3, 8)


@pytest.mark.parametrize(
    "value", ["mask.png", None, np.zeros((8, 8)), np.zeros((2, 8, 8, 3), np.uint8), torch.zeros(8, 8), [[0, 1]], 3]
)
def test_value_that_is_no_mask_is_refused(value):
    with pytest.raises(DataError, match=r"mask: should be a mask \(a picture"):
        read_masks(value, [(8, 8)], 8)
    with pytest.raises(DataError, match="mask: should be at least one, found none"):
        read_masks([], [(8, 8)], 8)


def test_empty_mask_and_mask_of_everything_are_refused():
    empty = redrawn_codes(torch.zeros(1, 8, 8, dtype=torch.bool), LEVELS)
    with pytest.raises(DataError, match=r"mask: should mark what is drawn anew \(white\), found nothing"):
        check_redrawn(empty)
    full = redrawn_codes(torch.ones(1, 8, 8, dtype=torch.bool), LEVELS)
    with pytest.raises(DataError, match=r"mask: should leave some codes as they are.*`vqgen generate`"):
        check_redrawn(full)
    both = {level: torch.cat([empty[level], grid]) for level, grid in full.items()}
    some = redrawn_codes(torch.tensor(painted(8, 8, (0, 0)))[None], LEVELS)
    with pytest.raises(DataError, match=r"found all of them marked \(image 1\)"):
        check_redrawn({level: torch.cat([some[level], grid[1:]]) for level, grid in both.items()})
    check_redrawn(some)
