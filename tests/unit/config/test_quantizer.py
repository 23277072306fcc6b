from math import prod

import pytest
from pydantic import ValidationError

from vqgen.config import VQVAEConfig
from vqgen.config.checks import check_recipe
from vqgen.config.quantizer import QuantizerSettings, quantizer_problems
from vqgen.errors import ConfigError

LEVELS = ("top", "bottom")


def settings(**fields):
    return QuantizerSettings.model_validate(fields)


def test_one_kind_serves_all_levels():
    assert settings(kind="cosine").kind == ("cosine",)
    assert [settings(kind="cosine").kind_of(index) for index in range(3)] == ["cosine"] * 3
    assert [settings(kind=["fsq", "ema"]).kind_of(index) for index in range(2)] == ["fsq", "ema"]


def test_one_depth_serves_all_levels():
    assert settings(depth=2).depth == (2,)
    assert [settings(depth=2).depth_of(index) for index in range(3)] == [2, 2, 2]
    assert [settings(depth=[1, 3]).depth_of(index) for index in range(2)] == [1, 3]


@pytest.mark.parametrize("bits", range(1, 17))
def test_dimensions_of_a_power_of_two_multiply_to_it(bits):
    values = settings(kind="fsq").values_of_dimensions(2**bits)
    assert prod(values) == 2**bits
    assert max(values) <= 8
    assert min(values) >= 4 or bits == 1
    assert settings(kind="fsq").latent_dim(0, 2**bits, 64) == len(values)
    assert settings(kind="lfq").latent_dim(0, 2**bits, 64) == bits


WRONG = [
    ({"kind": ["ema", "ema", "ema"]}, 64, r"kind: should be one kind, or one for each level \(top, bottom\), found 3"),
    ({"kind": "fsq", "fsq_levels": [8, 5]}, 64,
     r"fsq_levels: should multiply to codebook_size = 64, found 8 x 5 = 40; set codebook_size to 40"),
    ({"kind": "fsq"}, 500, r"codebook_size: should be a power of two for fsq without quantizer.fsq_levels, found 500"),
    ({"kind": ["ema", "lfq"]}, 500, r"codebook_size: should be a power of two for lfq, found 500"),
    ({"kind": "ema", "fsq_levels": [8, 8]}, 64, r"fsq_levels: should be empty unless the kind is fsq, found 8 x 8"),
    ({"kind": "fsq", "gradient": "rotation"}, 64, r"gradient: should be straight-through for fsq, .* found rotation"),
    ({"kind": "simvq", "codebook": "learned"}, 64, r"codebook: should be ema unless .* found learned with simvq"),
    ({"kind": ["ema", "fsq"], "depth": [2, 3]}, 64,
     r"depth: should be 1 for kinds that cannot quantize residuals, found 3 for bottom \(fsq\); .* ema or simvq"),
    ({"kind": "lfq", "depth": 2}, 64, r"depth: should be 1 .*, found 2 for top \(lfq\), 2 for bottom \(lfq\);"),
    ({"kind": "cosine", "depth": 2}, 64, r"depth: should be 1 .*, found 2 for top \(cosine\), 2 for bottom"),
    ({"depth": [1, 2, 3]}, 64,
     r"depth: should be one number, or one for each level \(top, bottom\), found 3: 1, 2, 3"),
    ({"kind": "fsq", "entropy_weight": 0.5}, 64, r"entropy_weight: should be 0 for fsq, .* found 0.5"),
    ({"kind": ["ema", "fsq"], "rate_weight": 0.5}, 64, r"rate_weight: should be 0 unless .* found 0.5 with ema, fsq"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "size", "message"), WRONG)
def test_misfit_is_refused_in_a_recipe_and_in_a_model(tiny_recipe, fields, size, message):
    assert len(quantizer_problems(settings(**fields), LEVELS, size)) == 1
    with pytest.raises(ConfigError, match=rf"  vqvae\.(quantizer\.)?{message}"):
        check_recipe(tiny_recipe(vqvae={"quantizer": fields, "codebook_size": size}))
    with pytest.raises(ValidationError, match=message):
        VQVAEConfig(downsample=(4, 2), codebook_size=size, quantizer=fields, image_size=8, image_channels=1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"kind": []}, "should be one kind, or one per level, found none"), ({"kind": "vq"}, "Input should be 'ema'"),
     ({"depth": []}, "should be one number, or one per level, found none"),
     ({"depth": [1, 9]}, "should be 1 to 8 each, found 9"), ({"depth": 0}, "should be 1 to 8 each, found 0"),
     ({"fsq_levels": [1, 8]}, "should be at least 2 each, found 1"), ({"entropy_weight": -1}, "greater than or equal")],
)  # fmt: skip
def test_wrong_values_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        settings(**fields)


def test_every_kind_fits_by_default():
    for kind in ("ema", "cosine", "simvq", "fsq", "lfq"):
        assert quantizer_problems(settings(kind=kind), LEVELS, 512) == []
