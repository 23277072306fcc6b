from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_models import decoded, noise_picture

from vqgen.codec.grid_coder import GridCoder
from vqgen.codec.header import Coder, read_header
from vqgen.codec.pictures import prepare_pictures
from vqgen.codec.rate_search import ChosenRate, _Costs, _middle, quality_for, weight_of
from vqgen.errors import ConfigError, DataError

QUALITIES = (100, 90, 70, 50, 30, 10, 1)
ALIKE = {"positions": "none", "attention_every": 0}


@pytest.fixture(params=["static", "prior"])
def coder(request):
    return request.param


@pytest.fixture
def searched(make_codec, coder):
    """A codec of one level, in which no choice changes the latents of another level."""
    return make_codec(1, priors=ALIKE)


def bits_and_distance(codec, picture, codes):
    """Returns the bits of codes and their squared distance to the latents, both of the only level."""
    with torch.no_grad():
        latents = codec.image_coder.latents(
            picture.size[1], picture.size[0], lambda part: pixels(picture)[None, None][:, :, part[0], part[1]], {}
        )
    entries = codec.parts.vqvae.quantizers[0].entries()[torch.from_numpy(codes.grids["bottom"])]
    return float((latents[0].permute(1, 2, 0) - entries).square().sum())


def pixels(picture):
    return torch.from_numpy(np.array(picture))


def test_weight_of_a_bit_grows_as_quality_falls():
    weights = [weight_of(quality) for quality in QUALITIES]
    assert weights[0] == 0
    assert weights == sorted(set(weights))


def test_files_get_shorter_and_pictures_worse_as_quality_falls(searched, coder):
    picture = noise_picture(40, 24, seed=3)
    codes = [searched.encode(picture, coder=coder, quality=quality)[0] for quality in QUALITIES]
    lengths = [len(data) for data in searched.pack(codes, frozenset({Coder[coder.upper()]}))]
    distances = [bits_and_distance(searched, picture, each) for each in codes]
    assert lengths[-1] < 0.95 * lengths[0]
    assert distances[-1] > 1.1 * distances[0]
    if coder == "static":  # a table is the same for all choices, so each step down can only save bits
        assert lengths == sorted(lengths, reverse=True)
        assert distances == sorted(distances)


def test_almost_best_quality_has_the_nearest_codes(searched, coder):
    picture = noise_picture(40, 24, seed=3)
    (nearest,) = searched.encode(picture)
    (almost,) = searched.encode(picture, coder=coder, quality=100 - 1e-9)
    assert almost.equals(nearest)


def test_files_of_priors_that_see_several_grids_decode_to_the_codes_that_were_chosen(make_codec):
    codec = make_codec(quantizer={"depth": [1, 3]}, priors=ALIKE, conditioning_grids=3)
    (chosen,) = codec.encode(noise_picture(24, 9, seed=1), coder="prior", quality=40)
    (data,) = codec.pack([chosen], frozenset({Coder.PRIOR}))
    assert decoded(codec, data).equals(chosen)
    # Written by the search on its way, and once more from the codes.
    assert codec.pack([replace(chosen, written=None)], frozenset({Coder.PRIOR})) == [data]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_files_decode_to_the_codes_that_were_chosen(make_codec, coder, levels):
    codec = make_codec(levels, priors=ALIKE)
    picture = noise_picture(33, 17, seed=1)
    (codes,) = codec.encode(picture, label=1, coder=coder, quality=30)
    (nearest,) = codec.encode(picture, label=1)
    assert codes.shape == nearest.shape
    assert not codes.equals(nearest)
    (data,) = codec.compress(picture, label=1, coder=coder, quality=30)
    assert {level.coder for level in read_header(data)[0].levels} == {Coder[coder.upper()]}
    assert decoded(codec, data).equals(codes)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_prior_writes_while_it_chooses(make_codec, monkeypatch, levels):
    codec = make_codec(levels, priors=ALIKE)
    picture = noise_picture(33, 17, seed=1)
    (codes,) = codec.encode(picture, label=1, coder="prior", quality=30)
    offered = codec.models.offered("prior")
    expected = codec.pack([replace(codes, written=None)], offered, verify=False)
    monkeypatch.setattr(GridCoder, "encode", None)
    assert codec.pack([codes], offered, verify=False) == expected
    assert codec.encode(picture, label=1)[0].written is None
    assert codec.encode(picture, label=1, coder="static", quality=30)[0].written is None


@pytest.mark.parametrize("weight", [0.0, 0.2, 5.0])
def test_static_choice_is_the_least_sum_at_each_position(make_codec, weight):
    codec = make_codec(1)
    latents = torch.randn(1, codec.parts.vqvae.config.embedding_dim, 3, 5)
    quantizer = codec.parts.vqvae.quantizers[0]
    bits = 24 - np.log2(codec.models.frequencies("bottom"))
    chosen = _Costs(quantizer, latents, error=3.0).cheapest(weight * bits)
    squares = (latents[0].permute(1, 2, 0)[:, :, None] - quantizer.entries()).square().sum(dim=3).detach().numpy()
    expected = (3 * squares + weight * bits).argmin(axis=2)
    assert np.array_equal(chosen, expected)


