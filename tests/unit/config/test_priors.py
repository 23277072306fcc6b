import pytest
from pydantic import ValidationError

from vqgen.config import PixelCNNConfig, PriorSettings


@pytest.mark.parametrize("level", ["low", "bottom-1", "bottom-2-3", "top-", "2"])
def test_prior_of_an_unknown_grid_is_refused(level):
    with pytest.raises(ValidationError, match="level"):
        PixelCNNConfig(level=level, height=4, width=4, codebook_size=8, num_classes=0)


@pytest.mark.parametrize("slope", [0, -2, "zigzag", 1.5])
def test_wrong_slope_is_refused_by_one_error(slope):
    with pytest.raises(ValidationError, match='should be at least 1 or "raster"') as caught:
        PriorSettings(slope=slope)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("kernel_size", [1, 4])
def test_kernel_is_odd_and_wider_than_one_code(kernel_size):
    with pytest.raises(ValidationError, match=f"should be odd and at least 3, found {kernel_size}"):
        PriorSettings(kernel_size=kernel_size)


def test_kernel_of_absurd_width_is_refused():
    with pytest.raises(ValidationError, match="should be at most 256, found 100001"):
        PriorSettings(kernel_size=100_001)


def test_attention_on_a_grid_of_absurd_size_is_refused():
    settings = {"level": "bottom", "codebook_size": 8, "num_classes": 0}
    PixelCNNConfig(**settings, height=128, width=128, attention_every=2)
    PixelCNNConfig(**settings, height=256, width=256)
    with pytest.raises(ValidationError, match="attention_every: should be 0 on a grid of more than 32,768 codes"):
        PixelCNNConfig(**settings, height=256, width=256, attention_every=2)


def test_prior_is_conditioned_if_it_has_a_coarser_grid():
    settings = {"level": "bottom", "height": 4, "width": 4, "codebook_size": 8, "num_classes": 0}
    assert not PixelCNNConfig(**settings).is_conditioned
    assert PixelCNNConfig(**settings, coarser_height=2, coarser_width=2).is_conditioned
