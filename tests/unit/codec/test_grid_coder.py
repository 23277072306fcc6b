import threading

import numpy as np
import pytest
import torch
from codec_models import decoded, random_codes, stream_of, write_archive

from vqgen.codec import c_fixed, ideal_bits
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.fixed_prior import FixedPrior
from vqgen.codec.grid_coder import GridCoder, _groups, _runs, _shares
from vqgen.codec.header import Coder, ComputeType, read_header
from vqgen.codec.level_stream import LevelStream
from vqgen.codec.segments import CodedStream, decode_streams, encode_streams, level_stream
from vqgen.errors import BitstreamError

PRIOR = frozenset({Coder.PRIOR})
SIZES = [(8, 8), (24, 16), (1, 1), (24, 16), (3, 33), (8, 8), (8, 8)]


@pytest.fixture(params=[1, 2, pytest.param(3, marks=pytest.mark.slow)])
def whole(make_codec, request):
    """A codec whose priors treat all places alike."""
    return make_codec(request.param, priors={"positions": "none", "attention_every": 0})


def images_of(codec):
    return [random_codes(codec, *size, seed=i, label=[None, 0, 2][i % 3]) for i, size in enumerate(SIZES)]


def test_files_of_all_sizes_decode_to_their_codes_alone_and_together(whole):
    images = images_of(whole)
    files = whole.pack(images, PRIOR, verify=False)
    for data, image in zip(files, images, strict=True):
        header, _ = read_header(data)
        assert header.compute_type is ComputeType.FIXED
        assert {level.coder for level in header.levels} == {Coder.PRIOR}
        assert decoded(whole, data).equals(image)
    assert all(found.equals(image) for found, image in zip(whole.unpack(files), images, strict=True))


def test_file_does_not_depend_on_the_pictures_beside_it(whole):
    images = images_of(whole)
    together = whole.pack(images, PRIOR, verify=False)
    assert together == [whole.pack([image], PRIOR, verify=False)[0] for image in images]
    assert together[::-1] == whole.pack(images[::-1], PRIOR, verify=False)


@pytest.mark.parametrize("cores", [2, 3, 50])
def test_files_are_the_same_in_any_number_of_threads(whole, set_cores, monkeypatch, cores):
    images = images_of(whole)
    expected = whole.pack(images, PRIOR, verify=False)
    bits = [ideal_bits(whole.models, image, "bottom", Coder.PRIOR) for image in images]
    set_cores(cores)
    used = set()
    real = FixedPrior.embed_labels
    monkeypatch.setattr(
        FixedPrior, "embed_labels", lambda prior, labels: used.add(threading.get_ident()) or real(prior, labels)
    )
    assert whole.pack(images, PRIOR, verify=False) == expected
    assert all(found.equals(image) for found, image in zip(whole.unpack(expected), images, strict=True))
    assert [ideal_bits(whole.models, image, "bottom", Coder.PRIOR) for image in images] == bits
    assert torch.get_num_threads() == cores
    if c_fixed.library() is not None:
        assert len(used) > 1


@pytest.mark.parametrize(
    ("sizes", "count", "ends"),
    [
        ([4, 4, 4, 4], 2, [2, 4]),
        ([9, 1, 1, 1], 2, [1, 4]),
        ([1, 1, 1, 9], 2, [3, 4]),
        ([1, 2], 5, [1, 2]),
        ([7], 3, [1]),
        ([5, 5, 5], 1, [3]),
    ],
)
def test_threads_share_codes_and_not_pictures(sizes, count, ends):
    streams = [LevelStream([np.zeros((size, 3), np.int64)], None, [-1]) for size in sizes]
    shares = _shares(streams, count)
    assert [share.stop for share in shares] == ends
    assert [share.start for share in shares] == [0, *ends[:-1]]


def test_error_of_a_thread_is_raised(whole, set_cores, monkeypatch):
    set_cores(2)

    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(FixedPrior, "embed_labels", fail)
    with pytest.raises(MemoryError):
        whole.pack(images_of(whole), PRIOR)
    assert torch.get_num_threads() == 2


def test_length_of_a_segment_is_the_ideal_one_but_for_its_last_word(whole):
    for image in images_of(whole):
        (segments,) = encode_streams(whole.models, [stream_of([image])], PRIOR)
        for level, segment in segments.items():
            bits = ideal_bits(whole.models, image, level, Coder.PRIOR, image.shape.label)
            assert -8 <= 8 * len(segment.data) - bits < 40


