import io
from dataclasses import replace

import numpy as np
import pytest
from codec_models import random_codes, varied_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_list import _shares, check_end, check_structure, list_images
from vqgen.codec.block_head import HeadRules
from vqgen.errors import BitstreamError

NAMES = [f"{number}.png" for number in range(8)]


@pytest.fixture
def data(codec, monkeypatch):
    """An archive of three blocks, with an alpha plane in the second one."""
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    images = varied_codes(codec, 8)
    shape = images[4].shape
    plane = np.random.default_rng(0).bytes(shape.width * shape.height)
    images[4] = replace(images[4], shape=replace(shape, has_alpha=True), alpha=plane)
    return write_archive(codec, images, NAMES)


def both_rules(codec):
    return HeadRules(2), HeadRules(2, codec.parts.vqvae.config.grid_factors, 3)


def test_images_have_their_names_sizes_and_labels(codec, data):
    for rules in both_rules(codec):
        found = [image for content in list_images(io.BytesIO(data), rules) for image in content.images]
        assert [image.name for image in found] == NAMES
        expected = [each.shape for each in varied_codes(codec, 8)]
        expected[4] = replace(expected[4], has_alpha=True)
        if rules.num_labels is None:
            expected = [replace(shape, label=None) for shape in expected]
            assert not any(image.knows_labels for image in found)
        assert [image.shape for image in found] == expected
        assert all(len(image.coders) == 2 for image in found)


def test_bytes_add_up_to_the_blocks_and_an_alpha_plane_counts_for_its_image(codec, data):
    contents = list(list_images(io.BytesIO(data), HeadRules(2)))
    lengths = [entry.length for entry in read_index(io.BytesIO(data))]
    assert [sum(image.size for image in content.images) for content in contents] == lengths
    assert contents[1].images[1].size > 40 * 24


@pytest.mark.parametrize(("total", "weights"), [(10, [1, 1, 1]), (7, [5]), (1, [3, 3]), (1000, [1, 998, 1])])
def test_shares_are_whole_and_add_up(total, weights):
    shares = _shares(total, weights)
    assert sum(shares) == total
    assert all(abs(share - total * weight / sum(weights)) < 1 for share, weight in zip(shares, weights, strict=True))


def test_structure_of_a_damaged_block_is_an_error_in_its_place(codec, data):
    first, second, _ = (entry.length for entry in read_index(io.BytesIO(data)))
    for rules in both_rules(codec):
        assert [content.images for content in check_structure(io.BytesIO(data), rules)] == [
            NAMES[:3], NAMES[3:6], NAMES[6:],
        ]  # fmt: skip
        for at in (3, second - 5):  # in its head, and in its alpha plane
            damaged = bytearray(data)
            damaged[HEADER_BYTES + first + at] ^= 0xFF
            contents = list(check_structure(io.BytesIO(bytes(damaged)), rules))
            assert [isinstance(content.images, BitstreamError) for content in contents] == [False, True, False]


def test_end_of_the_blocks_is_checked(data):
    check_end(io.BytesIO(data))
    end = HEADER_BYTES + sum(entry.length for entry in read_index(io.BytesIO(data)))
    with pytest.raises(BitstreamError, match=f"a 0 should end the blocks at byte {end}"):
        check_end(io.BytesIO(data[:end] + b"\1" + data[end + 1 :]))
    with pytest.raises(BitstreamError, match="no index at its end"):
        check_end(io.BytesIO(data[:-1]))


def test_image_of_a_block_alone_has_all_its_bytes(codec):
    data = write_archive(codec, [random_codes(codec, 8, 8)], ["a"])
    ((image,),) = (content.images for content in list_images(io.BytesIO(data), HeadRules(2)))
    assert image.size == read_index(io.BytesIO(data))[0].length
