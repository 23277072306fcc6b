import io

import pytest
from codec_models import CountingFile, varied_codes, write_archive

from vqgen.codec.archive_blocks import StoredBlock, block_at, find_blocks
from vqgen.codec.archive_layout import HEADER_BYTES, IndexEntry, read_blocks, read_index
from vqgen.codec.block_head import HeadRules
from vqgen.errors import BitstreamError


@pytest.fixture
def data(codec, monkeypatch):
    """An archive of three blocks."""
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 3)
    return write_archive(codec, varied_codes(codec, 8), [f"{number}" for number in range(8)])


def contents(file):
    return [each.block if isinstance(each.block, BitstreamError) else each.block.first(1 << 30) for each in
            find_blocks(file)]  # fmt: skip


def test_blocks_are_found_with_the_index_and_without(data):
    expected = list(read_blocks(io.BytesIO(data[HEADER_BYTES:])))
    assert contents(io.BytesIO(data)) == expected
    assert [each.images for each in find_blocks(io.BytesIO(data))] == [3, 3, 2]
    *found, damage = contents(io.BytesIO(data[:-1]))
    assert found == expected
    assert isinstance(damage, BitstreamError)


def test_cut_is_told_with_its_block(data):
    first, second, _ = read_index(io.BytesIO(data))
    begin = HEADER_BYTES + first.length
    assert second.length > 129  # so its length takes two bytes
    for size in (begin + 3, begin + second.length - 1):
        whole, cut = find_blocks(io.BytesIO(data[:size]))
        assert whole.block.found == whole.block.size
        assert cut.block.found == size - begin - 2
        assert cut.block.first(1 << 20) == data[begin + 2 : size]
        assert cut.block.size == second.length - 2
    for size in (begin, HEADER_BYTES):  # between two blocks
        *_, last = find_blocks(io.BytesIO(data[:size]))
        assert "it ends before its index" in str(last.block)


def test_no_more_is_read_than_is_asked_for(data):
    first, *_ = read_index(io.BytesIO(data))
    file = CountingFile(data)
    block = block_at(file, HEADER_BYTES, first)
    assert (block.size, file.count) == (first.length - 1, 1)
    assert block.first(10) == data[HEADER_BYTES + 1 :][:10]
    assert block.first(10) == block.first(3)
    assert file.count == 11
    assert block.first(1 << 20) == data[HEADER_BYTES + 1 :][: block.size]
    assert file.count == 1 + block.size


def test_head_of_a_long_block_is_read_in_parts(data, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_blocks._HEAD_BYTES", 4)
    first, *_ = read_index(io.BytesIO(data))
    file = CountingFile(data)
    head = block_at(file, HEADER_BYTES, first).head(HeadRules(2))
    assert [image.name for image in head.images] == ["0", "1", "2"]
    assert head.size <= file.count - 1 < 2 * head.size


def test_block_that_claims_more_than_the_file_has_takes_no_memory(data):
    file = CountingFile(data)
    assert StoredBlock(file, HEADER_BYTES, 1 << 28).first(1 << 28) == data[HEADER_BYTES:]
    with pytest.raises(BitstreamError):
        StoredBlock(file, HEADER_BYTES, 1 << 28).head(HeadRules(2))


def test_length_that_is_not_that_of_the_index_is_damage_to_this_block_alone(data):
    first, second, _ = read_index(io.BytesIO(data))
    damaged = bytearray(data)
    damaged[HEADER_BYTES + first.length] ^= 3
    kinds = [isinstance(each, BitstreamError) for each in contents(io.BytesIO(bytes(damaged)))]
    assert kinds == [False, True, False]
    with pytest.raises(BitstreamError, match=rf"should have {second.length + 1} bytes with its length by the index"):
        block_at(io.BytesIO(data), HEADER_BYTES + first.length, IndexEntry(second.length + 1, 3))


def test_missing_block_is_damage_although_the_rest_is_sound(data):
    first, second, _ = read_index(io.BytesIO(data))
    without = data[: HEADER_BYTES + first.length] + data[HEADER_BYTES + first.length + second.length :]
    *found, last = contents(io.BytesIO(without))
    assert len(found) == 2
    assert "lengths in the index should fill the archive" in str(last)
