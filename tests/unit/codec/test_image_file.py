import zlib
from dataclasses import replace

import numpy as np
import pytest
from codec_models import CODERS, decoded, random_codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqgen.codec.image_file import open_image_file, write_image_file
from vqgen.codec.segments import Stream, decode_streams, encode_streams
from vqgen.errors import BitstreamError


def write(codec, codes, coder="packed"):
    stream = Stream([codes.shape], {level: [grid] for level, grid in codes.grids.items()})
    segments = encode_streams(codec.models, [stream], codec.models.offered(coder))[0]
    return write_image_file(codec.models, codes, segments)


@pytest.mark.parametrize("coder", CODERS)
def test_opened_file_completes_to_the_image(codec, coder):
    codes = random_codes(codec, 9, 20, label=2)
    codes = replace(codes, shape=replace(codes.shape, has_alpha=True), alpha=np.random.default_rng(0).bytes(180))
    opened = open_image_file(codec.models, write(codec, codes, coder))
    assert opened.stream.shapes == [codes.shape]
    grids = decode_streams(codec.models, [opened.stream], codec.models.batch_size)[0]
    assert opened.checked(grids).equals(codes)
    with pytest.raises(BitstreamError, match="codes of an image differ"):
        opened.checked({**grids, "top": [grids["top"][0] ^ 1]})
    with pytest.raises(BitstreamError, match="alpha plane is damaged"):
        replace(opened, alpha_segment=b"junk").checked(grids)


def test_grids_of_another_size_than_the_image_are_refused(codec):
    data = bytearray(write(codec, random_codes(codec, 8, 8)))
    data[6] = 9  # a column more, which needs a column of codes more
    data[52:56] = zlib.crc32(data[:52]).to_bytes(4, "little")
    with pytest.raises(BitstreamError, match=r"grids should be \[\(2, 3\), \(4, 6\)\] for its size, found \[\(2, 2\)"):
        open_image_file(codec.models, bytes(data))


def test_batch_that_needs_more_memory_than_any_that_is_written_is_refused(codec):
    data = bytearray(write(codec, random_codes(codec, 8, 8), "prior"))
    assert data[26] == codec.models.batch_size == 16
    data[26] = 17
    data[52:56] = zlib.crc32(data[:52]).to_bytes(4, "little")
    with pytest.raises(BitstreamError, match="at most 16 tiles at a time, found 17"):
        decoded(codec, bytes(data))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file_gives_the_original_codes_or_an_error(codec, data):
    codes = random_codes(codec, 19, 9, label=1)
    file = bytearray(write(codec, codes, data.draw(st.sampled_from(CODERS[:3]))))
    at = data.draw(st.integers(0, len(file) - 1))
    if data.draw(st.booleans()):
        file[at] ^= data.draw(st.integers(1, 255))
    else:
        file = file[:at] + data.draw(st.binary(max_size=9)) + file[at + data.draw(st.integers(0, 9)) :]
    found = codec.unpack([bytes(file)])[0]
    assert isinstance(found, BitstreamError) or found.equals(codes)
