"""Which sampler is the fastest where."""

import torch

from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.cuda_graph import CudaGraphSampler
from vqgen.sampling.sampler import Sampler


def fastest_sampler(device: torch.device) -> Sampler:
    """Returns the fastest sampler for a device; keep it, for it may keep what it has prepared for a model."""
    return CudaGraphSampler() if device.type == "cuda" else CachedSampler()
