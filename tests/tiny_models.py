"""Small models for the tests."""

from typing import Any

import torch
from torch import Tensor, nn

from vqgen.config import AutoencoderConfig, PixelCNNConfig
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.pixelcnn import PixelCNN

BASELINES: list[dict[str, Any]] = [
    {"kind": "autoencoder", "num_classes": 3},
    {"kind": "vae"},
    {"kind": "vae", "likelihood": "gaussian", "labels": "conditional", "num_classes": 3},
    {"kind": "binary-vae", "labels": "conditional", "num_classes": 3},
    {"kind": "binary-vae", "gradient": "gumbel"},
]
"""Settings of baselines of all kinds, likelihoods and gradients, with labels and without; see `make_baseline`."""


def make_prior(level: str, **changes: Any) -> PixelCNN:
    """Builds a prior of the tiny VQ-VAE whose distribution is far from uniform."""
    settings = {
        "level": level, "height": 4, "width": 4, "codebook_size": 16, "num_classes": 3, "channels": 8, "layers": 2,
        "attention_every": 2, "attention_heads": 2, "conditioning_layers": 1,
    }  # fmt: skip
    if level == "top":
        settings |= {"height": 2, "width": 2}
    else:
        settings |= {"coarser_height": 2, "coarser_width": 2}
    prior = PixelCNN(PixelCNNConfig(**(settings | changes)))
    # The last layers of the blocks start at zero: a prior of a test would ignore most of its inputs.
    for parameter in prior.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(prior.output[-1].weight, std=0.5)
    return prior


def make_pixelcnn(*, randomise: bool = True, **changes: Any) -> PixelCNN:
    """Builds a small PixelCNN in float64, in evaluation mode.

    Args:
        randomise: Draw the layers that start at zero too, so that every path has a signal.
        changes: Fields of the configuration.
    """
    torch.manual_seed(0)
    settings = {
        "level": "bottom", "height": 4, "width": 5, "codebook_size": 6, "num_classes": 3, "channels": 8, "layers": 2,
        "attention_heads": 2, "conditioning_layers": 1, "label_dropout": 0.25,
    }  # fmt: skip
    model = PixelCNN(PixelCNNConfig(**(settings | changes))).double()
    if randomise:
        for parameter in model.parameters():
            if parameter.abs().max() == 0:
                nn.init.normal_(parameter, std=0.5)
    return model.eval()


def draw_codes(model: PixelCNN, b: int, seed: int = 0) -> Tensor:
    """Draws codes of `b` images for a PixelCNN, each as likely as the others."""
    shape = (b, model.config.height, model.config.width)
    return torch.randint(model.config.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


def make_baseline(**changes: Any) -> Any:
    """Builds a baseline of 8 x 8 grey pixels in float64, in evaluation mode: a VAE of 3 latents by default."""
    settings = {
        "kind": "vae", "latent_size": 3, "channels": 8, "residual_channels": 4, "hidden": 16, "image_size": 8,
        "image_channels": 1, "num_classes": 0,
    }  # fmt: skip
    return build_baseline(AutoencoderConfig(**(settings | changes))).double().eval()


def labelled_images(count: int = 5) -> tuple[Tensor, Tensor]:
    """Draws 8 x 8 grey images for `make_baseline`, with labels 0, 1, 2, 0, ..."""
    return torch.rand(count, 1, 8, 8, dtype=torch.float64) * 2 - 1, torch.arange(count) % 3
