import numpy as np
import pytest
import torch
from codec_models import random_codes
from PIL import Image

from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.level_coders import LevelCoders
from vqgen.codec.restoring import restore_pictures
from vqgen.codes import Codes
from vqgen.errors import ConfigError
from vqgen.models.levels_alone import filled_codes, with_levels_alone
from vqgen.models.margins import decoding_margin
from vqgen.models.windows import Windows


def only(codes: ImageCodes, *levels: str) -> ImageCodes:
    return ImageCodes(codes.shape, {level: codes.grids[level] for level in levels})


def naive(codec, codes: ImageCodes) -> Image.Image:
    """Decodes one image alone with a model of its own, and crops it."""
    config = codec.parts.vqvae.config
    grids = Codes({level: torch.from_numpy(grid)[None] for level, grid in codes.grids.items()})
    model = codec.parts.vqvae
    if codes.levels != config.levels:
        grids = filled_codes(grids, codes.levels, config)
        model = with_levels_alone(model, codes.levels, codec.parts.frequencies)
    pixels = ((model.decode(grids) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)[0, 0]
    return Image.fromarray(pixels.detach().numpy()[: codes.shape.height, : codes.shape.width])


def test_each_image_is_decoded_by_the_levels_that_it_has(make_codec):
    codec = make_codec(3)
    whole = [random_codes(codec, *size, seed=i) for i, size in enumerate([(8, 8), (8, 8), (20, 9), (20, 9), (8, 8)])]
    codes = [whole[0], only(whole[1], "top"), only(whole[2], "top"), only(whole[3], "top", "middle"), whole[4]]
    found = list(restore_pictures(LevelCoders(codec.parts, codec.compute), codes, 1 << 18))
    for picture, each in zip(found, codes, strict=True):
        assert picture.size == (each.shape.width, each.shape.height)
        assert np.asarray(picture).tolist() == np.asarray(naive(codec, each)).tolist()


@pytest.mark.parametrize("levels", [("top",), ("bottom",), ("top", "bottom")])
def test_large_picture_is_decoded_window_by_window(codec, levels):
    codes = only(random_codes(codec, 4 * 3 * decoding_margin(codec.parts.vqvae) + 3, 9), *levels)
    (expected,) = codec.decode([codes])
    coder = codec.image_coder_of(levels)
    coder.windows = Windows(coder.vqvae, working_set=1)
    assert not coder.fits(12, codes.shape.width)
    (found,) = codec.decode([codes])
    # A pixel may differ by a rounding: a window is another shape of the same sums.
    assert abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 1


def test_image_with_an_unknown_level_or_none_is_refused(codec):
    codes = random_codes(codec, 8, 8)
    for grids in ({}, {"middle": codes.grids["top"]}):
        with pytest.raises(ConfigError, match="levels: should be some of top, bottom"):
            codec.decode([ImageCodes(codes.shape, grids)])
