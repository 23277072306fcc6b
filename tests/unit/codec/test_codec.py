import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_models import noise_picture, random_codes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from vqgen.codec import Codec, Coder, ImageCodes, ideal_bits, read_header
from vqgen.errors import BitstreamError, ConfigError, DataError, VQGenWarning

CODERS = ("packed", "static", "prior", "auto")


def unpacked(codec, data):
    found = codec.unpack([data])[0]
    if isinstance(found, BitstreamError):
        raise found
    return found


@pytest.mark.parametrize("num_levels", [1, 2, 3])
@pytest.mark.parametrize("coder", CODERS)
def test_codes_come_back_whatever_the_size(make_codec, num_levels, coder):
    codec = make_codec(num_levels)
    sizes = [(1, 1), (8, 8), (9, 7), (37, 1000), (1000, 1), (20, 33), (16, 16)]
    codes = [random_codes(codec, *size, seed=i, label=[None, 0, 2][i % 3]) for i, size in enumerate(sizes)]
    files = codec.pack(codes, codec.models.offered(coder), verify=False)
    for data, each, back in zip(files, codes, codec.unpack(files), strict=True):
        assert isinstance(back, ImageCodes)
        assert back.equals(each)
        coders = {level.coder for level in read_header(data)[0].levels}
        assert coder == "auto" or coders == {Coder[coder.upper()]}


@pytest.mark.parametrize("coder", CODERS)
def test_a_file_is_the_same_alone_and_in_company(codec, coder):
    codes = [random_codes(codec, 8 * (1 + i % 3), 8, seed=i) for i in range(16)]
    offered = codec.models.offered(coder)
    together = codec.pack(codes, offered)
    alone = [codec.pack([each], offered)[0] for each in codes]
    assert together == alone
    for data, each in zip(together, codes, strict=True):
        assert unpacked(codec, data).equals(each)
    assert all(a.equals(b) for a, b in zip(codec.unpack(alone), codes, strict=True))


def test_auto_takes_the_shortest_for_each_level(codec):
    codes = [random_codes(codec, 24, 24, seed=i) for i in range(4)]
    by_coder = {c: codec.pack(codes, codec.models.offered(c)) for c in CODERS}
    for index in range(4):
        lengths = {c: [level.length for level in read_header(by_coder[c][index])[0].levels] for c in CODERS}
        assert lengths["auto"] == [min(lengths[c][i] for c in CODERS[:3]) for i in range(2)]


@pytest.mark.parametrize("coder", ["static", "prior"])
def test_the_length_is_near_the_ideal(codec, coder):
    codes = random_codes(codec, 160, 160, label=1)
    data = codec.pack([codes], codec.models.offered(coder))[0]
    for level, header in zip(codec.models.levels, read_header(data)[0].levels, strict=True):
        ideal = ideal_bits(codec.models, codes, level, Coder[coder.upper()], 1) / 8
        assert ideal - 1 < header.length < 1.005 * ideal + 5


def test_the_ideal_of_the_prior_is_its_log_likelihood(codec):
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(3)]
    coarser = None
    for level in codec.models.levels:
        grids = torch.from_numpy(np.stack([each.grids[level] for each in codes]))
        prior = codec.models.prior(level)
        nats = -prior.log_likelihood(grids, torch.full((3,), 2), prior.encode_condition(coarser)).detach()
        found = [ideal_bits(codec.models, each, level, Coder.PRIOR, 2) for each in codes]
        assert np.allclose(found, nats / np.log(2), rtol=1e-9)
        coarser = grids


def test_the_label_of_the_shortest_code(codec):
    codes = codec.encode([noise_picture(8, 8, seed=i) for i in range(6)], label="auto")
    for each in codes:
        bits = {
            label: sum(ideal_bits(codec.models, each, level, Coder.PRIOR, label) for level in each.grids)
            for label in (None, 0, 1, 2)
        }
        assert each.shape.label == min(bits, key=bits.__getitem__)
    assert len({each.shape.label for each in codes}) > 1
    assert codec.encode([noise_picture(8, 8)], label="dog")[0].shape.label == 1
    with pytest.raises(DataError, match="'fish'"):
        codec.encode([noise_picture(8, 8)], label="fish")


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
    told = [str(each.message) for each in caught if each.category is VQGenWarning]
    assert len(told) == (channels == 1 and mode.startswith("RGB"))


def test_the_picture_is_the_reconstruction(codec):
    picture = noise_picture(16, 24)
    codes = codec.encode([picture])[0]
    from vqgen.codes import Codes
    from vqgen.data import to_uint8

    grids = Codes({level: torch.from_numpy(grid)[None] for level, grid in codes.grids.items()})
    with torch.no_grad():
        expected = to_uint8(codec.parts.vqvae.decode(grids))[0, 0].numpy()
    assert (np.asarray(codec.decompress(codec.compress([picture]))[0]) == expected).all()


def test_the_edge_is_repeated_where_the_size_is_no_multiple(codec):
    picture = noise_picture(5, 3)
    padded = Image.fromarray(np.pad(np.asarray(picture), ((0, 1), (0, 3)), mode="edge"))
    small, large = codec.encode([picture, padded])
    assert all(np.array_equal(small.grids[level], large.grids[level]) for level in small.grids)


