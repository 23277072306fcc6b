import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_models import random_codes, varied_codes, write_archive

from vqgen.codec import Coder, ImageCodes, ImageShape, frequencies_of_counts, ideal_bits
from vqgen.codec.archive_layout import read_index, write_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.archive_writer import ArchiveWriter, WrittenBlocks
from vqgen.errors import ConfigError, DataError


def test_alpha_planes_and_archives_without_images_come_back(codec):
    plain = random_codes(codec, 8, 8)
    clear = replace(plain, shape=replace(plain.shape, has_alpha=True), alpha=np.random.default_rng(0).bytes(64))
    found = list(ArchiveReader(io.BytesIO(write_archive(codec, [plain, clear], with_names=False)), codec))
    assert [name for name, _ in found] == [None, None]
    assert found[0][1].equals(plain)
    assert found[1][1].equals(clear)
    assert list(ArchiveReader(io.BytesIO(write_archive(codec, [])), codec)) == []


def test_names_of_any_bytes_fill_several_blocks(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer.MAX_NAMES", 100)
    names = ["\udcff\udc80.png", *("n" * size for size in (99, 1, 98, 50, 49, 48, 3)), ""]  # the first is not UTF-8
    images = [random_codes(codec, 8, 8, seed=i) for i in range(len(names))]
    data = write_archive(codec, images, names)
    reader = ArchiveReader(io.BytesIO(data), codec)
    assert list(reader.names()) == names
    assert len(read_index(io.BytesIO(data))) == 7
    assert all(codes.equals(image) for (_, codes), image in zip(reader, images, strict=True))
    for name in ("n" * 100, "a\0b"):
        with pytest.raises(DataError, match="name: should have less than 100 bytes"):
            ArchiveWriter(io.BytesIO(), codec).add(images[0], name)


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["static", "prior"])
def test_many_images_take_little_more_than_their_ideal(codec, coder):
    images = [random_codes(codec, 8, 8, seed=i) for i in range(200)]
    size = len(write_archive(codec, images, coder=coder, with_names=False))
    bits = sum(
        ideal_bits(codec.models, image, level, Coder[coder.upper()]) for image in images for level in image.grids
    )
    assert bits / 8 < size < 1.005 * bits / 8 + 64


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked_annotations")
def test_better_models_write_shorter_archives(codec):
    """The codes are drawn from the priors, and the frequencies are counted over these codes."""
    images = [sampled_codes(codec, seed) for seed in range(80)]
    for level in codec.models.levels:
        counts = np.bincount(np.concatenate([image.grids[level].ravel() for image in images]), minlength=16)
        codec.parts.frequencies[level] = frequencies_of_counts(torch.from_numpy(counts))
    packed, static, prior, auto = (
        len(write_archive(codec, images, coder=coder)) for coder in ("packed", "static", "prior", "auto")
    )
    assert prior < static < packed
    assert auto <= prior + 8


def sampled_codes(codec, seed):
    """Draws the codes of an 8 x 8 image from the priors."""
    generator = torch.Generator().manual_seed(seed)
    grids = {}
    coarser = None
    for level in codec.models.levels:
        prior = codec.models.prior(level)
        grid = torch.zeros(1, prior.order.height, prior.order.width, dtype=torch.int64)
        condition = prior.encode_condition(coarser)
        for position in prior.order.positions.tolist():
            with torch.no_grad():
                logits = prior(grid, torch.tensor([-1]), condition).flatten(2)[0, :, position]
            grid.view(-1)[position] = torch.multinomial(logits.softmax(0), 1, generator=generator)
        grids[level] = grid[0].numpy()
        coarser = grid
    return ImageCodes(ImageShape(8, 8, False), grids)


def test_block_that_decodes_to_other_codes_is_written_without_the_prior(codec, monkeypatch):
    images = varied_codes(codec, 6)
    answers = iter([False])
    decodes_to = ArchiveWriter._decodes_to
    monkeypatch.setattr(ArchiveWriter, "_decodes_to", lambda *each: next(answers, None) is None and decodes_to(*each))
    with pytest.warns(UserWarning, match="6 of 6 images of a block"):
        data = write_archive(codec, images, coder="prior")
    found = list(ArchiveReader(io.BytesIO(data), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


@pytest.mark.parametrize(("coder", "needed"), [("packed", set()), ("static", {"frequencies"})])
def test_archive_needs_only_the_models_of_its_coder(make_codec, coder, needed):
    codec = make_codec()
    codes = [random_codes(codec, 8, 8, seed) for seed in range(3)]
    data = write_archive(codec, codes, coder=coder)
    reader = make_codec()
    reader.parts.priors = {}
    if "frequencies" not in needed:
        reader.parts.frequencies = {}
    found = ArchiveReader(io.BytesIO(data), reader)
    assert found.header.coders == {Coder.PACKED, Coder[coder.upper()]}
    assert all(read.equals(each) for (_, read), each in zip(found, codes, strict=True))


def test_writer_counts_its_bytes_and_coders(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    file = io.BytesIO()
    writer = ArchiveWriter(file, codec, coder="static")
    for image in varied_codes(codec, 5):
        writer.add(image)
    assert writer.finish() == writer.bytes_written == len(file.getvalue())
    assert writer.coders_used == {Coder.STATIC: 3 * 2}


def appended(codec, data, images, **options):
    """Writes more images behind the blocks of an archive."""
    written = WrittenBlocks(ArchiveReader(io.BytesIO(data), codec).header, read_index(io.BytesIO(data)))
    file = io.BytesIO()
    file.write(data[: written.size])
    writer = ArchiveWriter(file, codec, after=written, **options)
    for image in images:
        writer.add(image, "new")
    assert writer.finish() == len(file.getvalue())
    return file.getvalue(), writer


@pytest.mark.parametrize(("first", "second"), [("packed", "auto"), ("static", "packed"), ("prior", "static")])
def test_more_images_are_written_with_the_coders_of_the_header(codec, first, second):
    images = varied_codes(codec, 6)
    data, writer = appended(codec, write_archive(codec, images[:3], coder=first), images[3:], coder=second)
    assert set(writer.coders_used) <= writer.header.coders
    found = list(ArchiveReader(io.BytesIO(data), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


def test_coder_that_the_header_does_not_name_is_refused(codec):
    data = write_archive(codec, varied_codes(codec, 2), coder="static")
    with pytest.raises(
        ConfigError, match="coder: should be one of auto, packed, static, which the header of the archive"
    ):
        appended(codec, data, [], coder="prior")


def test_more_images_are_written_for_the_tiles_that_the_header_names(codec):
    """An archive of another version may evaluate fewer tiles at a time."""
    header = replace(ArchiveReader(io.BytesIO(write_archive(codec, [], coder="prior")), codec).header, batch_size=3)
    empty = header.pack() + write_index([])
    images = varied_codes(codec, 6)
    data, writer = appended(codec, empty, images, coder="prior")
    assert writer.coders_used == {Coder.PRIOR: 2}
    found = list(ArchiveReader(io.BytesIO(data), codec))
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


def test_preview_is_not_written(codec):
    (image,) = varied_codes(codec, 1)
    writer = ArchiveWriter(io.BytesIO(), codec)
    with pytest.raises(DataError, match="a preview cannot be written"):
        writer.add(replace(image, grids={"top": image.grids["top"]}), "a")
