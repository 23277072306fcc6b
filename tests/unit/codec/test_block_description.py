import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.block_description import (
    MAX_NAMES,
    ImageEntry,
    possible_label_bytes,
    read_description,
    write_description,
)
from vqgen.codec.image_codes import ImageShape
from vqgen.codec.varints import write_varint
from vqgen.errors import BitstreamError

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


@st.composite
def described(draw):
    """Entries of some images, and the number of labels."""
    num_labels = draw(st.integers(0, 5))
    labels = st.none() | st.integers(0, num_labels - 1) if num_labels else st.none()
    shape = st.builds(ImageShape, st.integers(1, 3), st.integers(1, 3), st.booleans(), labels, st.booleans())
    shapes = draw(st.lists(shape, min_size=1, max_size=8))
    named = draw(st.booleans())
    return [ImageEntry(each, draw(NAMES) if named else None) for each in shapes], num_labels


@given(described(), st.binary(max_size=3))
def test_description_comes_back_and_has_an_end(case, rest):
    entries, num_labels = case
    data = write_description(entries, num_labels)
    assert read_description(data + rest, num_labels) == (entries, len(data))


@given(described())
def test_cut_description_is_refused(case):
    entries, num_labels = case
    data = write_description(entries, num_labels)
    with pytest.raises(BitstreamError):
        read_description(data[:-1], num_labels)


@given(described(), st.binary(max_size=3))
def test_description_is_read_without_the_labels_if_their_bytes_are_right(case, rest):
    entries, num_labels = case
    data = write_description(entries, num_labels)
    has_labels = any(entry.shape.label is not None for entry in entries)
    size = -(-len(entries) * num_labels.bit_length() // 8) if has_labels else 0
    assert size in possible_label_bytes(data)
    found, end = read_description(data + rest, None, size)
    unlabelled = [ImageEntry(replace(entry.shape, label=None), entry.name) for entry in entries]
    assert (found, end) == (unlabelled, len(data))


def test_names_of_any_bytes_come_back():
    entries = [ImageEntry(ImageShape(1, 1, False), "\udcff\udc80.png")]  # not UTF-8
    assert read_description(write_description(entries, 0), 0)[0] == entries


def test_neighbours_of_one_kind_take_a_few_bytes():
    entries = [ImageEntry(ImageShape(300, 200, True), None)] * 1000
    assert len(write_description(entries, 10)) == 2 + 1 + 1 + 2 + 2 + 2 + 1


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (bytes([0, 0, 0]), "should have 1 to 65536 images, found 0 in 0 runs"),
        (bytes([1, 4, 1]), "should have 1 to 65536 images, found 1 in 1 runs"),
        (bytes([1, 0, 2]), "found 1 in 2 runs"),
        (write_varint(65537) + bytes([0, 1]), "found 65537 in 1 runs"),
        (bytes([2, 0, 1, 3, 1, 1, 0]), "images cannot be 3 of 1 x 1"),
        (bytes([1, 0, 1, 1, 0, 1, 0]), "images cannot be 1 of 0 x 1"),
        (bytes([1, 0, 1, 1, 1, 1, 4]), "images cannot be 1 of 1 x 1"),
        (bytes([2, 0, 1, 1, 1, 1, 0]), "should describe 2 images, found 1"),
        (bytes([1, 1, 1, 1, 1, 1, 0, 2]) + b"xx", "names of a block are damaged"),
    ],
)
def test_impossible_descriptions_are_refused(data, match):
    with pytest.raises(BitstreamError, match=match):
        read_description(data, 3)


def test_labels_outside_the_pipeline_are_refused():
    entries = [ImageEntry(ImageShape(1, 1, False, 6), None)]
    with pytest.raises(BitstreamError, match="codes should be below 5, found 6"):
        read_description(write_description(entries, 7), 4)


@pytest.mark.parametrize("joined", [b"a\0b", b"n" * (MAX_NAMES + 1)])
def test_names_of_another_number_or_beyond_the_bound_are_refused(joined):
    names = zlib.compress(joined)
    data = bytes([1, 1, 1, 1, 1, 1, 0]) + write_varint(len(names)) + names
    with pytest.raises(BitstreamError, match="should have 1 names"):
        read_description(data, 0)
