from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import make_prior

from vqgen.config import ClassifierConfig, DataConfig, VQVAEConfig
from vqgen.data import LabelMap
from vqgen.models.classifier import Classifier
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.parts import PipelineParts


@pytest.fixture
def make_parts(tiny_vqvae_config: Callable[..., VQVAEConfig]) -> Callable[..., PipelineParts]:
    """Builds the parts of a pipeline of 8 x 8 grey pixels, from a seed."""

    def build(seed: int = 0, labels: tuple[str, ...] = ("cat", "dog", "10"), **changes: Any) -> PipelineParts:
        torch.manual_seed(seed)
        vqvae = VQVAE(tiny_vqvae_config(**changes))
        channels = vqvae.config.image_channels
        size = vqvae.config.image_size
        # One training step starts the codebooks at latents, so that codes differ.
        vqvae(torch.rand(16, channels, size, size) * 2 - 1)
        vqvae.update_codebooks()
        return PipelineParts(
            name="tiny",
            data=DataConfig(source="digits", image_size=size, channels=channels),
            label_map=LabelMap(labels),
            vqvae=vqvae.eval(),
            priors={level: make_prior(level, num_classes=len(labels)).eval() for level in ("top", "bottom")},
            split={"train": [0, 2], "validation": [1]},
            texts={"README.md": "# tïny\n", "recipe.toml": 'name = "tiny"\n'},
        )

    return build


@pytest.fixture
def make_classifier() -> Callable[..., Classifier]:
    """Builds a classifier of 8 x 8 grey pixels. Given settings replace its own."""

    def build(**changes: Any) -> Classifier:
        torch.manual_seed(0)
        settings = {"channels": 8, "stages": 2, "image_size": 8, "image_channels": 1, "num_classes": 3}
        return Classifier(ClassifierConfig(**(settings | changes))).eval()

    return build
