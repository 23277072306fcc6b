import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_models import random_codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqgen.codec import Coder, ImageCodes, ImageShape, frequencies_of_counts, ideal_bits
from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter
from vqgen.codec.block import read_varint, write_varint
from vqgen.errors import BitstreamError, ConfigError

SIZES = [(8, 8), (8, 8), (9, 3), (1, 1), (40, 24)]


def images_of(codec, count):
    return [random_codes(codec, *SIZES[i % 5], seed=i, label=[None, 0, 2][i % 3]) for i in range(count)]


def write(codec, images, names=None, **options):
    file = io.BytesIO()
    writer = ArchiveWriter(file, codec, **options)
    for index, image in enumerate(images):
        writer.add(image, names[index] if names else "")
    assert writer.finish() == len(file.getvalue())
    return file.getvalue()


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._CODES_PER_BLOCK", 60)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", ["packed", "static", "prior", "auto"])
def test_images_come_back_in_a_row_and_one_by_one(make_codec, small_blocks, num_levels, coder):
    codec = make_codec(num_levels)
    images, names = images_of(codec, 23), [f"ä/{i}.png" for i in range(23)]
    data = write(codec, images, names, coder=coder)
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
        with pytest.raises(IndexError, match="it has 23"):
            reader.image(number)
    assert len(list(reader)) == 23  # again, wherever the file stood


