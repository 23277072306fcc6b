import numpy as np
import pytest
import torch
from codec_models import random_codes, stream_of, varied_codes
from hypothesis import given
from hypothesis import strategies as st

from vqgen.codec.prior_coder import PriorCoder, TileStream, _runs, canonical_batch_size
from vqgen.codec.segments import level_stream
from vqgen.errors import BitstreamError


def tiles_of(codec, level, count=5):
    """Tiles of images of several sizes, a stream each."""
    streams = [stream_of([each]) for each in varied_codes(codec, count)]
    prior = codec.models.prior(level)
    return [TileStream.of(prior, level_stream(codec.models, stream, level)) for stream in streams]


def blank(tiles):
    return [TileStream(np.zeros_like(t.codes), t.sources, t.coarser, t.labels, t.tilings) for t in tiles]


@pytest.mark.parametrize("level", ["top", "bottom"])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_tiles_come_back(codec, level, batch_size):
    coder = PriorCoder(codec.models.prior(level), batch_size)
    tiles = tiles_of(codec, level)
    decoded = blank(tiles)
    coder.decode_tiles(decoded, coder.encode_tiles(tiles))
    for found, expected in zip(decoded, tiles, strict=True):
        assert found.failure is None
        assert (found.codes == expected.codes).all()


def test_segment_does_not_depend_on_the_streams_beside_it(codec):
    coder = PriorCoder(codec.models.prior("bottom"), 4)
    tiles = tiles_of(codec, "bottom")
    assert coder.encode_tiles(tiles) == [coder.encode_tiles([each])[0] for each in tiles]


def test_failed_stream_leaves_the_streams_beside_it_as_they_are(codec):
    coder = PriorCoder(codec.models.prior("bottom"), 16)
    tiles = tiles_of(codec, "bottom")
    segments = coder.encode_tiles(tiles)
    segments[1] = b"\xff" * 40
    decoded = blank(tiles)
    coder.decode_tiles(decoded, segments)
    assert isinstance(decoded[1].failure, BitstreamError)
    for index in (0, 2, 3, 4):
        assert (decoded[index].codes == tiles[index].codes).all()


def test_caller_in_autocast_changes_nothing(codec):
    coder = PriorCoder(codec.models.prior("bottom"), 16)
    tiles = tiles_of(codec, "bottom", 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        segments = coder.encode_tiles(tiles)
    assert segments == coder.encode_tiles(tiles)


def test_codes_beyond_the_edge_are_not_written(codec):
    coder = PriorCoder(codec.models.prior("top"), 16)
    codes = random_codes(codec, 12, 4)  # 3 codes in two tiles of 4
    stream = stream_of([codes])
    tiles = TileStream.of(codec.models.prior("top"), level_stream(codec.models, stream, "top"))
    assert tiles.codes.size == 8
    decoded = blank([tiles])
    coder.decode_tiles(decoded, coder.encode_tiles([tiles]))
    assert (decoded[0].codes == tiles.codes).all()
    assert len(coder.encode_tiles([tiles])[0]) <= 3 * 24 / 8 + 1


@given(st.lists(st.integers(1, 12), max_size=8), st.integers(1, 5))
def test_runs_keep_the_groups_of_a_stream_together_and_in_order(counts, batch_size):
    streams = []
    for n in counts:
        zeros = np.zeros((n, 1), dtype=np.int64)
        streams.append(TileStream(zeros[..., None], zeros, None, zeros[:, 0], []))
    runs = list(_runs(streams, batch_size))
    assert all(0 < len(rows) <= batch_size for rows in runs)
    assert [row for rows in runs for row in rows] == [(i, t) for i, n in enumerate(counts) for t in range(n)]
    for rows in runs:
        for index in {index for index, _ in rows}:
            tiles = [tile for each, tile in rows if each == index]
            assert tiles[0] % batch_size == 0
            assert len(tiles) == min(batch_size, counts[index] - tiles[0])


def test_tiles_have_the_coarser_tiles_and_the_labels_of_its_images(codec):
    images = varied_codes(codec, 5)
    tiles = TileStream.of(codec.models.prior("bottom"), level_stream(codec.models, stream_of(images), "bottom"))
    counts = [-(-each.shape.width // 8) * -(-each.shape.height // 8) for each in images]
    assert tiles.codes.shape == (sum(counts), 4, 4)
    assert tiles.coarser.shape == (sum(counts), 2, 2)
    assert tiles.labels.tolist() == [
        -1 if e.shape.label is None else e.shape.label for e, n in zip(images, counts, strict=True) for _ in range(n)
    ]
    assert (tiles.coarser[0] == images[0].grids["top"]).all()


def test_batch_size_shrinks_with_the_grid():
    assert [canonical_batch_size(side * side) for side in (1, 8, 16, 32, 64)] == [16, 16, 4, 1, 1]
