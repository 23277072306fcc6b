import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from picture_files import tiff
from PIL import Image

from vqgen.data.pictures.samples import Samples
from vqgen.data.pictures.tiff import decode_tiff, loaded_samples
from vqgen.errors import DataError

RNG = np.random.default_rng(0)


def decoded(values, bits, **fields):
    return decode_tiff(io.BytesIO(tiff(values, bits, **fields)))


def samples(values, bits, **fields):
    found = decoded(values, bits, **fields).pixels
    assert isinstance(found, Samples)
    return found


@pytest.mark.parametrize("bits", [1, 4, 10, 12, 14, 16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_range_is_that_of_the_bits(bits, photometric):
    values = RNG.integers(0, 1 << bits, (3, 4, 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    found = samples(values, bits, photometric=photometric)
    assert (found.kind, found.own_range, found.is_inverted) == (f"{bits}-bit", (0, (1 << bits) - 1), photometric == 0)
    assert (found.values == values).all()


@pytest.mark.parametrize(
    ("code", "kind"), [("i1", "int8"), ("i2", "int16"), ("u4", "32-bit"), ("f2", "float16"), ("f8", "float64")]
)
def test_samples_without_a_range_are_named(code, kind):
    values = np.ones((2, 2, 1), code)
    found = samples(values, 8 * values.dtype.itemsize, sample_format={"i": 2, "u": 1, "f": 3}[code[0]])
    assert (found.kind, found.own_range) == (kind, None)


@pytest.mark.parametrize(("code", "high"), [("u1", 255), ("u2", 65535), ("i2", 32767), ("f4", 1)])
def test_opacity_has_a_range_in_every_format(code, high):
    values = np.ones((2, 2, 2), code)
    found = samples(values, 8 * values.dtype.itemsize, sample_format={"i": 2, "u": 1, "f": 3}[code[0]], extras=(1,))
    assert (found.alpha_high, found.is_associated) == (high, True)


def test_palette_has_colours_of_16_bits():
    colours = RNG.integers(0, 65536, (3, 16))
    indices = RNG.integers(0, 16, (3, 4, 1)).astype(np.uint8)
    found = samples(indices, 4, photometric=3, more=((320, 3, colours.reshape(-1).tolist()),))
    assert (found.values == colours.T[indices[..., 0]]).all()
    with pytest.raises(DataError, match="a palette should have 3 x 16 colours"):
        decoded(indices, 4, photometric=3)


@pytest.mark.parametrize("bits", [8, 16])
def test_inks_are_a_picture_of_inks(bits):
    values = RNG.integers(0, 1 << bits, (2, 3, 5)).astype(f"u{bits // 8}")
    found = decoded(values, bits, photometric=5, extras=(0,)).pixels
    assert isinstance(found, Image.Image)
    assert found.mode == "CMYK"
    expected = values[..., :4].astype(float) * 255 / ((1 << bits) - 1)
    assert np.abs(np.asarray(found) - expected).max() <= 0.5
    with pytest.raises(DataError, match="amounts of ink should be unsigned numbers"):
        decoded(values.astype(np.float32), 32, photometric=5, extras=(0,), sample_format=3)


def test_profile_and_orientation_are_handed_over():
    found = decoded(np.zeros((2, 3, 1), np.uint16), 16, more=((34675, 7, b"profile"), (274, 3, [6])))
    assert (found.profile, found.orientation) == (b"profile", 6)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "RGB"])
@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_lzw"])
def test_other_interpretations_are_those_of_pillow(mode, compression):
    if mode == "LAB" and compression == "jpeg":
        pytest.skip("JPEG has no such colours")
    file = io.BytesIO()
    Image.new(mode, (16, 16), (120, 130, 110)).save(file, "TIFF", compression=compression)
    found = decode_tiff(file).pixels
    size = found.size if isinstance(found, Image.Image) else found.values.shape[1::-1]
    assert size == (16, 16)


def test_facsimile_is_read():
    values = RNG.integers(0, 2, (9, 13)).astype(bool)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", compression="group4")
    assert (np.asarray(decode_tiff(file).pixels) == values).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"photometric": 32803}, "a TIFF of camera raw with 16 bits in 1 samples is not read; convert it"),
        ({"photometric": 9}, "a TIFF of ICCLab"),
    ],
)
def test_kinds_that_are_not_read_are_named(fields, message):
    with pytest.raises(DataError, match=message):
        decoded(np.zeros((2, 3, 1), np.uint16), 16, **fields)


def rare():
    data = tiff(np.zeros((2, 3, 1), np.uint16), 16)
    # The tag of the compression, a number of 16 bits.
    return io.BytesIO(data.replace(b"\x03\x01\x03\0\1\0\0\0\1\0", b"\x03\x01\x03\0\1\0\0\0\x98\x87"))


def test_rare_compression_is_read_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(DataError, match=r"16-bit samples in compression 34712 is not read here; .*vqgen\[tiff\]"):
        decode_tiff(rare())

    class Opened:
        def __init__(self, file):
            self.pages = [SimpleNamespace(asarray=lambda: np.full((2, 3), 7, np.uint16))]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setitem(sys.modules, "tifffile", SimpleNamespace(TiffFile=Opened))
    monkeypatch.setitem(sys.modules, "imagecodecs", SimpleNamespace())
    found = decode_tiff(rare()).pixels
    assert isinstance(found, Samples)
    assert (found.values == 7).all()
    monkeypatch.setattr(Opened, "__enter__", lambda self: 1 / 0)
    with pytest.raises(DataError, match="cannot be read: division by zero"):
        decode_tiff(rare())


def test_loaded_picture_remembers_its_bits():
    with Image.open(io.BytesIO(tiff(np.zeros((2, 2, 1), np.uint16), 12))) as image:
        assert loaded_samples(image) == (12, False)
    with Image.open(io.BytesIO(tiff(np.zeros((2, 2, 1), np.uint16), 16, photometric=0))) as image:
        assert loaded_samples(image) == (16, True)
    assert loaded_samples(Image.new("I;16", (1, 1))) == (16, False)
