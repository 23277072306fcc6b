import io
import struct
import zlib

import numpy as np
import pytest
from picture_files import chunk, png
from PIL import Image

from vqgen.data.pictures.png import decode_png, read_chunks, unpacked
from vqgen.data.pictures.profiles import MAX_PROFILE_BYTES
from vqgen.data.pictures.samples import Samples

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8)
HUGE = zlib.compress(bytes(2_000_000))
ORIENTED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'


def decoded(data):
    return decode_png(io.BytesIO(data))


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes().removeprefix(b"Exif\0\0")


def damaged(name, data):
    whole = bytearray(chunk(name, data))
    whole[-1] ^= 1
    return bytes(whole)


SOUND_PIXELS = {
    "large zTXt": chunk(b"zTXt", b"workflow\0\0" + HUGE),
    "large iTXt": chunk(b"iTXt", b"prompt\0\1\0\0\0" + HUGE),
    "large iCCP": chunk(b"iCCP", b"profile\0\0" + HUGE),
    "huge iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(MAX_PROFILE_BYTES + 1))),
    "many large texts": chunk(b"tEXt", b"a\0" + b"x" * 1_000_000) * 70,
    "large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + HUGE),
    "damaged zTXt": chunk(b"zTXt", b"a\0\0nonsense"),
    "unknown method": chunk(b"zTXt", b"a\0\7") + chunk(b"iCCP", b"a\0\7"),
    "wrong checksum": damaged(b"tEXt", b"a\0b") + damaged(b"iCCP", b"a\0\0b") + damaged(b"eXIf", b"II"),
    "short chunks": chunk(b"pHYs", b"1") + chunk(b"gAMA", b"1") + chunk(b"cHRM", b"123") + chunk(b"sRGB", b""),
    "broken eXIf": chunk(b"eXIf", b"nonsense"),
    "broken animation": chunk(b"acTL", b"\0") + chunk(b"fcTL", b"\0" * 3) + chunk(b"fdAT", b""),
    "unknown chunk": chunk(b"prVt", b"x" * 2_000_000),
    "empty names": chunk(b"iCCP", b"") + chunk(b"zTXt", b"") + chunk(b"iTXt", b"") + chunk(b"tEXt", b""),
}


@pytest.mark.parametrize("name", SOUND_PIXELS)
@pytest.mark.parametrize("is_behind", [False, True])
def test_metadata_never_hide_sound_pixels(name, is_behind):
    extra = SOUND_PIXELS[name]
    data = png(RGB, 8, 2)[:-12] + extra + chunk(b"IEND", b"") if is_behind else png(RGB, 8, 2, before=extra)
    assert (np.asarray(decoded(data).pixels) == RGB).all()


def test_plain_file_is_not_copied():
    file = io.BytesIO(png(RGB, 8, 2, before=chunk(b"tEXt", b"a\0b") + chunk(b"tIME", b"1234567")))
    assert read_chunks(file).file() is file


@pytest.mark.parametrize(
    "chunks",
    [
        chunk(b"eXIf", turned(6)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ORIENTED),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(ORIENTED)),
    ],
)
def test_orientation_is_read_beside_metadata_that_are_left_out(chunks):
    assert decoded(png(RGB, 8, 2, before=chunks + SOUND_PIXELS["large zTXt"])).orientation == 6


def test_profile_is_handed_over_whatever_its_size():
    profile = bytes(RNG.integers(0, 256, 3_000_000, dtype=np.uint8))
    found = decoded(png(RGB, 8, 2, before=chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))))
    assert found.profile == profile


def test_numbers_of_cicp_come_before_the_profile():
    with_both = png(
        RGB, 8, 2, before=chunk(b"cICP", bytes([12, 13, 0, 1])) + chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x"))
    )
    alone = png(RGB, 8, 2, before=chunk(b"cICP", bytes([12, 13, 0, 1])))
    assert decoded(with_both).profile == decoded(alone).profile is not None


@pytest.mark.parametrize(("colour_type", "count"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("interlaced", [False, True])
def test_sixteen_bits_of_every_sample_are_kept(colour_type, count, interlaced):
    values = RNG.integers(0, 65536, (9, 10, count), dtype=np.uint16)
    found = decoded(png(values, 16, colour_type, filters=(0, 1, 2, 3, 4), interlaced=interlaced)).pixels
    assert isinstance(found, Samples)
    assert found.own_range == (0, 65535)
    colours = values if count in (1, 3) else values[..., :-1]
    assert (found.values == colours).all()
    assert found.alpha is None if count in (1, 3) else (found.alpha == values[..., -1]).all()


@pytest.mark.parametrize(("colour_type", "depth"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_transparent_key_counts_in_every_depth(colour_type, depth):
    values = RNG.integers(0, 1 << depth, (4, 5, 1 if colour_type == 0 else 3), dtype=np.uint16)
    key = values[2, 3]
    # Bits above the depth do not count.
    written = (key.astype(np.uint32) | (0xFFFF << depth)).astype(">u2") if depth < 16 else key.astype(">u2")
    samples = values if depth == 16 else values.astype(np.uint8)
    found = decoded(png(samples, depth, colour_type, before=chunk(b"tRNS", written.tobytes()))).pixels
    assert isinstance(found, Samples)
    assert found.own_range == (0, (1 << depth) - 1)
    assert (found.values == values).all()
    assert ((found.alpha == 0) == (values == key).all(-1)).all()


def test_key_that_is_too_short_is_none():
    assert read_chunks(io.BytesIO(png(RGB, 8, 2, before=chunk(b"tRNS", b"\0")))).key_values is None


def test_still_picture_of_an_animation_is_read():
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    assert (np.asarray(decoded(file.getvalue()).pixels) == RGB).all()


def test_more_than_the_limit_is_not_unpacked():
    packed = zlib.compress(bytes(1000))
    assert unpacked(packed, 1000) == bytes(1000)
    assert unpacked(packed, 999) is None
    assert unpacked(packed[:-3], 1000) is None
    assert unpacked(b"nonsense", 1000) is None


def test_pixels_of_a_bomb_are_refused():
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(Image.DecompressionBombError):
        decoded(data)
