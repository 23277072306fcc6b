from collections.abc import Callable
from typing import Any

import pytest
import torch

from vqgen.config import VQVAEConfig
from vqgen.models.vqvae import VQVAE


@pytest.fixture
def make_vqvae(tiny_vqvae_config: Callable[..., VQVAEConfig]) -> Callable[..., VQVAE]:
    """Builds a VQ-VAE whose codebooks are in use after some steps of training."""

    def build(seed: int, steps: int = 3, **changes: Any) -> VQVAE:
        torch.manual_seed(seed)
        model = VQVAE(tiny_vqvae_config(image_size=16, **changes))
        for _ in range(steps):
            model(torch.rand(16, 1, 16, 16) * 2 - 1)
            model.update_codebooks()
        return model

    return build
