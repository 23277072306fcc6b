import re

import pytest
from pydantic import ValidationError

from vqgen.config import VQVAEConfig, VQVAESettings, check_recipe
from vqgen.config.networks import network_problems
from vqgen.errors import ConfigError

RESIDUAL = {"architecture": "residual"}
WRONG = [
    (
        {"channel_multipliers": [1, 2]},
        'channel_multipliers: should be [1] with architecture = "paper", which has no such option, found [1, 2]; '
        'set architecture = "residual", or leave it out',
    ),
    ({"attention_heads": 4}, 'attention_heads: should be 0 with architecture = "paper", which has no such option'),
    (
        RESIDUAL | {"channel_multipliers": [1, 2, 2, 4]},
        "channel_multipliers: should be at most 3, one for each halving of the image down to downsample.0 = 8, found 4",
    ),
    (
        RESIDUAL | {"channel_multipliers": [1, 600]},
        "channel_multipliers: should give at most 65,536 channels, found 76,800",
    ),
    (
        RESIDUAL | {"attention_heads": 6, "channel_multipliers": [1, 2]},
        "attention_heads: should divide 256, the channels of the coarsest grid, found 6",
    ),
    (
        RESIDUAL | {"attention_heads": 4, "image_size": 2048},
        "attention_heads: should be 0 on a grid of more than 32,768 positions, found 4 on a grid of 256 x 256",
    ),
]


@pytest.mark.parametrize(("changes", "text"), WRONG)
def test_networks_that_do_not_fit_are_refused(changes, text):
    settings = {"image_size": 64, "image_channels": 3} | changes
    with pytest.raises(ValidationError, match=re.escape(text)):
        VQVAEConfig(**settings)
    size = settings.pop("image_size")
    settings.pop("image_channels")
    (problem,) = network_problems(VQVAESettings(**settings), size)
    assert problem.startswith(text)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upsampling": "nearest"},
        RESIDUAL | {"channel_multipliers": [1, 2, 4], "attention_heads": 4, "upsampling": "nearest"},
        RESIDUAL | {"attention_heads": 1, "image_size": 8},
    ],
)
def test_networks_that_fit_have_no_problem(changes):
    VQVAEConfig(**({"image_size": 64, "image_channels": 3} | changes))


@pytest.mark.parametrize("multipliers", [[], [0], [1, -2]])
def test_multipliers_are_positive(multipliers):
    text = re.escape(f"should be one or more numbers of at least 1, found {multipliers}")
    with pytest.raises(ValidationError, match=text):
        VQVAESettings(architecture="residual", channel_multipliers=multipliers)


def test_last_multiplier_holds_for_all_coarser_grids():
    settings = VQVAESettings(architecture="residual", downsample=(32, 4), channels=10, channel_multipliers=(1, 2, 3))
    assert [settings.channels_of(2**halvings) for halvings in range(1, 6)] == [10, 20, 30, 30, 30]
    assert settings.residual_channels_of(4) == 2 * settings.residual_channels


def test_squares_of_attention_are_the_grid_of_a_training_image():
    config = VQVAEConfig(architecture="residual", image_size=96, image_channels=1, downsample=(16, 4))
    assert config.attended_side == 6


def test_recipe_is_refused_with_all_its_problems(tiny_recipe):
    recipe = tiny_recipe(vqvae={"channel_multipliers": [1, 2], "attention_heads": 3})
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe)
    assert "vqvae.channel_multipliers: should be [1]" in str(caught.value)
    assert "vqvae.attention_heads: should be 0" in str(caught.value)
    check_recipe(tiny_recipe(vqvae={"architecture": "residual", "attention_heads": 4, "channel_multipliers": [1, 2]}))
