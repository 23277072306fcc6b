from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_models import noise_picture, random_codes

from vqgen.codec import Coder, ideal_bits, read_header
from vqgen.codec.labels import choose_labels
from vqgen.codec.prior_coder import TileStream, tile_bits
from vqgen.codec.segments import Stream, level_stream
from vqgen.errors import ConfigError, DataError


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["static", "prior"])
def test_length_is_near_the_ideal(codec, coder):
    codes = random_codes(codec, 160, 160, label=1)
    data = codec.pack([codes], codec.models.offered(coder))[0]
    for level, header in zip(codec.models.levels, read_header(data)[0].levels, strict=True):
        ideal = ideal_bits(codec.models, codes, level, Coder[coder.upper()], 1) / 8
        assert ideal - 1 < header.length < 1.005 * ideal + 5


def test_ideal_of_packed_codes_is_their_length(codec):
    codes = random_codes(codec, 16, 16)
    assert ideal_bits(codec.models, codes, "bottom", Coder.PACKED) == 4 * 64


def test_ideal_of_the_prior_is_its_log_likelihood(codec):
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(3)]
    coarser = None
    for level in codec.models.levels:
        grids = torch.from_numpy(np.stack([each.grids[level] for each in codes]))
        prior = codec.models.prior(level)
        nats = -prior.log_likelihood(grids, torch.full((3,), 2), prior.encode_condition(coarser)).detach()
        found = [ideal_bits(codec.models, each, level, Coder.PRIOR, 2) for each in codes]
        assert np.allclose(found, nats / np.log(2), rtol=1e-9)
        coarser = grids


def test_ideal_leaves_out_the_places_beyond_the_edge(codec):
    codes = random_codes(codec, 12, 4, label=0)  # 3 codes of the top level in two tiles of 4
    tiles = TileStream.of(codec.models.prior("top"), level_stream(codec.models, Stream.of(codes), "top"))
    bits = tile_bits(codec.models.prior("top"), tiles)
    assert bits.shape == (2, 4)
    ideal = ideal_bits(codec.models, codes, "top", Coder.PRIOR, 0)
    assert ideal == pytest.approx(bits[0, 0] + bits[0, 1] + bits[1, 0])


def test_other_label_drops_the_segments_that_were_written_with_the_old_one(codec):
    codes = replace(random_codes(codec, 8, 8, label=0), written={"top": b"a", "bottom": b"b"})
    (found,) = choose_labels(codec.models, [codes], 1)
    assert found.shape.label == 1
    assert found.written is None


def test_auto_chooses_the_label_of_the_shortest_code(codec):
    codes = codec.encode([noise_picture(8, 8, seed=i) for i in range(6)], label="auto")
    for each in codes:
        bits = {
            label: sum(ideal_bits(codec.models, each, level, Coder.PRIOR, label) for level in each.grids)
            for label in (None, 0, 1, 2)
        }
        assert each.shape.label == min(bits, key=bits.__getitem__)
    assert len({each.shape.label for each in codes}) > 1


@pytest.mark.parametrize(("label", "index"), [(None, None), ("dog", 1), (0, 0), ("10", 2)])
def test_given_label_holds_for_all_images(codec, label, index):
    codes = [random_codes(codec, 8, 8, seed=i) for i in range(2)]
    assert [each.shape.label for each in choose_labels(codec.models, codes, label)] == [index, index]


def test_label_called_auto_goes_first(make_codec):
    codec = make_codec(labels=("cat", "auto", "10"))
    assert choose_labels(codec.models, [random_codes(codec, 8, 8)], "auto")[0].shape.label == 1


def test_unknown_label_and_auto_without_priors_are_refused(codec):
    codes = [random_codes(codec, 8, 8)]
    with pytest.raises(DataError, match="'fish'"):
        choose_labels(codec.models, codes, "fish")
    del codec.parts.priors["bottom"]
    with pytest.raises(ConfigError, match="label: auto needs priors, which pipeline 'tiny' lacks; leave it out"):
        choose_labels(codec.models, codes, "auto")
