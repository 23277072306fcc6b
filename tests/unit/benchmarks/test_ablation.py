"""Variants of a prior differ in the named fields and are no larger than the prior of the recipe."""

import pytest

from benchmarks.ablation import VARIANTS, make_variant, narrowed, num_parameters
from vqgen.config import PixelCNNConfig, TrainConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.nn.causal_attention import CausalAttention

TRAIN = TrainConfig(ema_decay=0.9)


@pytest.fixture
def base():
    return PixelCNNConfig(
        level="bottom", height=8, width=8, codebook_size=16, num_classes=3, coarser_height=4, coarser_width=4,
        layers=2, channels=16, attention_every=2, attention_heads=2, kernel_size=3, conditioning_layers=1,
    )  # fmt: skip


def test_recipe_is_a_variant_of_itself(base):
    assert make_variant("recipe", base, TRAIN) == (base, TRAIN)


@pytest.mark.parametrize("name", ["raster-attention", "raster-deep"])
def test_raster_network_without_a_blind_spot_is_as_wide_as_its_parameters_allow(base, name):
    config, _ = make_variant(name, base, TRAIN)
    assert num_parameters(config) <= num_parameters(base)
    wider = config.model_copy(update={"channels": config.channels + config.attention_heads})
    assert config.channels == base.channels or num_parameters(wider) > num_parameters(base)


def test_raster_network_without_a_blind_spot_attends_after_every_block(base):
    config, _ = make_variant("raster-attention", base, TRAIN)
    prior = PixelCNN(config)
    assert sum(isinstance(module, CausalAttention) for module in prior.modules()) == config.layers == 2
    assert config.slope == "raster"


def test_deep_raster_network_has_the_layers_to_reach_every_code(base):
    config, _ = make_variant("raster-deep", base.model_copy(update={"layers": 1}), TRAIN)
    assert (config.layers, config.attention_every) == (3, 0)  # (8 - 2) / 2


def test_training_differs_only_in_variants_of_the_training(base):
    for name in VARIANTS:
        config, train = make_variant(name, base, TRAIN)
        assert train == (TRAIN.model_copy(update={"ema_decay": 0.0}) if name == "no-ema" else TRAIN)
        assert config.dropout == (0.0 if name == "no-dropout" else base.dropout)


def test_narrowed_channels_are_a_multiple_of_the_heads(base):
    config = narrowed(base, num_parameters(base) // 2)
    assert config.channels % config.attention_heads == 0
    assert num_parameters(config) <= num_parameters(base) // 2
