from collections.abc import Callable
from typing import Any

import pytest
import torch
from measured_costs import counted, kept_bytes
from torch import Tensor, nn

from vqgen.config import ClassifierConfig, PixelCNNConfig, VQVAEConfig
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.nn.axes import BATCH_FIRST
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.planning.costs import BACKWARD, classifier_costs, prior_costs, sampling_steps, vqvae_costs
from vqgen.training.losses import nats_per_code, vqvae_loss

IMAGES = 3
PRIORS = [
    {},
    {"slope": "raster", "kernel_size": 3},
    {"slope": 3, "layers": 5, "attention_every": 2, "attention_heads": 2},
    {"coarser_height": 2, "coarser_width": 3, "conditioning_layers": 3},
    {"coarser_height": 4, "coarser_width": 6, "conditioning_layers": 0, "attention_every": 1, "output_layers": 0},
    {"height": 9, "width": 7, "kernel_size": 7, "output_layers": 3, "dropout": 0.0, "slope": 1},
    {"height": 1, "width": 1},
    {"coarser_height": 8, "coarser_width": 12},
    {"coarser_height": 4, "coarser_width": 6, "conditioning_grids": 3},
    {"coarser_height": 4, "coarser_width": 6, "conditioning_norm": True},
    {"positions": "none"},
]
VQVAES = [
    {"downsample": (4,)},
    {"downsample": (4, 2), "image_channels": 3},
    {"downsample": (8, 2), "residual_layers": 0},
    {"downsample": (16, 4, 2), "residual_layers": 3, "image_size": 32},
    {"downsample": (8, 2), "upsampling": "nearest"},
    {"downsample": (4,), "quantizer": {"depth": 3}},
    {"downsample": (8, 4, 2), "quantizer": {"depth": (1, 2, 3)}},
    {"downsample": (4,), "architecture": "residual", "residual_layers": 0},
    {"downsample": (8, 2), "architecture": "residual", "channel_multipliers": (1, 2), "image_channels": 3},
    {"downsample": (8, 4, 2), "architecture": "residual", "attention_heads": 2, "upsampling": "nearest"},
    {"downsample": (8,), "architecture": "residual", "attention_heads": 5, "channel_multipliers": (1, 2, 3)},
    {"downsample": (8, 2), "shortcuts": True, "image_channels": 3},
    {"downsample": (8, 4, 2), "shortcuts": True, "quantizer": {"depth": (1, 2, 2)}},
]


def prior_config(**changes: Any) -> PixelCNNConfig:
    settings = {
        "level": "bottom", "height": 8, "width": 12, "codebook_size": 40, "num_classes": 5, "channels": 24, "layers": 3,
    }  # fmt: skip
    return PixelCNNConfig(**(settings | changes))


def vqvae_config(**changes: Any) -> VQVAEConfig:
    settings = {
        "codebook_size": 32, "embedding_dim": 6, "channels": 20, "residual_channels": 10, "residual_layers": 2,
        "image_size": 16, "image_channels": 1, "initialization": "random",
    }  # fmt: skip
    return VQVAEConfig(**(settings | changes))


