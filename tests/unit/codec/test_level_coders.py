import pytest
import torch

from vqgen.codec.level_coders import LevelCoders
from vqgen.codes import Codes
from vqgen.errors import ConfigError
from vqgen.models.levels_alone import with_levels_alone


@pytest.fixture
def coders(codec):
    return LevelCoders(codec.parts, codec.compute)


def random_levels(*levels):
    sides = {"top": 2, "bottom": 4}
    return Codes({level: torch.randint(0, 16, (3, sides[level], sides[level])) for level in levels})


def test_all_levels_are_decoded_by_the_model_itself(codec, coders):
    assert coders.of(["bottom", "top"]).vqvae is codec.parts.vqvae
    codes = random_levels("top", "bottom")
    assert coders.filled(codes) is codes


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_level_is_decoded_with_the_mean_of_the_other_one(codec, coders, level):
    filled = coders.filled(random_levels(level))
    assert filled.levels == ("top", "bottom")
    alone = with_levels_alone(codec.parts.vqvae, [level], codec.parts.frequencies)
    pixels = coders.of([level]).decode(filled)
    assert torch.equal(pixels, type(coders.of([level]))(alone, codec.compute).decode(filled))
    assert not torch.equal(pixels, codec.image_coder.decode(filled))


def test_model_of_a_choice_is_made_once(coders):
    assert coders.of(["top"]) is coders.of(("top",))
    assert coders.of(["top"]) is not coders.of(["bottom"])


def test_unknown_level_is_refused(coders):
    with pytest.raises(ConfigError, match="should be some of top, bottom, found 'middle'"):
        coders.of(["middle"])
