"""Files of version 1 that an earlier vqgen wrote with the digits model that ships: their codes and pixels stay."""

import io
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqgen import VQGenPipeline
from vqgen.codec.archive_reader import ArchiveReader

DIGITS = Path(__file__).parents[2] / "checkpoints" / "pretrained" / "digits"

BY_PRIOR = "iVZRRwESEAAQAAwJW/ZLzM0Y7/MDHPCYSRIQAQMAW1ijYwIBAAEAAQAAAAIEAAQABgAAACKpTMg07OwoPIQk"
"""A three of 16 x 16, written by the prior with label 3."""

ARCHIVE = (
    "iVZRQQEGDAlb9kvMzRhFuJKVQzY6pAAAgjkN2GMDAQICEBAAARQJAB942kvUL8koSk3VK8hLZyhOLUvNA7PKM1PAQgCm1wrMAQMBLfANQSIZeLXUZvH6"
    "LD8ekbcVijUsgSXiE8UhmCXkw77DYBH5CUvcQQTeG6tLggCdLp490kQAAWQDAwAAADxMG2ZWUUFF"
)
"""The same three, a seven, and a part of the three that is coded in tiles; written with static frequencies."""

THREE = (
    "AQAAD02LwuPr1pRMDQAAAAMFFDBql7a5zsGbXhUAAQALFkyEvsR6aHaHkoUyEQQABxdglMetUC9Nc4+IRh8DAAITNlhvZzIvd5STfzQVCgQCDSA3QUtP"
    "Zqa4imQsDgADAwMTFSNLjbviyYZSHw4HBgICBwwNL4i6yryIXyIMAwUCAAMEAAQkQn2gt4o6DAIDAwAAAwAABAZCZrWpWiMJAwAABQECAAAAEzWXrINJ"
    "FAMAABATLRwNAAApmrWLTxEEAwYdSYR+JAYbV73CazAIAAMEEkSgq2dRXYK8p08ZAwAAAAAvms3GxtfDklshCgkDAAAAH43V+Pn41IY7DwAFAg=="
)
SEVEN = (
    "AAAAEGepz+Xu+f/paSIAAAEAABZ3ucrSx9r/5nIiAAAABAAsnL+hhW2T7OaAOgQAAQQFIX2dXj4uZNnmjD8NAAAECAwjHAkGHlXK34dHGAAAAgcJAAAB"
    "E0V/4N2NSxcCAAAACg8jRX6u3//rnVobBwIAAQoyYI/F7//71YpNDwQAAwQoiMLj9PvpxptKJAAAAAQLLYi/6fXy4KBiKAgAAAAGAxc3ZJXD58NfJREB"
    "AwABAAQIGECIuMeZKQoIAQAAAAAAAxBOwNyfURYAAAEFAwAFAAQqYNjeYSoFAAMEAAAAAQAWV5XUsDQCCwAAAQgGAgcCHGOm0qgnAAABAAEDAw=="
)
TILED = (
    "AwMFBgAgWJjE1tG4e1swIRUAAAADAAAJGjZ4say91c2SYTo8BgAOFQMBABhOkcjEa2i64cSHWSMHBCM4BQADF1mh4rZJRcXornlHJAAJNkcCBwgXP2WG"
    "jE1k0tZ2ShgXAAEZGgYLDxcrLWprYZnZ3nsrKR4MESQaBAMLDhscNWKbwO/8rH5FRjwxOEkEBQAIBwAUUnuj1eWreWpSKx07SQACAAAFAAgXPlKEoaKM"
    "Z1cvBRUN"
)
"""The pixels that vqgen decoded them to, when it wrote them."""


@pytest.fixture(scope="module")
def pipe() -> VQGenPipeline:
    return VQGenPipeline.from_pretrained(DIGITS, device="cpu")


def assert_pixels(picture: Image.Image, size: tuple[int, int], expected: str) -> None:
    assert (picture.size, picture.mode) == (size, "L")
    then = np.frombuffer(b64decode(expected), dtype=np.uint8).reshape(size[1], size[0])
    # The CRC-32 in the file checks the codes. Another processor may round a pixel to the other side.
    assert abs(np.asarray(picture).astype(int) - then).max() <= 1


def test_file_of_version_1_decodes_to_the_same_pixels(pipe):
    data = b64decode(BY_PRIOR)
    assert data[4] == 1
    (picture,) = pipe.decompress(data)
    assert_pixels(picture, (16, 16), THREE)


def test_archive_of_version_1_decodes_to_the_same_names_and_pixels(pipe):
    data = b64decode(ARCHIVE)
    assert data[4] == 1
    names, codes = zip(*ArchiveReader(io.BytesIO(data), pipe.codec), strict=True)
    assert names == ("a/three.png", "seven.png", "wide.png")
    sizes = [(16, 16), (16, 16), (20, 9)]
    for picture, size, expected in zip(pipe.codec.decode(codes), sizes, (THREE, SEVEN, TILED), strict=True):
        assert_pixels(picture, size, expected)


def test_file_of_version_1_has_a_preview(pipe):
    data = b64decode(BY_PRIOR)
    (picture,) = pipe.decompress(data, ["top"])
    whole = pipe.codec.unpack([data])[0]
    assert picture.tobytes() == pipe.codec.decode([type(whole)(whole.shape, {"top": whole.grids["top"]})])[0].tobytes()
    (cut,) = pipe.codec.unpack([data[:-3]], allow_partial=True)
    assert pipe.codec.decode([cut])[0].tobytes() == picture.tobytes()
