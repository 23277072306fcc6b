import pytest
from pydantic import ValidationError

from vqgen.config import PixelCNNConfig, PriorSettings, VQVAESettings, level_names


def test_levels_are_named_coarse_to_fine():
    assert level_names(1) == ("bottom",)
    assert level_names(2) == ("top", "bottom")
    assert VQVAESettings(downsample=(8, 4, 2)).levels == ("top", "middle", "bottom")


@pytest.mark.parametrize(
    ("downsample", "text"),
    [
        ([], "should have 1 to 3 levels, found 0"),
        ([16, 8, 4, 2], "should have 1 to 3 levels, found 4"),
        ([6, 3], "should be powers of two from 2 up, found 6"),
        ([2, 1], "should be powers of two from 2 up, found 1"),
        ([4, 4], r"should fall from coarse to fine, found \[4, 4\]"),
    ],
)
def test_impossible_downsampling_is_refused(downsample, text):
    with pytest.raises(ValidationError, match=text):
        VQVAESettings(downsample=downsample)


@pytest.mark.parametrize("slope", [0, -2, "zigzag", 1.5])
def test_wrong_slope_is_refused_by_one_error(slope):
    with pytest.raises(ValidationError, match='should be at least 1 or "raster"') as caught:
        PriorSettings(slope=slope)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("kernel_size", [1, 4])
def test_kernel_is_odd_and_wider_than_one_code(kernel_size):
    with pytest.raises(ValidationError, match=f"should be odd and at least 3, found {kernel_size}"):
        PriorSettings(kernel_size=kernel_size)


def test_prior_is_conditioned_if_it_has_a_coarser_grid():
    settings = {"level": "bottom", "height": 4, "width": 4, "codebook_size": 8, "num_classes": 0}
    assert not PixelCNNConfig(**settings).is_conditioned
    assert PixelCNNConfig(**settings, coarser_height=2, coarser_width=2).is_conditioned
