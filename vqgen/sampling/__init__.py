"""Sampling of codes from priors: parameters, noise, samplers of one level, and the hierarchy of levels."""

from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.cuda_graph import CudaGraphSampler, fastest_sampler
from vqgen.sampling.draws import drawn_labels, image_draws
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import Guide, guided_logits
from vqgen.sampling.hierarchy import sample_codes
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.memory import bytes_per_image, images_that_fit, weights_read
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.params import PerLevel, SamplingParams, numbers_of
from vqgen.sampling.plain import PlainSampler
from vqgen.sampling.sampler import LevelSample, Sampler

__all__ = [
    "CachedSampler",
    "CudaGraphSampler",
    "Given",
    "Guide",
    "ImageNoise",
    "LevelParams",
    "LevelSample",
    "PerLevel",
    "PlainSampler",
    "Sampler",
    "SamplingParams",
    "bytes_per_image",
    "drawn_labels",
    "fastest_sampler",
    "guided_logits",
    "image_draws",
    "images_that_fit",
    "numbers_of",
    "sample_codes",
    "weights_read",
]
