"""Which sampler is the fastest where."""

import torch

from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.graphed import GraphedSampler
from vqgen.sampling.sampler import Sampler


def fastest_sampler(device: torch.device) -> Sampler:
    """Returns the fastest sampler for a device; keep it, for it may keep what it has prepared for a model."""
    return GraphedSampler() if device.type == "cuda" else CachedSampler()
