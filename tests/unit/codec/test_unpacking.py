"""Whole, cut and damaged files, with all levels and with some of them."""

from dataclasses import replace

import numpy as np
import pytest
from codec_models import CODERS, noise_picture, random_codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqgen.codec import Codec, FileStart, ImageCodes, read_header
from vqgen.errors import BitstreamError
from vqgen.runtime.compute import Compute


def with_alpha(codes: ImageCodes) -> ImageCodes:
    shape = codes.shape
    plane = np.random.default_rng(0).bytes(shape.width * shape.height)
    return replace(codes, shape=replace(shape, has_alpha=True), alpha=plane)


def written(codec: Codec, codes: ImageCodes, coder: str) -> bytes:
    return codec.pack([codes], codec.models.offered(coder), verify=False)[0]


def same_levels(found: ImageCodes, codes: ImageCodes, levels: tuple[str, ...]) -> bool:
    return found.levels == levels and all(np.array_equal(found.grids[level], codes.grids[level]) for level in levels)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", CODERS)
def test_file_cut_at_any_byte_gives_its_whole_levels_or_an_error(make_codec, num_levels, coder):
    codec = make_codec(num_levels)
    codes = with_alpha(random_codes(codec, 9, 7, label=1))
    data = written(codec, codes, coder)
    header, _ = read_header(data)
    cut = [data[:size] for size in range(len(data))]
    assert all(isinstance(each, BitstreamError) for each in codec.unpack(cut))
    for size, found in enumerate(codec.unpack(cut, allow_partial=True)):
        whole = codec.models.levels[: sum(end <= size for end in header.ends)]
        if not whole:
            assert isinstance(found, BitstreamError)
            continue
        assert isinstance(found, ImageCodes)
        assert same_levels(found, codes, whole)
        assert found.alpha is None
        assert found.cut is not None and f"has {', '.join(whole)} whole" in found.cut
    (found,) = codec.unpack([data], allow_partial=True)
    assert isinstance(found, ImageCodes) and found.equals(codes) and found.cut is None


@pytest.mark.parametrize("coder", CODERS)
def test_levels_of_a_whole_file_are_those_of_all_its_codes(make_codec, coder):
    codec = make_codec(3)
    codes = with_alpha(random_codes(codec, 20, 33, label=2))
    data = written(codec, codes, coder)
    for levels in (("top",), ("middle",), ("top", "middle"), ("bottom",), ("middle", "bottom")):
        (found,) = codec.unpack([data], levels)
        assert isinstance(found, ImageCodes)
        assert same_levels(found, codes, levels)
        # The alpha plane stands behind the finest level, and comes with it.
        assert found.alpha == (codes.alpha if levels[-1] == "bottom" else None)
        assert found.cut is None


def test_bytes_behind_the_levels_are_not_needed(codec):
    data = written(codec, random_codes(codec, 20, 9, label=1), "prior")
    end = read_header(data)[0].ends[0]
    (expected,) = codec.unpack([data], ["top"])
    (found,) = codec.unpack([FileStart(data[:end], len(data))], ["top"])
    assert found.equals(expected)
    (found,) = codec.unpack([data[:end] + bytes(255 - each for each in data[end:])], ["top"])
    assert found.equals(expected)
    (found,) = codec.unpack([FileStart(data[: end - 1], len(data))], ["top"])
    assert isinstance(found, BitstreamError)  # and not a level of which a part is read as zeros


def test_cut_file_is_an_error_without_the_permission_even_if_its_levels_are_whole(codec):
    data = written(codec, random_codes(codec, 20, 9), "packed")
    for size in (len(data) - 1, len(data) + 1):
        (found,) = codec.unpack([data.ljust(size, b"\0")[:size]], ["top"])
        assert isinstance(found, BitstreamError)
    (found,) = codec.unpack([data + b"\0"], allow_partial=True)
    assert isinstance(found, BitstreamError) and "too long" in str(found)


def test_cut_file_is_told_even_if_the_levels_that_are_asked_for_are_whole(make_codec):
    codec = make_codec(3)
    data = written(codec, random_codes(codec, 20, 9), "packed")
    (found,) = codec.unpack([data[:-1]], ["top"], allow_partial=True)
    assert found.levels == ("top",)
    assert "of its levels top, middle, bottom it has top, middle whole" in found.cut


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_file_gives_the_original_codes_or_an_error_with_the_permission_too(codec, data):
    codes = random_codes(codec, 19, 9, label=1)
    file = bytearray(written(codec, codes, data.draw(st.sampled_from(CODERS[:3]))))
    file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    (found,) = codec.unpack([bytes(file)], allow_partial=True)
    assert isinstance(found, BitstreamError) or (found.equals(codes) and found.cut is None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_and_cut_file_is_never_a_picture_without_a_mark(codec, data):
    """The header has a CRC-32 of its own; no checksum covers a level, so a preview is marked as such."""
    codes = random_codes(codec, 19, 9, label=1)
    file = bytearray(written(codec, codes, data.draw(st.sampled_from(CODERS[:3]))))
    begin = read_header(bytes(file))[1]
    size = data.draw(st.integers(0, len(file) - 1))
    at = data.draw(st.integers(0, max(0, size - 1)))
    file[at] ^= data.draw(st.integers(1, 255))
    (found,) = codec.unpack([bytes(file[:size])], allow_partial=True)
    if at < begin or isinstance(found, BitstreamError):
        assert isinstance(found, BitstreamError)
    else:
        assert found.cut is not None


@pytest.mark.parametrize("coder", CODERS[:3])
def test_damage_to_a_header_is_an_error_for_every_choice_of_levels(codec, coder):
    data = written(codec, random_codes(codec, 9, 7, label=1), coder)
    begin = read_header(data)[1]
    flipped = [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in range(begin)]
    for levels in (["top"], ["bottom"], None):
        found = codec.unpack(flipped, levels, allow_partial=True)
        assert all(isinstance(each, BitstreamError) for each in found)


def test_files_of_version_2_have_a_preview_for_each_of_their_grids(make_parts):
    codec = Codec(make_parts(quantizer={"depth": 2}), Compute.resolve("cpu"))
    assert codec.models.levels == ("top", "top-2", "bottom", "bottom-2")
    (data,) = codec.compress(noise_picture(20, 9), coder="packed")
    header, _ = read_header(data)
    assert header.version == 2
    for count, end in enumerate(header.ends[:-1], start=1):
        (found,) = codec.unpack([data[:end]], allow_partial=True)
        assert found.levels == codec.models.levels[:count]
        (expected,) = codec.decompress(data, codec.models.levels[:count])
        assert codec.decode([found])[0].tobytes() == expected.tobytes()


def test_files_of_different_cuts_come_back_side_by_side(make_codec):
    codec = make_codec(3)
    codes = [random_codes(codec, 20, 9, seed=number) for number in range(4)]
    files = [written(codec, each, "prior") for each in codes]
    ends = read_header(files[0])[0].ends
    cut = [files[0], files[1][: ends[0]], files[2][: read_header(files[2])[0].ends[1]], files[3][:60]]
    found = codec.unpack(cut, allow_partial=True)
    assert found[0].equals(codes[0])
    assert same_levels(found[1], codes[1], ("top",)) or isinstance(found[1], BitstreamError)
    assert same_levels(found[2], codes[2], ("top", "middle"))
    assert isinstance(found[3], BitstreamError)
