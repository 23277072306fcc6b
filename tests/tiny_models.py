"""Small models for the tests."""

from typing import Any

from torch import nn

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN


def make_prior(level: str, **changes: Any) -> PixelCNN:
    """A small prior of the tiny VQ-VAE whose distribution is far from uniform."""
    settings = {
        "level": level, "height": 4, "width": 4, "codebook_size": 16, "num_classes": 3, "channels": 8, "layers": 2,
        "attention_every": 2, "attention_heads": 2, "conditioning_layers": 1,
    }  # fmt: skip
    if level == "top":
        settings |= {"height": 2, "width": 2}
    else:
        settings |= {"coarser_height": 2, "coarser_width": 2}
    prior = PixelCNN(PixelCNNConfig(**(settings | changes)))
    for parameter in prior.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.5)
    nn.init.normal_(prior.output[-1].weight, std=0.5)
    return prior
