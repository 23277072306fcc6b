import io

import numpy as np
import pytest
from picture_files import chunk, png, tiff
from PIL import Image

from vqgen.data.pictures.loaded import taken_apart
from vqgen.data.pictures.samples import Samples


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1"])
def test_pictures_of_8_bits_stay_themselves(mode):
    image = Image.new(mode, (2, 1))
    assert taken_apart(image).pixels is image


@pytest.mark.parametrize(("code", "mode"), [("<u2", "I;16"), (">u2", "I;16B")])
def test_sixteen_bits_come_in_either_byte_order(code, mode):
    values = np.array([[257, 65535]], code)
    found = taken_apart(Image.frombytes(mode, (2, 1), values.tobytes())).pixels
    assert isinstance(found, Samples)
    assert found.values[..., 0].tolist() == [[257, 65535]]
    assert found.own_range == (0, 65535)


@pytest.mark.parametrize(("code", "kind"), [(np.int32, "int32"), (np.float32, "float32")])
def test_modes_without_a_range_have_none(code, kind):
    found = taken_apart(Image.fromarray(np.array([[1, 2]], code))).pixels
    assert isinstance(found, Samples)
    assert (found.kind, found.own_range) == (kind, None)


def test_picture_of_a_loaded_file_keeps_the_meaning_of_its_tags():
    found = taken_apart(opened(tiff(np.full((2, 2, 1), 4095, np.uint16), 12))).pixels
    assert isinstance(found, Samples)
    assert found.own_range == (0, 4095)
    inverted = taken_apart(opened(tiff(np.zeros((2, 2, 1), np.uint16), 16, photometric=0))).pixels
    assert isinstance(inverted, Samples)
    assert inverted.is_inverted


def test_key_of_16_bits_is_transparent():
    values = np.array([[[7], [8]]], np.uint16)
    found = taken_apart(opened(png(values, 16, 0, before=chunk(b"tRNS", b"\0\7")))).pixels
    assert isinstance(found, Samples)
    assert found.alpha is not None
    assert (found.alpha > 0).tolist() == [[False, True]]


def test_pictures_of_files_are_known():
    assert taken_apart(opened(png(np.zeros((1, 1, 1), np.uint8), 8, 0))).is_of_file
    assert not taken_apart(Image.new("L", (1, 1))).is_of_file