def test_label_and_coarser_codes_change_the_length(make_codec):
    codec = make_codec(priors={"positions": "none", "attention_every": 0})
    image = random_codes(codec, 40, 24, seed=1)
    by_label = {ideal_bits(codec.models, image, "top", Coder.PRIOR, label) for label in (None, 0, 1, 2)}
    assert len(by_label) == 4
    other = random_codes(codec, 40, 24, seed=2)
    mixed = type(image)(image.shape, {"top": other.grids["top"], "bottom": image.grids["bottom"]})
    assert ideal_bits(codec.models, image, "bottom", Coder.PRIOR) != ideal_bits(
        codec.models, mixed, "bottom", Coder.PRIOR
    )


def test_broken_segment_leaves_the_streams_beside_it_as_they_are(whole):
    images = images_of(whole)
    segments = encode_streams(whole.models, [stream_of([each]) for each in images], PRIOR)
    broken = dict(segments[1])
    first = whole.models.levels[0]
    broken[first] = type(broken[first])(Coder.PRIOR, bytes(200))
    streams = [CodedStream([e.shape], broken if i == 1 else segments[i]) for i, e in enumerate(images)]
    found = decode_streams(whole.models, streams, 1)
    for index, (grids, image) in enumerate(zip(found, images, strict=True)):
        if index == 1:
            assert isinstance(grids, BitstreamError) or any(
                not np.array_equal(grids[level][0], image.grids[level]) for level in grids
            )
        else:
            assert all(np.array_equal(grids[level][0], image.grids[level]) for level in grids)


def test_images_of_a_block_are_one_stream(whole, tmp_path):
    images = images_of(whole)
    path = tmp_path / "all.vqga"
    path.write_bytes(write_archive(whole, images, coder="prior"))
    with path.open("rb") as file:
        found = [codes for _, codes in ArchiveReader(file, whole)]
    assert all(each.equals(image) for each, image in zip(found, images, strict=True))


def test_neighbours_of_one_size_take_turns_and_runs_keep_the_order_of_each_stream(make_codec):
    codec = make_codec(priors={"positions": "none", "attention_every": 0})
    sizes = [(8, 8)] * 3 + [(16, 8)] + [(8, 8)]
    stream = level_stream(codec.models, stream_of([random_codes(codec, *size) for size in sizes]), "bottom")
    assert list(_groups(stream)) == [[0, 1, 2], [3], [4]]
    runs = list(_runs([stream, stream]))
    assert runs[0] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    for index in (0, 1):
        assert [image for run in runs for number, image in run if number == index] == [0, 1, 2, 3, 4]


def test_large_grids_go_alone():
    grids = [np.zeros((100, 100), dtype=np.int64)] * 3
    stream = LevelStream(grids, None, [-1] * 3)
    assert list(_groups(stream)) == [[0], [1], [2]]
    assert [len(run) for run in _runs([stream] * 10)] == [6, 4] * 3


@pytest.mark.parametrize("compute_type", [ComputeType.FLOAT64, ComputeType.FIXED])
def test_other_arithmetic_than_that_of_the_priors_is_refused(make_codec, compute_type):
    alike = {"positions": "none", "attention_every": 0}
    writer = make_codec(priors=alike if compute_type is ComputeType.FIXED else None)
    (data,) = writer.pack([random_codes(writer, 8, 8)], PRIOR)
    header, _ = read_header(data)
    assert header.compute_type is compute_type
    reader = make_codec(priors=None if compute_type is ComputeType.FIXED else alike)
    with pytest.raises(BitstreamError):
        decoded(reader, data)


def test_coder_of_a_single_position(make_codec):
    codec = make_codec(1, priors={"positions": "none", "attention_every": 0})
    stream = level_stream(codec.models, stream_of([random_codes(codec, 4, 4, label=1)]), "bottom")
    (data,) = GridCoder(codec.models.fixed_prior("bottom")).encode([stream])
    again = level_stream(codec.models, stream_of([random_codes(codec, 4, 4, seed=9, label=1)]), "bottom")
    GridCoder(codec.models.fixed_prior("bottom")).decode([again], [data])
    assert np.array_equal(again.grids[0], stream.grids[0])