def test_it_is_read_as_a_stream(codec, small_blocks):
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self.inner = io.BytesIO(data)

        def read(self, size=-1):
            return self.inner.read(size)

    images = images_of(codec, 12)
    found = list(ArchiveReader(Pipe(write(codec, images)), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


def test_alpha_planes_and_none_at_all(codec):
    plain = random_codes(codec, 8, 8)
    clear = replace(plain, shape=replace(plain.shape, has_alpha=True), alpha=np.random.default_rng(0).bytes(64))
    found = list(ArchiveReader(io.BytesIO(write(codec, [plain, clear], with_names=False)), codec))
    assert [name for name, _ in found] == [None, None]
    assert found[0][1].equals(plain)
    assert found[1][1].equals(clear)
    assert list(ArchiveReader(io.BytesIO(write(codec, [])), codec)) == []


def test_names_of_any_bytes_and_very_many_of_them(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer.MAX_NAMES", 100)
    names = ["\udcff\udc80.png", *("n" * size for size in (99, 1, 98, 50, 49, 48, 3)), ""]  # the first is no UTF-8
    images = [random_codes(codec, 8, 8, seed=i) for i in range(len(names))]
    data = write(codec, images, names)
    reader = ArchiveReader(io.BytesIO(data), codec)
    assert list(reader.names()) == names
    assert len(read_index(io.BytesIO(data))) == 7
    assert all(codes.equals(image) for (_, codes), image in zip(reader, images, strict=True))
    for name in ("n" * 100, "a\0b"):
        with pytest.raises(ConfigError, match="name: should have less than 100 bytes"):
            ArchiveWriter(io.BytesIO(), codec).add(images[0], name)


@pytest.mark.parametrize("coder", ["static", "prior"])
def test_many_images_take_their_ideal_and_little_more(codec, coder):
    images = [random_codes(codec, 8, 8, seed=i) for i in range(200)]
    size = len(write(codec, images, coder=coder, with_names=False))
    bits = sum(
        ideal_bits(codec.models, image, level, Coder[coder.upper()]) for image in images for level in image.grids
    )
    assert bits / 8 < size < 1.005 * bits / 8 + 64


def test_where_the_models_know_the_codes_prior_is_shorter_than_static_and_static_than_packed(codec):
    """Codes drawn from the priors themselves, and frequencies that were counted over such codes."""
    images = [sampled_codes(codec, seed) for seed in range(200)]
    for level in codec.models.levels:
        counts = np.bincount(np.concatenate([image.grids[level].ravel() for image in images]), minlength=16)
        codec.parts.frequencies[level] = frequencies_of_counts(torch.from_numpy(counts))
    packed, static, prior, auto = (len(write(codec, images, coder=c)) for c in ("packed", "static", "prior", "auto"))
    assert prior < static < packed
    assert auto <= prior + 8


def sampled_codes(codec, seed):
    """Codes of an 8 x 8 image, as the priors draw them."""
    generator, grids, coarser = torch.Generator().manual_seed(seed), {}, None
    for level in codec.models.levels:
        prior = codec.models.prior(level)
        grid = torch.zeros(1, prior.order.height, prior.order.width, dtype=torch.int64)
        condition = prior.encode_condition(coarser)
        for position in prior.order.positions.tolist():
            with torch.no_grad():
                logits = prior(grid, torch.tensor([-1]), condition).flatten(2)[0, :, position]
            grid.view(-1)[position] = torch.multinomial(logits.softmax(0), 1, generator=generator)
        grids[level], coarser = grid[0].numpy(), grid
    return ImageCodes(ImageShape(8, 8, False), grids)


def test_what_does_not_decode_is_written_without_the_prior(codec, monkeypatch):
    images = images_of(codec, 6)
    answers, decodes_to = iter([False]), ArchiveWriter._decodes_to
    monkeypatch.setattr(ArchiveWriter, "_decodes_to", lambda *each: next(answers, None) is None and decodes_to(*each))
    with pytest.warns(UserWarning, match="6 of 6 images of a block"):
        data = write(codec, images, coder="prior")
    found = list(ArchiveReader(io.BytesIO(data), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


def test_a_cut_archive_hands_out_the_blocks_before_the_cut(codec, small_blocks):
    images = images_of(codec, 23)
    data = write(codec, images)
    blocks = read_index(io.BytesIO(data))
    cut = data[: HEADER_BYTES + blocks[0].length + blocks[1].length - 1]
    reader, found = ArchiveReader(io.BytesIO(cut), codec), []
    with pytest.raises(BitstreamError, match="cut short"):
        found.extend(codes for _, codes in reader)
    with pytest.raises(BitstreamError, match="no index at its end"):
        reader.image(0)
    iterator = iter(ArchiveReader(io.BytesIO(cut), codec))
    for index in range(blocks[0].images):
        assert next(iterator)[1].equals(images[index])


def test_blocks_that_are_gone_are_missed(codec, small_blocks):
    data = write(codec, images_of(codec, 23))
    first, second = (block.length for block in read_index(io.BytesIO(data))[:2])
    without_second = data[: HEADER_BYTES + first] + data[HEADER_BYTES + first + second :]
    ended = data[: HEADER_BYTES + first] + b"\0" + data[HEADER_BYTES + first :]
    for damaged in (without_second, ended, data + b"\0", data[:-1]):
        with pytest.raises(BitstreamError):
            list(ArchiveReader(io.BytesIO(damaged), codec))


def test_an_archive_of_another_model_is_refused(make_codec):
    codec = make_codec()
    data = write(codec, images_of(codec, 3))
    with pytest.raises(BitstreamError, match="made with VQ-VAE"):
        ArchiveReader(io.BytesIO(data), make_codec(seed=1))
    with pytest.raises(BitstreamError, match=r"should be version 1, found 3; update vqgen"):
        ArchiveReader(io.BytesIO(data[:4] + b"\x03" + data[5:]), codec)


def test_a_shape_that_would_take_more_memory_than_any_that_is_written_is_refused(codec):
    data = bytearray(write(codec, images_of(codec, 3), coder="prior"))
    data[22] = 255
    data[24:28] = zlib.crc32(data[:24]).to_bytes(4, "little")
    with pytest.raises(BitstreamError, match="with at most 16 tiles at once, found 255"):
        ArchiveReader(io.BytesIO(data), codec)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_gives_the_original_codes_or_an_error(codec, data):
    images = images_of(codec, 6)
    file = bytearray(write(codec, images, [f"{i}" for i in range(6)], coder="static", verify=False))
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


@given(st.integers(0, 2**35 - 1), st.binary(max_size=4))
def test_varints(number, rest):
    data = write_varint(number)
    assert read_varint(data + rest, 0) == (number, len(data))
    with pytest.raises(BitstreamError):
        read_varint(data[:-1], 0)


def test_a_varint_that_does_not_end_is_refused():
    with pytest.raises(BitstreamError, match="longer than it may be"):
        read_varint(b"\xff" * 9, 0)
