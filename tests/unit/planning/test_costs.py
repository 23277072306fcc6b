from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqgen.config import AutoencoderConfig, ClassifierConfig, PixelCNNConfig, VQVAEConfig
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.planning.baseline_costs import baseline_costs
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
]
VQVAES = [
    {"downsample": (4,)},
    {"downsample": (4, 2), "image_channels": 3},
    {"downsample": (8, 2), "residual_layers": 0},
    {"downsample": (16, 4, 2), "residual_layers": 3, "image_size": 32},
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
    """A prior, and a training forward pass of a few images."""
    model = PixelCNN(config)
    codes = torch.randint(config.codebook_size, (IMAGES, config.height, config.width))
    coarser = None
    if config.is_conditioned:
        coarser = torch.randint(config.codebook_size, (IMAGES, config.coarser_height, config.coarser_width))
    labels = torch.arange(IMAGES)
    return model, lambda: nats_per_code(model(codes, labels, model.encode_condition(coarser)), codes)


def vqvae_forward(config: VQVAEConfig) -> tuple[nn.Module, Callable[[], Tensor]]:
    """A VQ-VAE, and a training forward pass of a few images."""
    model = VQVAE(config)
    images = torch.rand(IMAGES, config.image_channels, config.image_size, config.image_size)
    return model, lambda: vqvae_loss(model(images), images, 0.25)[0]


def counted(act: Callable[[], object]) -> int:
    """FLOPs that torch counts, in an attention made of plain products: it does not look into the others on a CPU."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops()


def kept_bytes(model: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass, each storage once, without the weights."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return sum(storage.nbytes() for storage in kept.values())


@pytest.fixture
def as_on_an_accelerator(monkeypatch):
    """Masked convolutions by the library's dense kernels, also here."""
    monkeypatch.setattr(MaskedConv2d, "_multiply", MaskedConv2d._convolve)


# operations


@pytest.mark.parametrize("changes", PRIORS)
def test_a_prior_executes_the_flops_that_are_counted(as_on_an_accelerator, changes):
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
def test_a_classifier_executes_the_flops_that_are_counted_and_keeps_about_what_is(changes):
    settings = {"channels": 16, "image_size": 16, "image_channels": 1, "num_classes": 10}
    model = build_classifier(ClassifierConfig(**(settings | changes)))
    images = torch.rand(IMAGES, model.config.image_channels, *[model.config.image_size] * 2)
    costs = classifier_costs(model.config)
    assert counted(lambda: model(images)) == IMAGES * costs.flops
    assert kept_bytes(model, lambda: model(images).sum()) == pytest.approx(4 * IMAGES * costs.kept, rel=0.1)


@pytest.mark.parametrize("changes", PRIORS[:5])
def test_open_taps_and_visible_pairs_by_a_count_of_each(changes):
    config = prior_config(**changes)
    model = PixelCNN(config)
    costs, dense = prior_costs(config), prior_costs(config, dense=True)
    c, n = config.channels, config.height * config.width
    weights = [model.first.weight, *(block.convolution.weight for block in model.blocks)]
    assert costs.convolutions.flops == sum(2 * n * weight.numel() for weight in weights)
    pairs = int(torch.from_numpy(model.order.attention_mask()).sum())
    assert costs.attentions.flops == len(model.attentions) * (2 * 4 * c * c * n + 4 * c * pairs)
    assert costs.convolutions.flops <= dense.convolutions.flops
    assert (costs.gates, costs.output, costs.logits) == (dense.gates, dense.output, dense.logits)


@pytest.mark.parametrize("changes", PRIORS)
def test_a_training_step_of_a_prior_is_three_forward_passes(as_on_an_accelerator, changes):
    model, forward = prior_loss(prior_config(**changes))
    assert (
        counted(lambda: forward().backward())
        == IMAGES * (1 + BACKWARD) * prior_costs(model.config, dense=True).total.flops
    )


@pytest.mark.parametrize("changes", VQVAES)
def test_a_vqvae_executes_the_flops_that_are_counted(changes):
    model, forward = vqvae_forward(vqvae_config(**changes))
    costs = vqvae_costs(model.config)
    images = torch.rand(IMAGES, model.config.image_channels, model.config.image_size, model.config.image_size)
    codes = model.eval().encode(images)
    assert counted(forward) == IMAGES * costs.total.flops
    assert counted(lambda: model.encode(images)) == IMAGES * costs.encode.flops
    assert counted(lambda: model.decode(codes)) == IMAGES * costs.decode.flops


@pytest.mark.parametrize("changes", VQVAES)
def test_a_training_step_of_a_vqvae_but_for_the_gradient_of_the_image(changes):
    """The first convolution computes no gradient of its input; nothing else is left out."""
    model, forward = vqvae_forward(vqvae_config(**changes))
    first = 2 * 16 * model.config.image_channels * model.config.channels // 2 * (model.config.image_size // 2) ** 2
    assert counted(lambda: forward().backward()) == IMAGES * (vqvae_costs(model.config).train_flops - first)


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "binary-vae"])
@pytest.mark.parametrize("changes", [{}, {"image_size": 28, "image_channels": 3}])
def test_a_baseline_executes_the_flops_that_are_counted_and_keeps_about_what_is(kind, changes):
    settings = {"kind": kind, "channels": 20, "image_size": 16, "image_channels": 1, "num_classes": 5}
    if kind != "autoencoder":
        settings |= {"labels": "conditional", "monte_carlo_samples": 2}
    model = build_baseline(AutoencoderConfig(**(settings | changes)))
    config, costs = model.config, baseline_costs(model.config)
    images, labels = torch.rand(IMAGES, config.image_channels, *[config.image_size] * 2), torch.arange(IMAGES)
    assert counted(lambda: model.loss(images, labels)) == IMAGES * costs.total.flops
    assert counted(lambda: model.decode(torch.zeros(IMAGES, 20), labels)) == IMAGES * costs.decoder.flops
    assert kept_bytes(model, lambda: model.loss(images, labels)[0]) == pytest.approx(
        4 * IMAGES * costs.total.kept, rel=0.1
    )


@pytest.mark.parametrize("changes", PRIORS)
def test_steps_are_those_of_the_order(changes):
    config = prior_config(**changes)
    assert sampling_steps(config) == len(list(PixelCNN(config).order.steps()))


# memory


@pytest.mark.parametrize("changes", PRIORS)
def test_a_prior_keeps_what_is_counted(as_on_an_accelerator, changes):
    """But for indices of codes and labels, which are not floats: a few in a thousand."""
    model, forward = prior_loss(prior_config(**changes))
    cost = prior_costs(model.config).total
    assert 4 * (IMAGES * cost.kept + cost.once) == pytest.approx(kept_bytes(model, forward), rel=0.005)


@pytest.mark.parametrize("changes", VQVAES)
def test_a_vqvae_keeps_what_is_counted(changes):
    model, forward = vqvae_forward(vqvae_config(**changes))
    assert 4 * IMAGES * vqvae_costs(model.config).total.kept == kept_bytes(model, forward)
