from dataclasses import replace

import numpy as np
import pytest
from codec_models import varied_codes

from vqgen.codec.block import read_block, write_block
from vqgen.codec.block_description import ImageEntry, write_description
from vqgen.codec.block_head import HeadRules, read_head
from vqgen.codec.level_choice import LevelChoice
from vqgen.codec.segments import CodedStream, Stream, decode_streams, encode_streams
from vqgen.errors import BitstreamError


def images_of(codec):
    images = varied_codes(codec, 4)
    plane = np.random.default_rng(0).bytes(27)
    images[2] = replace(images[2], shape=replace(images[2].shape, has_alpha=True), alpha=plane)
    return images


def write(codec, images, names, coder="packed"):
    grids = {level: [each.grids[level] for each in images] for level in codec.models.levels}
    stream = Stream([each.shape for each in images], grids)
    segments = encode_streams(codec.models, [stream], codec.models.offered(coder))[0]
    return write_block(images, names, list(segments.values()), 3)


def read(codec, data):
    return read_block(data, codec.parts.vqvae.config.downsample, 3)


@pytest.mark.parametrize("names", [["a", "b", "", "d"], [None] * 4])
def test_block_comes_back_with_its_codes_checked(codec, names):
    images = images_of(codec)
    block = read(codec, write(codec, images, names))
    assert block.images == [ImageEntry(each.shape, name) for each, name in zip(images, names, strict=True)]
    assert block.alphas == [each.alpha for each in images]
    coded = CodedStream([each.shape for each in images], dict(zip(codec.models.levels, block.segments, strict=True)))
    grids = decode_streams(codec.models, [coded], 16)[0]
    found = block.checked(grids)
    assert [name for name, _ in found] == names
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))
    grids["top"][3] = grids["top"][3] ^ 1
    with pytest.raises(BitstreamError, match="codes of a block differ"):
        block.checked(grids)


def test_block_of_another_length_is_refused(codec):
    data = write(codec, images_of(codec), [None] * 4)
    for damaged in (data + b"x", data[:-1]):
        with pytest.raises(BitstreamError, match=f"segments should end at its {len(damaged)} bytes, found {len(data)}"):
            read(codec, damaged)


def test_unknown_coder_is_refused(codec):
    images = images_of(codec)
    data = bytearray(write(codec, images, [None] * 4))
    entries = [ImageEntry(each.shape, None) for each in images]
    data[len(write_description(entries, 3))] = 9  # the first level follows the description
    with pytest.raises(BitstreamError, match=r"coder of a level should be one of \[0, 1, 2\], found 9"):
        read(codec, bytes(data))


def test_segment_that_claims_too_much_work_is_refused(codec):
    images = varied_codes(codec, 1)
    segments = read(codec, write(codec, images, [None])).segments
    data = write_block(images, [None], [replace(segment, data=b"") for segment in segments], 3)
    with pytest.raises(BitstreamError, match="a grid of 1 x 4 codes cannot have a segment of 0 bytes"):
        read(codec, data)


@pytest.mark.parametrize("coder", ["packed", "static", pytest.param("prior", marks=pytest.mark.slow)])
def test_block_cut_at_any_byte_gives_the_levels_that_are_whole(codec, coder):
    images = images_of(codec)
    data = write(codec, images, ["a", "b", "c", "d"], coder)
    config = codec.parts.vqvae.config
    ends = read_head(data, len(data), HeadRules(2, config.grid_factors, 3)).ends
    for size in range(len(data)):
        for allow_partial in (False, True):
            choice = LevelChoice.of(config, None, allow_partial)
            whole = codec.models.levels[: sum(end <= size for end in ends)]
            if not whole or not allow_partial:
                with pytest.raises(BitstreamError):
                    read_block(data[:size], config.grid_factors, 3, choice, len(data))
                continue
            block = read_block(data[:size], config.grid_factors, 3, choice, len(data))
            segments = dict(zip(whole, block.segments, strict=True))
            grids = decode_streams(codec.models, [CodedStream([each.shape for each in images], segments)], 16)[0]
            for (name, found), image, expected in zip(block.checked(grids), images, "abcd", strict=True):
                assert (name, found.levels, found.alpha) == (expected, whole, None)
                assert found.cut is not None
                assert all(np.array_equal(found.grids[level], image.grids[level]) for level in whole)
