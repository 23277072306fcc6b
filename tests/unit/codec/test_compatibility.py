import pytest
import torch
from codec_models import random_codes

from vqgen.codec import Coder, EntropyModels, ImageShape
from vqgen.codec.compatibility import check_models, check_shape
from vqgen.errors import BitstreamError

ALL = frozenset(Coder)


def arguments_of(models, **changes):
    """The entries of a file's header as these models write them."""
    given = {"vqvae": models.vqvae_hash, "fingerprint": models.fingerprint(ALL), "coders": ALL, "num_levels": 2}
    return {**given, "batch_size": models.batch_size, **changes}


def test_own_files_pass(codec):
    check_models(codec.models, **arguments_of(codec.models))
    check_models(codec.models, **arguments_of(codec.models, batch_size=1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"vqvae": b"abcdefgh"}, r"made with VQ-VAE 6162636465666768, and pipeline 'tiny' has \w{16}; `vqgen info`"),
        ({"num_levels": 3}, "should have 2 levels, found 3"),
        ({"fingerprint": b"abcdefgh"}, r"another prior or other static frequencies \(6162636465666768\)"),
        ({"batch_size": 17}, "evaluate at most 16 tiles at a time, found 17"),
    ],
)
def test_files_of_other_models_are_refused(codec, changes, match):
    with pytest.raises(BitstreamError, match=match):
        check_models(codec.models, **arguments_of(codec.models, **changes))


def test_file_of_another_vqvae_is_refused_for_every_coder(make_codec):
    codec = make_codec(seed=0)
    other = make_codec(seed=1)
    for coder in ("packed", "static", "prior"):
        data = codec.pack([random_codes(codec, 8, 8)], codec.models.offered(coder))[0]
        with pytest.raises(BitstreamError, match=r"made with VQ-VAE \w{16}, and pipeline 'tiny' has \w{16}"):
            other.decompress([data])


def test_missing_models_are_named_by_level(make_codec):
    codec = make_codec()
    given = arguments_of(codec.models)
    with torch.no_grad():
        codec.parts.priors["bottom"].rows.add_(0.1)
    with pytest.raises(BitstreamError, match="made with another prior"):
        check_models(EntropyModels(codec.parts, codec.compute), **given)
    del codec.parts.priors["bottom"]
    with pytest.raises(BitstreamError, match="level bottom is coded with a prior, which pipeline 'tiny' lacks"):
        check_models(EntropyModels(codec.parts, codec.compute), **given)
    static = {**given, "coders": frozenset({Coder.STATIC})}
    codec.parts.frequencies = {}
    with pytest.raises(BitstreamError, match="level top is coded with the frequencies"):
        check_models(EntropyModels(codec.parts, codec.compute), **static)


def test_labels_and_colours_that_the_pipeline_lacks_are_refused(codec):
    check_shape(codec.models, ImageShape(8, 8, False, 2))
    with pytest.raises(BitstreamError, match="label should be below 3, found 3"):
        check_shape(codec.models, ImageShape(8, 8, False, 3))
    with pytest.raises(BitstreamError, match=r"should be grey, .* found RGB"):
        check_shape(codec.models, ImageShape(8, 8, True))