def prior_loss(config: PixelCNNConfig) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Builds a prior, and a training forward pass of a few images."""
    model = PixelCNN(config)
    codes = torch.randint(config.codebook_size, (IMAGES, config.height, config.width))
    coarser = None
    if config.is_conditioned:
        coarser = torch.randint(config.codebook_size, (IMAGES, config.coarser_height, config.coarser_width))
    labels = torch.arange(IMAGES)
    return model, lambda: nats_per_code(model(codes, labels, model.encode_condition(coarser)), codes)


def vqvae_forward(config: VQVAEConfig) -> tuple[nn.Module, Callable[[], Tensor]]:
    """Builds a VQ-VAE, and a training forward pass of a few images."""
    model = VQVAE(config)
    images = torch.rand(IMAGES, config.image_channels, config.image_size, config.image_size)
    return model, lambda: vqvae_loss(model(images), images, 0.25)[0]


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    """Priors use the layout and the dense kernels of an accelerator on a CPU too."""
    monkeypatch.setattr("vqgen.models.pixelcnn.axes_on", lambda device: BATCH_FIRST)
    monkeypatch.setattr(MaskedConv2d, "_multiply", MaskedConv2d._convolve)


# FLOPs


@pytest.mark.parametrize("changes", PRIORS)
def test_prior_executes_the_flops_that_are_counted(as_on_an_accelerator, changes):
    model, forward = prior_loss(prior_config(**changes))
    costs = prior_costs(model.config, dense=True)
    assert counted(forward) == IMAGES * costs.total.flops


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stages": 1, "blocks": 2},
        {"image_size": 28, "stages": 4},
        {"image_size": 128, "image_channels": 3},
        {"kind": "hidden-layer"},
    ],
)
def test_classifier_executes_the_flops_that_are_counted_and_keeps_about_as_many_floats(changes):
    settings = {"channels": 16, "image_size": 16, "image_channels": 1, "num_classes": 10}
    model = build_classifier(ClassifierConfig(**(settings | changes)))
    images = torch.rand(IMAGES, model.config.image_channels, *[model.config.image_size] * 2)
    costs = classifier_costs(model.config)
    assert counted(lambda: model(images)) == IMAGES * costs.flops
    assert kept_bytes(model, lambda: model(images).sum()) == pytest.approx(4 * IMAGES * costs.kept, rel=0.1)


@pytest.mark.parametrize("changes", PRIORS[:5])
def test_open_taps_and_visible_pairs_are_those_of_the_model(changes):
    config = prior_config(**changes)
    model = PixelCNN(config)
    costs = prior_costs(config)
    dense = prior_costs(config, dense=True)
    c = config.channels
    n = config.height * config.width
    weights = [model.first.weight, *(block.convolution.weight for block in model.blocks)]
    assert costs.convolutions.flops == sum(2 * n * weight.numel() for weight in weights)
    pairs = int(torch.from_numpy(model.order.attention_mask()).sum())
    assert costs.attentions.flops == len(model.attentions) * (2 * 4 * c * c * n + 4 * c * pairs)
    assert costs.convolutions.flops <= dense.convolutions.flops
    assert (costs.gates, costs.output, costs.logits) == (dense.gates, dense.output, dense.logits)


@pytest.mark.parametrize("changes", PRIORS)
def test_training_step_of_a_prior_is_three_forward_passes(as_on_an_accelerator, changes):
    model, forward = prior_loss(prior_config(**changes))
    assert (
        counted(lambda: forward().backward())
        == IMAGES * (1 + BACKWARD) * prior_costs(model.config, dense=True).total.flops
    )


@pytest.mark.parametrize("changes", VQVAES)
def test_vqvae_executes_the_flops_that_are_counted(changes):
    model, forward = vqvae_forward(vqvae_config(**changes))
    costs = vqvae_costs(model.config)
    images = torch.rand(IMAGES, model.config.image_channels, model.config.image_size, model.config.image_size)
    codes = model.eval().encode(images)
    assert counted(forward) == IMAGES * costs.total.flops
    assert counted(lambda: model.encode(images)) == IMAGES * costs.encode.flops
    assert counted(lambda: model.decode(codes)) == IMAGES * costs.decode.flops


@pytest.mark.parametrize("changes", VQVAES)
def test_encoding_and_decoding_share_only_the_upsampling_between_levels(changes):
    costs = vqvae_costs(vqvae_config(**changes))
    assert len(costs.upsampling) == len(changes["downsample"]) - 1
    shared = sum(cost.flops for cost in costs.upsampling[:-1])
    assert costs.encode.flops + costs.decode.flops - shared == costs.total.flops


@pytest.mark.parametrize("changes", VQVAES)
def test_training_step_of_a_vqvae_executes_the_flops_that_are_counted(changes):
    """The first convolution computes no gradient for the images. Everything else is counted."""
    model, forward = vqvae_forward(vqvae_config(**changes))
    first = (
        2 * 16 * model.config.image_channels * model.encoders[-1][0].out_channels * (model.config.image_size // 2) ** 2
    )
    if model.config.shortcuts:  # those of the coarsest level read the images, too
        first += 2 * model.config.latent_dims[0] * model.config.image_channels * model.config.image_size**2
    assert counted(lambda: forward().backward()) == IMAGES * (vqvae_costs(model.config).train_flops - first)


@pytest.mark.parametrize("changes", PRIORS)
def test_sampling_steps_are_those_of_the_order(changes):
    config = prior_config(**changes)
    assert sampling_steps(config) == len(list(PixelCNN(config).order.steps()))


# memory


@pytest.mark.parametrize("changes", PRIORS)
def test_prior_keeps_the_floats_that_are_counted(as_on_an_accelerator, changes):
    """The indices of codes and labels are not floats and not counted: a few in a thousand."""
    model, forward = prior_loss(prior_config(**changes))
    cost = prior_costs(model.config).total
    assert 4 * (IMAGES * cost.kept + cost.once) == pytest.approx(kept_bytes(model, forward), rel=0.005)


@pytest.mark.parametrize("changes", VQVAES)
def test_vqvae_keeps_the_floats_that_are_counted(changes):
    model, forward = vqvae_forward(vqvae_config(**changes))
    cost = vqvae_costs(model.config).total
    assert 4 * (IMAGES * cost.kept + cost.once) == kept_bytes(model, forward)
