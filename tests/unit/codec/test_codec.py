import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_models import CODERS, decoded, noise_picture, random_codes
from PIL import Image
from tiny_models import make_prior

from vqgen.codec import Codec, Coder, ImageCodes, prior_coder, read_header
from vqgen.codes import Codes
from vqgen.data import to_uint8
from vqgen.errors import BitstreamError, ConfigError, DataError, VQGenWarning


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("num_levels", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("coder", CODERS)
def test_codes_of_every_size_come_back(make_codec, num_levels, coder):
    codec = make_codec(num_levels)
    sizes = [(1, 1), (8, 8), (9, 7), (37, 1000), (1000, 1), (20, 33), (16, 16)]
    codes = [random_codes(codec, *size, seed=i, label=[None, 0, 2][i % 3]) for i, size in enumerate(sizes)]
    files = codec.pack(codes, codec.models.offered(coder), verify=False)
    for data, each, back in zip(files, codes, codec.unpack(files), strict=True):
        assert isinstance(back, ImageCodes)
        assert back.equals(each)
        coders = {level.coder for level in read_header(data)[0].levels}
        assert coder == "auto" or coders == {Coder[coder.upper()]}


@pytest.mark.slow
@pytest.mark.parametrize("coder", CODERS)
def test_file_is_the_same_alone_and_in_company(codec, coder):
    codes = [random_codes(codec, 8 * (1 + i % 3), 8, seed=i) for i in range(16)]
    offered = codec.models.offered(coder)
    together = codec.pack(codes, offered)
    alone = [codec.pack([each], offered)[0] for each in codes]
    assert together == alone
    for data, each in zip(together, codes, strict=True):
        assert decoded(codec, data).equals(each)
    assert all(a.equals(b) for a, b in zip(codec.unpack(alone), codes, strict=True))


# Pictures


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
@pytest.mark.parametrize("alpha", ["drop", "keep"])
def test_size_colours_and_alpha_come_back(make_codec, channels, mode, alpha):
    codec = make_codec(image_channels=channels)
    pictures = [noise_picture(*size, mode, seed=i) for i, size in enumerate([(1, 1), (13, 6), (8, 8)])]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VQGenWarning)
        back = codec.decompress(codec.compress(pictures, alpha=alpha))
    keeps = alpha == "keep" and mode.endswith("A")
    expected = ("RGB" if mode.startswith("RGB") and channels == 3 else "L") + "A" * keeps
    for picture, restored in zip(pictures, back, strict=True):
        assert restored.size == picture.size
        assert restored.mode == expected
        if keeps:
            assert restored.getchannel("A").tobytes() == picture.getchannel("A").tobytes()
    messages = [str(each.message) for each in caught if each.category is VQGenWarning]
    assert len(messages) == (channels == 1 and mode.startswith("RGB"))


def test_picture_is_the_reconstruction(codec):
    picture = noise_picture(16, 24)
    codes = codec.encode([picture])[0]
    grids = Codes({level: torch.from_numpy(grid)[None] for level, grid in codes.grids.items()})
    with torch.no_grad():
        expected = to_uint8(codec.parts.vqvae.decode(grids))[0, 0].numpy()
    assert (np.asarray(codec.decompress(codec.compress([picture]))[0]) == expected).all()


def test_edge_is_repeated_up_to_a_multiple_of_the_stride(codec):
    picture = noise_picture(5, 3)
    padded = Image.fromarray(np.pad(np.asarray(picture), ((0, 1), (0, 3)), mode="edge"))
    small, large = codec.encode([picture, padded])
    assert all(np.array_equal(small.grids[level], large.grids[level]) for level in small.grids)


# Verification and refusals


def test_files_that_decode_to_other_codes_are_written_without_the_prior(codec, monkeypatch):
    """The prior of this machine changes between writing and checking, as that of another machine might."""
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(3)]
    exact = prior_coder.frequencies_of_logits
    calls = [0]

    def shaky(logits):
        calls[0] += 1
        return exact(logits if calls[0] <= 14 else logits + torch.rand_like(logits))

    monkeypatch.setattr(prior_coder, "frequencies_of_logits", shaky)
    with pytest.warns(VQGenWarning, match="3 of 3 images did not decode to the same codes"):
        files = codec.pack(codes, codec.models.offered("prior"))
    for data, each in zip(files, codes, strict=True):
        assert Coder.PRIOR not in {level.coder for level in read_header(data)[0].levels}
        assert decoded(codec, data).equals(each)


def test_bad_file_leaves_the_files_beside_it_as_they_are(codec):
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(5)]
    files = codec.pack(codes, codec.models.offered("prior"))
    broken = bytearray(files[2])
    broken[-1] ^= 0x55
    found = codec.unpack([*files[:2], bytes(broken), *files[3:], b"junk"])
    assert [isinstance(each, BitstreamError) for each in found] == [False, False, True, False, False, True]
    assert found[4].equals(codes[4])
    with pytest.raises(BitstreamError, match="file 3 of 5: "):
        codec.decompress([*files[:2], bytes(broken), *files[3:]])


def test_pictures_that_are_missing_or_too_large_are_refused(codec):
    with pytest.raises(DataError, match="at least one, found none"):
        codec.compress([])
    with pytest.raises(DataError, match=r"no side above 65535, found 70000 x 1"):
        codec.compress([Image.new("L", (70000, 1))])
    with pytest.raises(ConfigError, match="alpha: should be one of drop, keep, found 'blend'"):
        codec.compress([noise_picture(4, 4)], alpha="blend")


def test_files_without_a_label_are_warned_of_once_if_no_prior_ever_saw_such_an_image(make_codec, recwarn):
    codec = make_codec(2)
    codec.parts.priors = {level: make_prior(level, label_dropout=0.0).eval() for level in codec.models.levels}
    codec = Codec(codec.parts, codec.compute)
    with pytest.warns(VQGenWarning, match=r"label: found none, and the priors \(top, bottom\) were trained with"):
        without = codec.compress(noise_picture(8, 8))
    codec.compress(noise_picture(8, 8))
    codec.compress(noise_picture(8, 8), label="auto")
    assert len(recwarn) == 0
    assert codec.decompress(without)[0].size == (8, 8)


@pytest.mark.usefixtures("unchecked_annotations")
def test_bytes_like_objects_are_files(codec):
    (data,) = codec.compress(noise_picture(9, 8))
    (picture,) = codec.decompress([data])
    flat = np.frombuffer(data, dtype=np.uint8)
    for files in (data, bytearray(data), memoryview(data), flat, [bytearray(data)], (memoryview(data),), iter([flat])):
        assert codec.decompress(files)[0].tobytes() == picture.tobytes()
    for wrong in ("a.vqg", Path("a.vqg"), ["a.vqg"], [Path("a.vqg")]):
        with pytest.raises(DataError, match=r"files: should be bytes, found .*; Path.* reads a file"):
            codec.decompress(wrong)
    with pytest.raises(DataError, match="files: should be at least one, found none"):
        codec.decompress([])
