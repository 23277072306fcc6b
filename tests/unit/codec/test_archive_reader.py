import io
import zlib

import pytest
from codec_models import random_codes, varied_codes, write_archive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.errors import BitstreamError


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._CODES_PER_BLOCK", 60)


@pytest.mark.parametrize("num_levels", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("coder", ["packed", "static", "prior", "auto"])
def test_images_come_back_in_a_row_and_one_by_one(make_codec, small_blocks, num_levels, coder):
    codec = make_codec(num_levels)
    images = varied_codes(codec, 23)
    names = [f"ä/{i}.png" for i in range(23)]
    data = write_archive(codec, images, names, coder=coder)
    reader = ArchiveReader(io.BytesIO(data), codec)
    assert len(read_index(io.BytesIO(data))) > 3
    assert reader.num_images() == 23
    assert list(reader.names()) == names
    found = list(reader)
    assert [name for name, _ in found] == names
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))
    for number in (22, 0, 11):
        name, codes = reader.image(number)
        assert name == names[number]
        assert codes.equals(images[number])
    for number in (23, -1):
        with pytest.raises(IndexError, match=rf"should be in \[0, 23\), the images of the archive, found {number}"):
            reader.image(number)
    assert len(list(reader)) == 23  # again, from any position of the file


def test_archive_is_read_as_a_stream(codec, small_blocks):
    class Pipe(io.BufferedIOBase):
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def read(self, size=-1):
            return self.inner.read(size)

    images = varied_codes(codec, 12)
    found = list(ArchiveReader(Pipe(write_archive(codec, images)), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


def test_cut_archive_yields_the_blocks_before_the_cut(codec, small_blocks):
    images = varied_codes(codec, 23)
    data = write_archive(codec, images)
    blocks = read_index(io.BytesIO(data))
    cut = data[: HEADER_BYTES + blocks[0].length + blocks[1].length - 1]
    reader = ArchiveReader(io.BytesIO(cut), codec)
    found = []
    with pytest.raises(BitstreamError, match="cut short"):
        found.extend(codes for _, codes in reader)
    with pytest.raises(BitstreamError, match="no index at its end"):
        reader.image(0)
    iterator = iter(ArchiveReader(io.BytesIO(cut), codec))
    for index in range(blocks[0].images):
        assert next(iterator)[1].equals(images[index])


def test_missing_blocks_are_noticed(codec, small_blocks):
    data = write_archive(codec, varied_codes(codec, 23))
    first, second = (block.length for block in read_index(io.BytesIO(data))[:2])
    without_second = data[: HEADER_BYTES + first] + data[HEADER_BYTES + first + second :]
    with pytest.raises(BitstreamError, match="blocks differ from those in its index"):
        list(ArchiveReader(io.BytesIO(without_second), codec))
    ended = data[: HEADER_BYTES + first] + b"\0" + data[HEADER_BYTES + first :]
    for damaged in (ended, data + b"\0", data[:-1]):
        with pytest.raises(BitstreamError):
            list(ArchiveReader(io.BytesIO(damaged), codec))


def test_archive_of_another_model_or_version_is_refused(make_codec):
    codec = make_codec()
    data = write_archive(codec, varied_codes(codec, 3))
    with pytest.raises(BitstreamError, match="made with VQ-VAE"):
        ArchiveReader(io.BytesIO(data), make_codec(seed=1))
    with pytest.raises(BitstreamError, match=r"should be version 1 or 2, found 3; update vqgen"):
        ArchiveReader(io.BytesIO(data[:4] + b"\x03" + data[5:]), codec)


def test_batch_that_needs_more_memory_than_any_that_is_written_is_refused(codec):
    data = bytearray(write_archive(codec, varied_codes(codec, 3), coder="prior"))
    data[22] = 255
    data[24:28] = zlib.crc32(data[:24]).to_bytes(4, "little")
    with pytest.raises(BitstreamError, match="at most 16 tiles at a time, found 255"):
        ArchiveReader(io.BytesIO(data), codec)


def test_block_with_a_coder_outside_the_header_is_refused(make_codec):
    codec = make_codec()
    data = write_archive(codec, [random_codes(codec, 8, 8)], coder="prior")
    packed = write_archive(codec, [random_codes(codec, 8, 8)], coder="packed")
    codec.parts.frequencies = {}
    bare = write_archive(codec, [random_codes(codec, 8, 8)], coder="packed")
    assert len(bare) == len(packed)
    with pytest.raises(BitstreamError, match="only the coders of the archive's header"):
        list(ArchiveReader(io.BytesIO(bare[:HEADER_BYTES] + data[HEADER_BYTES:]), codec))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archive_gives_the_original_codes_or_an_error(codec, data):
    images = varied_codes(codec, 6)
    file = bytearray(write_archive(codec, images, [f"{i}" for i in range(6)], coder="static", verify=False))
    at = data.draw(st.integers(0, len(file) - 1))
    if data.draw(st.booleans()):
        file[at] ^= data.draw(st.integers(1, 255))
    else:
        file = file[:at] + data.draw(st.binary(max_size=9)) + file[at + data.draw(st.integers(0, 9)) :]
    try:
        found = [codes for _, codes in ArchiveReader(io.BytesIO(bytes(file)), codec)]
    except BitstreamError:
        return
    assert all(codes.equals(image) for codes, image in zip(found, images, strict=True))


def kept(content):
    """Returns the number of the first image of a block, and its number of images; None for the images if damaged."""
    return content.first, content.count, None if isinstance(content.images, BitstreamError) else len(content.images)


@pytest.mark.parametrize("at", ["length", "first", "last"])
def test_blocks_behind_a_damaged_one_are_read(codec, monkeypatch, at):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    images = varied_codes(codec, 8)
    names = [f"{number}" for number in range(8)]
    file = bytearray(write_archive(codec, images, names))
    first, second, _ = read_index(io.BytesIO(file))
    begin = HEADER_BYTES + first.length
    file[{"length": begin, "first": begin + 2, "last": begin + second.length - 1}[at]] ^= 0x55
    reader = ArchiveReader(io.BytesIO(bytes(file)), codec)
    assert list(map(kept, reader.blocks())) == [(0, 3, 3), (3, 3, None), (6, 2, 2)]
    # The names stand at the front of a block, and its CRC-32 guards the codes.
    assert list(map(kept, reader.blocks_of_names()))[1] == (3, 3, 3 if at == "last" else None)
    found = [each for content in reader.blocks() if kept(content)[2] for each in content.images]
    assert [name for name, _ in found] == names[:3] + names[6:]
    assert all(codes.equals(images[int(name)]) for name, codes in found)
    with pytest.raises(BitstreamError):
        list(reader)


def test_archive_with_a_damaged_index_is_read_in_order(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    file = bytearray(write_archive(codec, varied_codes(codec, 8), [f"{number}" for number in range(8)]))
    file[-14] ^= 0x55  # in the index, before its footer of 12 bytes
    reader = ArchiveReader(io.BytesIO(bytes(file)), codec)
    assert [kept(content) for content in reader.blocks()] == [(0, 3, 3), (3, 3, 3), (6, 2, 2), (8, 1, None)]
    cut = ArchiveReader(io.BytesIO(bytes(file[: HEADER_BYTES + 200])), codec)
    *sound, last = cut.blocks()
    assert kept(last)[2] is None
    assert all(kept(content)[2] == 3 for content in sound)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archive_gives_the_original_codes_of_some_images(codec, data):
    images = varied_codes(codec, 6)
    names = [f"{i}" for i in range(6)]
    file = bytearray(write_archive(codec, images, names, coder="static", verify=False))
    at = data.draw(st.integers(HEADER_BYTES, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    blocks = list(ArchiveReader(io.BytesIO(bytes(file)), codec).blocks())
    sound = [each for content in blocks if not isinstance(content.images, BitstreamError) for each in content.images]
    # The last bits of a coded level have no meaning in some files, so damage there need not be an error.
    assert len(sound) == 6 or any(isinstance(content.images, BitstreamError) for content in blocks)
    assert all(codes.equals(images[int(name)]) for name, codes in sound)
