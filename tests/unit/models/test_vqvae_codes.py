import pytest
import torch

from vqgen.codes import Codes
from vqgen.errors import DataError
from vqgen.models.vqvae import VQVAE
from vqgen.models.vqvae_codes import check_codes


def codes_of(dtype=torch.int64, fill=0, **shapes):
    """Codes of the VQ-VAE with downsampling (8, 4), of one image, with other grids where they are given."""
    shapes = {"top": (1, 2, 2), "bottom": (1, 4, 4)} | shapes
    return Codes({level: torch.full(shape, fill, dtype=dtype) for level, shape in shapes.items() if shape})


WRONG_LEVELS = [
    (codes_of(top=None), "codes: should have the levels top, bottom, found bottom"),
    (Codes(dict(reversed(codes_of().grids.items()))), "codes: should have the levels top, bottom, found bottom, top"),
    (codes_of(bottom=(1, 5, 5)), "codes: bottom should be 4 x 4, found 5 x 5"),
    (codes_of(top=(1, 3, 2)), "codes: bottom should be 6 x 4, found 4 x 4"),
]


@pytest.mark.parametrize(("codes", "message"), WRONG_LEVELS)
def test_codes_of_other_levels_or_grids_are_refused(tiny_vqvae_config, codes, message):
    model = VQVAE(tiny_vqvae_config(downsample=(8, 4)))
    with pytest.raises(ValueError, match=message + "$"):
        model.decode(codes)
    with pytest.raises(DataError, match=message + "$"):
        check_codes(codes, model.config)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (codes_of(top=(0, 2, 2), bottom=(0, 4, 4)), "codes: should belong to at least one image, found none"),
        (codes_of(dtype=torch.uint8), "codes: top should be int64, found uint8"),
        (codes_of(fill=16), r"codes: top should be in \[0, 16\), found 16 to 16"),
        (codes_of(fill=-1), r"codes: top should be in \[0, 16\), found -1 to -1"),
    ],
)
def test_codes_that_the_model_cannot_have_made_are_refused(tiny_vqvae_config, codes, message):
    with pytest.raises(DataError, match=message):
        check_codes(codes, tiny_vqvae_config(downsample=(8, 4)))


def test_codes_of_any_size_are_accepted(tiny_vqvae_config):
    check_codes(codes_of(), tiny_vqvae_config(downsample=(8, 4)))
    check_codes(codes_of(top=(3, 1, 5), bottom=(3, 2, 10)), tiny_vqvae_config(downsample=(8, 4)))
