import io

import pytest
from codec_models import random_codes, varied_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_blocks
from vqgen.codec.block import read_block
from vqgen.codec.block_head import HeadRules, read_head
from vqgen.errors import BitstreamError

NAMES = [f"ä/{number}.png" for number in range(7)]


def only_block(codec, images, names=(), **options):
    """Returns the only block of an archive."""
    data = write_archive(codec, images, names, **options)
    (block,) = read_blocks(io.BytesIO(data[HEADER_BYTES:]))
    return block


def with_model(codec):
    config = codec.parts.vqvae.config
    return HeadRules(len(config.levels), config.grid_factors, len(codec.parts.label_map))


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", ["packed", "auto"])
def test_head_is_that_of_the_block_and_ends_before_its_segments(make_codec, num_levels, coder):
    codec = make_codec(num_levels)
    data = only_block(codec, varied_codes(codec, 7), NAMES, coder=coder)
    block = read_block(data, codec.parts.vqvae.config.grid_factors, 3)
    head = read_head(data, len(data), with_model(codec))
    assert (head.images, head.crc, head.start) == (block.images, block.crc, block.start)
    assert [data[end - level.length : end] for level, end in zip(head.levels, head.ends, strict=True)] == [
        segment.data for segment in block.segments
    ]
    assert head.block_size == len(data)
    assert read_head(data[: head.size], len(data), with_model(codec)) == head  # the segments are not needed


@pytest.mark.parametrize("rules", ["with the model", "without"])
def test_cut_head_is_an_error_at_every_byte(codec, rules):
    data = only_block(codec, varied_codes(codec, 7), NAMES)
    known = with_model(codec) if rules == "with the model" else HeadRules(2)
    size = read_head(data, len(data), known).size
    for end in range(size):
        with pytest.raises(BitstreamError):
            read_head(data[:end], len(data), known)


@pytest.mark.parametrize("names", [NAMES, ()])
@pytest.mark.parametrize("labels", [(None,), (0, 2), (None, 1, 2)])
def test_names_and_sizes_are_read_without_the_model(codec, names, labels):
    images = [random_codes(codec, 8 + n % 2, 8, seed=n, label=labels[n % len(labels)]) for n in range(7)]
    data = only_block(codec, images, names, with_names=bool(names))
    known, head = (read_head(data, len(data), rules) for rules in (with_model(codec), HeadRules(2)))
    assert [image.name for image in head.images] == [image.name for image in known.images]
    assert [(each.shape.width, each.shape.height) for each in head.images] == [(8 + n % 2, 8) for n in range(7)]
    assert all(image.shape.label is None for image in head.images)
    assert (known.knows_labels, head.knows_labels) == (True, labels == (None,))
    assert (head.size, head.ends) == (known.size, known.ends)
    assert [level.coder for level in head.levels] == [level.coder for level in known.levels]


def test_block_that_fits_several_numbers_of_labels_needs_the_model():
    # One level, one image of 1 x 1, with labels and without names: the bytes behind are a label and a level, or a level
    # and a part of its segment.
    head = bytes([1, 2, 1, 1, 1, 1, 0])
    data = head + bytes([0, 6, 0, 4]) + bytes(8)
    assert len(data) == 19
    fitting = []
    for label_bytes in (0, 1, 2):
        at = len(head) + label_bytes
        fitting.append(at + 2 + 4 + data[at + 1] == len(data))
    assert fitting == [True, False, True]
    with pytest.raises(BitstreamError, match="only with the pipeline that wrote it"):
        read_head(data, len(data), HeadRules(1))


def test_head_of_another_length_than_the_block_is_refused(codec):
    data = only_block(codec, varied_codes(codec, 7), NAMES)
    for size in (len(data) - 1, len(data) + 1):
        with pytest.raises(BitstreamError, match=rf"should end at its {size} bytes, found {len(data)}"):
            read_head(data, size, with_model(codec))
        with pytest.raises(BitstreamError):
            read_head(data, size, HeadRules(2))
