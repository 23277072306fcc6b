"""Sampling codes from priors: filters, noise, samplers of one level, and the hierarchy of levels."""

from vqgen.sampling.cached import CachedSampler
from vqgen.sampling.draws import drawn_labels, image_draws
from vqgen.sampling.fastest import fastest_sampler
from vqgen.sampling.filters import Filters
from vqgen.sampling.graphed import GraphedSampler
from vqgen.sampling.guidance import Guide, guided_logits
from vqgen.sampling.hierarchy import sample_codes
from vqgen.sampling.level_filters import filters_of_levels
from vqgen.sampling.memory import bytes_per_image, images_that_fit, weights_read
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.plain import PlainSampler
from vqgen.sampling.sampler import LevelSample, Sampler

__all__ = [
    "CachedSampler",
    "Filters",
    "GraphedSampler",
    "Guide",
    "ImageNoise",
    "LevelSample",
    "PlainSampler",
    "Sampler",
    "bytes_per_image",
    "drawn_labels",
    "fastest_sampler",
    "filters_of_levels",
    "guided_logits",
    "image_draws",
    "images_that_fit",
    "sample_codes",
    "weights_read",
]