# What is refused


def test_a_file_of_another_model_is_refused(make_codec):
    codec, other = make_codec(seed=0), make_codec(seed=1)
    for coder in CODERS[:3]:
        data = codec.pack([random_codes(codec, 8, 8)], codec.models.offered(coder))[0]
        with pytest.raises(BitstreamError, match=r"made with VQ-VAE \w{16}, and pipeline 'tiny' has \w{16}"):
            other.decompress([data])


def test_a_file_of_another_prior_is_refused(make_codec):
    codec, other = make_codec(), make_codec()
    data = codec.pack([random_codes(codec, 8, 8)], codec.models.offered("prior"))[0]
    with torch.no_grad():
        other.parts.priors["bottom"].rows.add_(0.1)
    with pytest.raises(BitstreamError, match="made with another prior"):
        other.decompress([data])
    del other.parts.priors["bottom"]
    with pytest.raises(BitstreamError, match="level bottom is coded with a prior, which pipeline 'tiny' lacks"):
        Codec(other.parts, other.compute).decompress([data])


def test_a_shape_that_would_take_more_memory_than_any_that_is_written_is_refused(codec):
    data = bytearray(codec.pack([random_codes(codec, 8, 8)], codec.models.offered("prior"))[0])
    assert data[26] == codec.models.batch_size == 16
    data[26] = 17
    data[52:56] = zlib.crc32(data[:52]).to_bytes(4, "little")
    with pytest.raises(BitstreamError, match="with at most 16 tiles at once, found 17"):
        codec.decompress([bytes(data)])


def test_coders_that_lack_their_model(make_codec):
    codec = make_codec()
    static = codec.pack([random_codes(codec, 8, 8)], codec.models.offered("static"))[0]
    codec.parts.frequencies, codec.parts.priors = {}, {}
    assert codec.models.offered("auto") == {Coder.PACKED}
    for coder in ("static", "prior"):
        with pytest.raises(ConfigError, match=rf"coder: {coder} needs .* none for top, bottom; `vqgen"):
            codec.compress([noise_picture(8, 8)], coder=coder)
    with pytest.raises(BitstreamError, match="which pipeline 'tiny' lacks"):
        codec.decompress([static])
    with pytest.raises(ConfigError, match="label: auto needs priors"):
        codec.compress([noise_picture(8, 8)], label="auto")
    with pytest.raises(ConfigError, match=r"coder: should be one of auto, packed, static, prior, found 'zip'"):
        codec.compress([noise_picture(8, 8)], coder="zip")


def test_what_does_not_decode_to_its_codes_is_written_without_the_prior(codec, monkeypatch):
    """The prior of this machine changes between writing and checking, as that of another machine might."""
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(3)]
    from vqgen.codec import prior_coder

    exact, calls = prior_coder.frequencies_of_logits, [0]

    def shaky(logits):
        calls[0] += 1
        return exact(logits if calls[0] <= 14 else logits + torch.rand_like(logits))

    monkeypatch.setattr(prior_coder, "frequencies_of_logits", shaky)
    with pytest.warns(VQGenWarning, match="3 of 3 images did not decode to the same codes"):
        files = codec.pack(codes, codec.models.offered("prior"))
    for data, each in zip(files, codes, strict=True):
        assert Coder.PRIOR not in {level.coder for level in read_header(data)[0].levels}
        assert unpacked(codec, data).equals(each)


def test_one_bad_file_does_not_spoil_the_others(codec):
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(5)]
    files = codec.pack(codes, codec.models.offered("prior"))
    broken = bytearray(files[2])
    broken[-1] ^= 0x55
    found = codec.unpack([*files[:2], bytes(broken), *files[3:], b"junk"])
    assert [isinstance(each, BitstreamError) for each in found] == [False, False, True, False, False, True]
    assert found[4].equals(codes[4])
    with pytest.raises(BitstreamError, match="file 3 of 5: "):
        codec.decompress([*files[:2], bytes(broken), *files[3:]])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_gives_the_original_codes_or_an_error(codec, data):
    coder = data.draw(st.sampled_from(CODERS[:3]))
    codes = replace(random_codes(codec, 19, 9, label=1), alpha=None)
    file = bytearray(codec.pack([codes], codec.models.offered(coder), verify=False)[0])
    at = data.draw(st.integers(0, len(file) - 1))
    if data.draw(st.booleans()):
        file[at] ^= data.draw(st.integers(1, 255))
    else:
        file = file[:at] + data.draw(st.binary(max_size=9)) + file[at + data.draw(st.integers(0, 9)) :]
    found = codec.unpack([bytes(file)])[0]
    assert isinstance(found, BitstreamError) or found.equals(codes)


def test_too_large_and_nothing_at_all(codec, monkeypatch):
    with pytest.raises(DataError, match="at least one, found none"):
        codec.compress([])
    with pytest.raises(DataError, match=r"no side above 65535, found 70000 x 1"):
        codec.compress([Image.new("L", (70000, 1))])
    with pytest.raises(ConfigError, match="alpha: should be one of drop, keep, found 'blend'"):
        codec.compress([noise_picture(4, 4)], alpha="blend")
