"""vqgen: hierarchical VQ-VAE image generation. Each public name is imported when it is first used (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqgen.codes import Codes
    from vqgen.config import Recipe
    from vqgen.models.pixelcnn import PixelCNN
    from vqgen.models.vqvae import VQVAE
    from vqgen.order import CausalOrder
    from vqgen.pipeline import BaselinePipeline, VQGenPipeline, open_pipeline

__version__ = "0.1.0"

__all__ = ["VQVAE", "BaselinePipeline", "CausalOrder", "Codes", "PixelCNN", "Recipe", "VQGenPipeline", "open_pipeline"]

_HOMES = {
    "BaselinePipeline": "vqgen.pipeline",
    "CausalOrder": "vqgen.order",
    "Codes": "vqgen.codes",
    "PixelCNN": "vqgen.models.pixelcnn",
    "Recipe": "vqgen.config",
    "VQGenPipeline": "vqgen.pipeline",
    "open_pipeline": "vqgen.pipeline",
    "VQVAE": "vqgen.models.vqvae",
}
"""Public name -> its module."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqgen' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
