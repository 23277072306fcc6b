import pytest
from pydantic import ValidationError

from vqgen.config import PixelCNNConfig, PriorSettings
from vqgen.config.priors import most_conditioning_grids


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


@pytest.mark.parametrize(("codebook_size", "most"), [(2, 63), (16, 15), (512, 7), (1024, 6), (2**16, 3)])
def test_codes_of_a_place_fit_into_one_number(codebook_size, most):
    assert most_conditioning_grids(codebook_size) == most
    assert codebook_size**most <= 2**63 < codebook_size ** (most + 1)


def test_more_conditioning_grids_than_fit_are_refused():
    settings = {"level": "bottom-8", "height": 4, "width": 4, "coarser_height": 4, "coarser_width": 4, "num_classes": 0}
    assert PixelCNNConfig(**settings, codebook_size=1024, conditioning_grids=6).conditioning_grids == 6
    match = "conditioning_grids: should be at most 6 with a codebook of 1024 entries, found 7"
    with pytest.raises(ValidationError, match=match):
        PixelCNNConfig(**settings, codebook_size=1024, conditioning_grids=7)


def test_prior_of_one_conditioning_grid_is_stored_as_before_there_could_be_more():
    settings = {"level": "bottom", "height": 4, "width": 4, "codebook_size": 8, "num_classes": 0}
    assert not PixelCNNConfig(**settings).stored().keys() & {"conditioning_grids", "conditioning_norm"}
    assert PixelCNNConfig(**settings, conditioning_grids=2).stored()["conditioning_grids"] == 2