@pytest.mark.slow
def test_target_is_met_from_below(make_codec):
    codec = make_codec(2, priors=ALIKE)
    picture = noise_picture(48, 32, seed=2)
    sizes = [len(codec.compress(picture, coder="prior", quality=quality)[0]) for quality in (1, 100)]
    target = 8 * sum(sizes) / 2 / (48 * 32)
    (data,) = codec.compress(picture, coder="prior", target_bpp=target)
    assert 0.9 * target < 8 * len(data) / (48 * 32) <= target


def test_best_quality_below_a_target_is_found():
    assert quality_for(0.5, lambda quality: quality / 100) == pytest.approx(50, abs=0.6)
    assert quality_for(1.0, lambda quality: quality / 100) == 100
    assert quality_for(0.01, lambda quality: quality / 100) == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("target", [0.005, 1.1])
def test_target_out_of_reach_is_refused_with_the_range(target):
    with pytest.raises(DataError, match=r"should be from 0\.01 to 1 for this picture and model, found"):
        quality_for(target, lambda quality: quality / 100)


@pytest.mark.parametrize(
    ("quality", "target", "message"),
    [
        (0, None, "quality: should be from 1 to 100, found 0"),
        (100.5, None, "quality: should be from 1 to 100, found 100.5"),
        (float("nan"), None, "quality"),
        ("high", None, "quality"),
        (100, 0, "target_bpp: should be above 0, found 0"),
        (100, "small", "target_bpp"),
        (50, 0.3, "target_bpp: should be given without a quality, found quality 50"),
    ],
)
def test_wrong_rates_are_refused(quality, target, message):
    with pytest.raises(ConfigError, match=message):
        ChosenRate.of(quality, target)


@pytest.mark.parametrize(("priors", "coder"), [(None, "prior"), (ALIKE, "packed"), (None, "packed")])
def test_coder_that_cannot_tell_bits_in_time_is_refused(make_codec, priors, coder):
    codec = make_codec(priors=priors)
    with pytest.raises(ConfigError, match="quality, target_bpp: should be left out with this coder"):
        codec.compress(noise_picture(8, 8), coder=coder, quality=50)


def test_auto_searches_by_the_prior_that_codes_whole_pictures_and_else_by_the_table(make_codec):
    picture = noise_picture(40, 24, seed=3)
    for priors, expected in ((ALIKE, "prior"), (None, "static")):
        codec = make_codec(priors=priors)
        (found,) = codec.encode(picture, quality=40)
        (other,) = codec.encode(picture, quality=40, coder=expected)
        assert found.equals(other)


@pytest.mark.parametrize("errors", [(1e9, 0.0), (0.0, 1e9)])
def test_level_that_costs_no_pixels_takes_the_likeliest_codes_and_a_dear_one_the_best(make_codec, monkeypatch, errors):
    codec = make_codec(2)
    monkeypatch.setattr(codec.image_coder, "pixel_errors", lambda part: list(errors))
    picture = noise_picture(40, 24, seed=3)
    (nearest,) = codec.encode(picture)
    (found,) = codec.encode(picture, coder="static", quality=50)
    for level, error in zip(("top", "bottom"), errors, strict=True):
        if not error:
            assert (found.grids[level] == codec.models.frequencies(level).argmax()).all()
        elif level == "top":  # the nearest codes of a finer level follow from the coarser one
            assert np.array_equal(found.grids[level], nearest.grids[level])
        else:
            assert len(np.unique(found.grids[level])) > 1


@pytest.mark.parametrize(
    ("width", "height", "left", "upper"), [(40, 24, 0, 0), (300, 24, 20, 0), (700, 600, 220, 172), (255, 257, 0, 0)]
)
def test_errors_are_measured_in_the_middle_on_whole_positions(width, height, left, upper):
    (picture,) = prepare_pictures([noise_picture(width, height)], channels=1, stride=4)
    found = _middle(picture, 4)[0]
    length = tuple(min(side, 256) for side in (picture.padded_height, picture.padded_width))
    assert found.shape[-2:] == length
    expected = picture.part(slice(upper, upper + length[0]), slice(left, left + length[1]))
    assert torch.equal(found, expected)


def test_costs_of_a_further_grid_are_those_of_what_the_codes_leave(make_codec):
    codec = make_codec(2)
    one, other = codec.parts.vqvae.quantizers
    latents = torch.randn(1, codec.parts.vqvae.config.embedding_dim, 3, 5)
    codes = np.arange(15).reshape(3, 5) % 4
    left = latents - one.embed(torch.from_numpy(codes)[None]).detach()
    places = (np.array([0, 2]), np.array([4, 1]))
    found = _Costs(one, latents, error=3.0).left_by(codes, other)
    assert np.array_equal(found.at(places), _Costs(other, left, error=3.0).at(places))
    assert not np.array_equal(found.at(places), _Costs(other, latents, error=3.0).at(places))
