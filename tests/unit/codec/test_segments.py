import numpy as np
import pytest
from codec_models import CODERS, random_codes, stream_of, varied_codes

from vqgen.codec import Coder, read_header
from vqgen.codec.header import CODES_PER_BYTE
from vqgen.codec.segments import CodedStream, Segment, Stream, decode_streams, encode_streams
from vqgen.errors import BitstreamError


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", CODERS)
def test_streams_of_one_and_of_many_images_come_back(make_codec, num_levels, coder):
    codec = make_codec(num_levels)
    images = varied_codes(codec, 7)
    streams = [stream_of(images[:4]), stream_of(images[4:5]), stream_of(images[5:])]
    segments = encode_streams(codec.models, streams, codec.models.offered(coder))
    coded = [CodedStream(stream.shapes, each) for stream, each in zip(streams, segments, strict=True)]
    for found, stream in zip(decode_streams(codec.models, coded, codec.models.batch_size), streams, strict=True):
        assert list(found) == list(codec.models.levels)
        for level, grids in stream.grids.items():
            assert all(np.array_equal(one, other) for one, other in zip(found[level], grids, strict=True))


@pytest.mark.parametrize("positions", ["learned", "none"])
def test_priors_that_see_several_grids_read_what_they_wrote(make_codec, positions):
    priors = {"positions": positions, "attention_every": 0}
    deep = {"quantizer": {"depth": [1, 3]}, "priors": priors}
    codec, narrow = (make_codec(conditioning_grids=count, **deep) for count in (8, 1))
    images = varied_codes(codec, 5)
    streams = [stream_of(images[:3]), stream_of(images[3:])]
    segments = encode_streams(codec.models, streams, frozenset({Coder.PRIOR}))
    coded = [CodedStream(stream.shapes, each) for stream, each in zip(streams, segments, strict=True)]
    for found, stream in zip(decode_streams(codec.models, coded, codec.models.batch_size), streams, strict=True):
        assert list(found) == ["top", "bottom", "bottom-2", "bottom-3"]
        for level, grids in stream.grids.items():
            assert all(np.array_equal(one, other) for one, other in zip(found[level], grids, strict=True))
    # The grid before the last one is no longer all that the last one depends on.
    changed = Stream(
        streams[0].shapes, {**streams[0].grids, "bottom": [(g + 1) % 16 for g in streams[0].grids["bottom"]]}
    )
    for each, differs in ((codec, True), (narrow, False)):
        one, other = encode_streams(each.models, [streams[0], changed], frozenset({Coder.PRIOR}))
        assert (one["bottom-3"] != other["bottom-3"]) is differs


@pytest.mark.parametrize("coder", CODERS)
def test_segments_are_the_same_alone_and_in_company(codec, coder):
    streams = [stream_of([each]) for each in varied_codes(codec, 6)]
    offered = codec.models.offered(coder)
    alone = [encode_streams(codec.models, [stream], offered)[0] for stream in streams]
    assert encode_streams(codec.models, streams, offered) == alone


def test_auto_takes_the_shortest_coder_for_each_level(codec):
    codes = [random_codes(codec, 24, 24, seed=i) for i in range(4)]
    by_coder = {c: codec.pack(codes, codec.models.offered(c)) for c in CODERS}
    for index in range(4):
        lengths = {c: [level.length for level in read_header(by_coder[c][index])[0].levels] for c in CODERS}
        assert lengths["auto"] == [min(lengths[c][i] for c in CODERS[:3]) for i in range(2)]


def test_short_segments_are_filled_up_with_zeros(make_codec):
    codec = make_codec(1)
    frequencies = codec.parts.frequencies["bottom"]
    frequencies[:] = 1
    frequencies[0] += 2**24 - 16  # code 0 takes nearly no bits
    shape = random_codes(codec, 200, 200).shape
    stream = Stream([shape], {"bottom": [np.zeros((50, 50), dtype=np.int64)]})
    segment = encode_streams(codec.models, [stream], frozenset({Coder.STATIC}))[0]["bottom"]
    assert segment.data == bytes(-(-2500 // CODES_PER_BYTE))
    found = decode_streams(codec.models, [CodedStream([shape], {"bottom": segment})], 1)[0]
    assert np.array_equal(found["bottom"][0], stream.grids["bottom"][0])


def test_damaged_stream_leaves_the_streams_beside_it_as_they_are(codec):
    streams = [stream_of([each]) for each in varied_codes(codec, 3)]
    for coder, damage in ((Coder.PACKED, b""), (Coder.PRIOR, b"\xff" * 30)):
        segments = encode_streams(codec.models, streams, frozenset({coder}))
        segments[1] |= {"top": Segment(coder, damage)}
        coded = [CodedStream(stream.shapes, each) for stream, each in zip(streams, segments, strict=True)]
        found = decode_streams(codec.models, coded, codec.models.batch_size)
        assert [isinstance(each, BitstreamError) for each in found] == [False, True, False]
        for index in (0, 2):
            assert all(np.array_equal(found[index][name][0], grids[0]) for name, grids in streams[index].grids.items())
