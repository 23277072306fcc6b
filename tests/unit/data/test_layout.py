import numpy as np
import pytest
import torch
from torchvision.utils import make_grid

from vqgen.data.layout import enlarged, image_grid


def batch(b, side=48, channels=1):
    """Pictures of one value each, 10, 20, ..."""
    return (10 * torch.arange(1, b + 1, dtype=torch.uint8)).view(b, 1, 1, 1).expand(b, channels, side, side)


def cells(grid, side, rows, columns):
    """The value in the middle of each place of a grid; the margin is 255."""
    array = np.asarray(grid)
    margin = max(2, side // 16)
    assert array.shape[:2] == (rows * (side + margin) + margin, columns * (side + margin) + margin)
    assert (array[:margin] == 255).all()
    assert (array[:, :margin] == 255).all()
    starts = [margin + i * (side + margin) for i in range(max(rows, columns))]
    for start in starts[: columns - 1]:
        assert (array[:, start + side : start + side + margin] == 255).all()
    return [[int(array[r + side // 2, c + side // 2].flat[0]) for c in starts[:columns]] for r in starts[:rows]]


def test_pictures_lie_in_rows_with_a_white_margin():
    assert cells(image_grid(batch(6), columns=3), 48, 2, 3) == [[10, 20, 30], [40, 50, 60]]
    assert cells(image_grid(batch(5), columns=3), 48, 2, 3) == [[10, 20, 30], [40, 50, 255]]


@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_grid_equals_torchvision(columns):
    noise = torch.randint(256, (5, 3, 64, 50), dtype=torch.uint8)
    expected = make_grid(noise, nrow=columns, padding=3, pad_value=255).permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(image_grid(noise, columns=columns)), expected)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_grey_pictures_stay_grey(channels, mode):
    assert image_grid(batch(2, channels=channels), columns=2).mode == mode


@pytest.mark.parametrize(("side", "shown"), [(8, 48), (28, 56), (47, 94), (48, 48), (200, 200)])
def test_small_pictures_are_enlarged_by_a_whole_factor(side, shown):
    assert cells(image_grid(batch(2, side=side), columns=1), shown, 2, 1) == [[10], [20]]
    noise = torch.randint(256, (2, 1, side, side), dtype=torch.uint8)
    array = np.asarray(image_grid(noise, columns=1))
    margin = max(2, shown // 16)
    inner = array[margin : margin + shown, margin : margin + shown]
    assert (inner[:: shown // side, :: shown // side] == noise[0, 0].numpy()).all()


@pytest.mark.parametrize(("side", "factor"), [(3, 16), (47, 2), (48, 1), (100, 1)])
def test_enlarged_pictures_repeat_their_pixels(side, factor):
    noise = torch.randint(256, (2, 3, 5, side), dtype=torch.uint8)
    large = enlarged(noise)
    assert large.shape == (2, 3, 5 * factor, side * factor)
    for down in range(factor):
        assert (large[..., down::factor, factor - 1 :: factor] == noise).all()
