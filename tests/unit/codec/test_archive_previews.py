"""Some levels of archives, single blocks, and archives that are cut short."""

import io

import pytest
from codec_models import CountingFile, random_codes, varied_codes, write_archive
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.errors import BitstreamError


def kept(content):
    """Returns the number of the first image of a block, and its number of images; None for the images if damaged."""
    return content.first, content.count, None if isinstance(content.images, BitstreamError) else len(content.images)


def grids_of(codes, levels):
    return {level: codes.grids[level].tolist() for level in levels}


@pytest.mark.parametrize("coder", ["packed", "static", "prior"])
def test_levels_alone_are_those_of_the_whole_archive_and_the_rest_is_not_read(make_codec, monkeypatch, coder):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    monkeypatch.setattr("vqgen.codec.archive_blocks._HEAD_BYTES", 8)
    codec = make_codec(3)
    images = [random_codes(codec, 24, 24, seed=number, label=number % 3) for number in range(4)]
    data = write_archive(codec, images, coder=coder, verify=False)
    sizes = []
    for levels in (["top"], ["middle"], ["top", "middle"], ["bottom"], None):
        file = CountingFile(data)
        reader = ArchiveReader(file, codec, levels)
        found = [each for content in reader.blocks() for each in content.images]
        sizes.append(file.count)
        for (_, codes), image in zip(found, images, strict=True):
            names = tuple(levels or codec.models.levels)
            assert codes.levels == names
            assert grids_of(codes, names) == grids_of(image, names)
            assert codes.cut is None
        assert grids_of(reader.image(3)[1], names) == grids_of(images[3], names)
        assert [each.levels for _, each in reader] == [names] * 4
    assert sizes[0] < sizes[1] == sizes[2] < sizes[3] == sizes[4]
    assert sizes[3] <= len(data) + 12  # and the footer, before the index


def test_names_are_read_without_the_codes(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    monkeypatch.setattr("vqgen.codec.archive_blocks._HEAD_BYTES", 8)
    names = [f"{number}" for number in range(8)]
    file = CountingFile(
        write_archive(codec, [random_codes(codec, 99, 99, seed) for seed in range(8)], names, coder="packed")
    )
    assert list(ArchiveReader(file, codec).names()) == names
    assert file.count < len(file.getvalue()) / 20


def test_only_the_blocks_of_wanted_images_are_read(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    images = varied_codes(codec, 8)
    data = write_archive(codec, images)
    first, second, third = (entry.length for entry in read_index(io.BytesIO(data)))
    file = CountingFile(data)
    (content,) = ArchiveReader(file, codec).blocks({4})
    assert (content.first, content.count) == (3, 3)
    assert content.images[1][1].equals(images[4])
    frame = HEADER_BYTES + (len(data) - HEADER_BYTES - first - second - third) + 12
    # Of the other blocks nothing but the length is read, which may have two bytes.
    assert file.count <= frame + second + 4
    for damaged in (data, data[:-1]):  # with the index, and without
        found = [(each.first, each.count) for each in ArchiveReader(io.BytesIO(damaged), codec).blocks({0, 7})]
        assert found == [(0, 3), (6, 2)]


@pytest.mark.parametrize("coder", ["packed", "static"])
def test_archive_cut_at_any_byte_gives_whole_images_previews_and_a_failure(codec, monkeypatch, coder):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    images = [random_codes(codec, 8, 8, seed=number) for number in range(4)]
    data = write_archive(codec, images, list("abcd"), coder=coder, verify=False)
    first, second = (entry.length for entry in read_index(io.BytesIO(data)))
    previews = 0
    for size in range(HEADER_BYTES, len(data)):
        contents = list(ArchiveReader(io.BytesIO(data[:size]), codec, allow_partial=True).blocks())
        strict = list(ArchiveReader(io.BytesIO(data[:size]), codec).blocks())
        assert isinstance(strict[-1].images, BitstreamError)
        assert all(codes.cut is None for content in strict[:-1] for _, codes in content.images)
        found = [each for content in contents if kept(content)[2] for each in content.images]
        whole = [codes for _, codes in found if codes.cut is None]
        assert len(whole) == 2 * (size >= HEADER_BYTES + first) + 2 * (size >= HEADER_BYTES + first + second)
        assert all(codes.equals(image) for codes, image in zip(whole, images, strict=False))
        for (name, codes), image, expected in zip(found, images, "abcd", strict=False):
            assert name == expected
            assert grids_of(codes, codes.levels) == grids_of(image, codes.levels)
        partial = [codes for _, codes in found if codes.cut is not None]
        previews += len(partial)
        # Something always tells of the cut: a preview, or the failure in its place.
        assert partial or isinstance(contents[-1].images, BitstreamError)
        assert all(codes.levels == ("top",) for codes in partial)
    assert previews > 4


def test_cut_block_is_told_even_if_the_levels_that_are_asked_for_are_whole(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    images = [random_codes(codec, 24, 24, seed=number) for number in range(4)]
    data = write_archive(codec, images, coder="static")
    first, second = (entry.length for entry in read_index(io.BytesIO(data)))
    cut = data[: HEADER_BYTES + first + second - 1]
    whole, last = ArchiveReader(io.BytesIO(cut), codec, ["top"]).blocks()
    assert all(codes.cut is None for _, codes in whole.images)
    assert isinstance(last.images, BitstreamError)
    whole, last = ArchiveReader(io.BytesIO(cut), codec, ["top"], allow_partial=True).blocks()
    assert all(codes.cut is None for _, codes in whole.images)
    assert all("it has top whole" in codes.cut for _, codes in last.images)
    assert [grids_of(codes, ["top"]) for _, codes in last.images] == [grids_of(each, ["top"]) for each in images[2:]]
    with pytest.raises(BitstreamError, match="cut short"):
        list(ArchiveReader(io.BytesIO(cut), codec).names())


def test_block_that_the_index_knows_is_never_taken_for_a_cut_one(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    data = bytearray(write_archive(codec, varied_codes(codec, 6), coder="static"))
    first, *_ = read_index(io.BytesIO(data))
    data[HEADER_BYTES + first.length] += 40  # the length of the second block
    contents = list(ArchiveReader(io.BytesIO(bytes(data)), codec, allow_partial=True).blocks())
    assert list(map(kept, contents)) == [(0, 2, 2), (2, 2, None), (4, 2, 2)]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_archive_gives_no_unmarked_wrong_image_with_the_permission_either(codec, data):
    images = varied_codes(codec, 6)
    names = [f"{i}" for i in range(6)]
    file = bytearray(write_archive(codec, images, names, coder="static", verify=False))
    file = file[: data.draw(st.integers(HEADER_BYTES + 1, len(file)))]
    file[data.draw(st.integers(HEADER_BYTES, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    blocks = ArchiveReader(io.BytesIO(bytes(file)), codec, allow_partial=True).blocks()
    sound = [each for content in blocks if not isinstance(content.images, BitstreamError) for each in content.images]
    assert all(codes.cut is not None or codes.equals(images[int(name)]) for name, codes in sound)
