import io

import numpy as np
import pytest
from picture_files import tiff
from PIL import Image

from vqgen.data.pictures.tiff_tags import Layout, read_layout
from vqgen.errors import DataError


def layout(samples=1, bits=8, **fields):
    pixels = np.zeros((2, 3, samples), f"u{max(1, bits // 8)}")
    found = read_layout(io.BytesIO(tiff(pixels, bits, **fields)))
    assert isinstance(found, Layout)
    return found


def test_layout_has_what_the_tags_say():
    found = layout(3, 16, photometric=2, compression=8, predictor=2, tile=(16, 32), is_planar=True)
    assert (found.width, found.height, found.bits, found.samples) == (3, 2, 16, 3)
    assert (found.compression, found.predictor, found.block, found.is_tiled, found.is_planar) == (
        8,
        2,
        (16, 32),
        True,
        True,
    )
    assert len(found.offsets) == 3


@pytest.mark.parametrize(
    ("photometric", "samples", "extras", "index", "is_associated"),
    [
        (1, 1, (), None, False),
        (1, 2, (0,), None, False),
        (1, 2, (1,), 1, True),
        (2, 4, (2,), 3, False),
        (2, 4, (), 3, False),
        (2, 4, (999,), 3, False),
        (2, 6, (0, 0, 1), 5, True),
        (5, 5, (), None, False),
        (5, 5, (2,), 4, False),
    ],
)
def test_opacity_is_the_first_sample_of_its_kind(photometric, samples, extras, index, is_associated):
    found = layout(samples, photometric=photometric, extras=extras)
    assert (found.alpha_index, found.is_associated) == (index, is_associated)


def test_plain_samples_are_those_that_pillow_reads_as_they_are():
    assert layout(3, photometric=2).is_plain
    assert not layout(bits=16).is_plain
    assert not layout(sample_format=2).is_plain
    assert not layout(2, extras=(1,)).is_plain


@pytest.mark.parametrize(("photometric", "name"), [(4, "a mask"), (8, "CIELab"), (32803, "camera raw"), (77, "77")])
def test_interpretation_that_is_left_to_pillow_is_named(photometric, name):
    found = read_layout(io.BytesIO(tiff(np.zeros((2, 3, 3), np.uint8), 8, photometric=photometric)))
    assert isinstance(found, str)
    assert name in found


def test_picture_that_fills_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("vqgen.data.pictures.tiff_tags.MOST_BYTES", 5)
    with pytest.raises(DataError, match="at most 5 bytes, found 6"):
        layout()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(DataError, match="decompression bomb"):
        layout()


def test_missing_size_is_named():
    data = tiff(np.zeros((2, 3, 1), np.uint8), 8)
    with pytest.raises(DataError, match="a TIFF should have tag 256, found none"):
        read_layout(io.BytesIO(data.replace(b"\0\1\3\0\1", b"\0\2\3\0\1", 1)))
