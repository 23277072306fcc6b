"""FORMAT.md is enough to read the files: a reader written from it alone finds the same images."""

from dataclasses import replace

import numpy as np
import pytest
from codec_models import random_codes, write_archive
from format_reader import Found, read_archive, read_beginning, read_image

from vqgen.codec import Codec, ImageCodes, read_header
from vqgen.errors import BitstreamError

SIZES = [(8, 8), (8, 8), (1, 1), (9, 3), (37, 20)]


def images_of(codec: Codec, rgb: bool) -> list[ImageCodes]:
    images = []
    for number, size in enumerate(SIZES * 2):
        codes = random_codes(codec, *size, seed=number, label=[None, 0, 2][number % 3])
        plane = np.random.default_rng(number).bytes(size[0] * size[1]) if number % 2 else None
        images.append(replace(codes, shape=replace(codes.shape, rgb=rgb, has_alpha=plane is not None), alpha=plane))
    return images


def as_found(codes: ImageCodes, name: str | None = None) -> Found:
    shape = codes.shape
    grids = [grid.ravel().tolist() for grid in codes.grids.values()]
    return Found(shape.width, shape.height, shape.rgb, shape.label, grids, codes.alpha, name)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", ["packed", "static"])
def test_reader_written_from_the_description_finds_the_same(make_codec, num_levels, coder):
    codec = make_codec(num_levels, image_channels=3)
    tables = [codec.models.frequencies(level).tolist() for level in codec.models.levels]
    images = images_of(codec, rgb=num_levels > 1)
    files = codec.pack(images, codec.models.offered(coder))
    assert [read_image(data, 16, tables) for data in files] == [as_found(each) for each in images]
    names = [f"ä/{number}.png" for number in range(len(images))]
    archive = write_archive(codec, images, names, coder=coder)
    found = read_archive(archive, 16, tables, codec.parts.vqvae.config.downsample, 3)
    assert found == [as_found(each, name) for each, name in zip(images, names, strict=True)]


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", ["packed", "static"])
def test_reader_written_from_the_description_finds_the_same_levels_in_the_beginning_of_a_file(
    make_codec, num_levels, coder
):
    codec = make_codec(num_levels)
    tables = [codec.models.frequencies(level).tolist() for level in codec.models.levels]
    data = codec.pack([images_of(codec, rgb=False)[3]], codec.models.offered(coder))[0]
    for size in range(read_header(data)[1], len(data)):
        (found,) = codec.unpack([data[:size]], allow_partial=True)
        grids = [] if isinstance(found, BitstreamError) else [grid.ravel().tolist() for grid in found.grids.values()]
        assert read_beginning(data[:size], 16, tables) == grids
