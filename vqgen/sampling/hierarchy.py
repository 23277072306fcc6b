"""Sampling of all levels, coarse to fine: label -> top codes -> bottom codes.

Legend: `b` images of a batch or of the request.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float64, Int
from torch import Tensor

from vqgen.codes import Codes, conditioning_codes
from vqgen.models.pixelcnn import PixelCNN
from vqgen.sampling.given import Given
from vqgen.sampling.guidance import Guide
from vqgen.sampling.level_params import LevelParams
from vqgen.sampling.noise import ImageNoise
from vqgen.sampling.sampler import Sampler, evaluation, step_threads


def sample_codes(
    priors: Sequence[PixelCNN],
    labels: Int[Tensor, " b"],
    *,
    seed: int,
    image_indices: Sequence[int],
    params: Sequence[LevelParams],
    sampler: Sampler,
    batch_size: int,
    guides: Mapping[str, PixelCNN] | None = None,
    progress: Callable[[int], object] | None = None,
    on_level: Callable[[Codes], object] | None = None,
    given: Mapping[str, Given] | None = None,
) -> tuple[Codes, Float64[Tensor, " b"]]:
    """Draws codes from p(top | label) p(bottom | top, label), for any number of levels.

    Image i draws from (seed, i), so a request may be cut into batches and over processes anywhere.

    Args:
        priors: The priors, coarse to fine, on one device.
        labels: Labels in [-1, num_classes]. Both -1 and `prior.null_label` mean no label.
        seed: Seed of the request.
        image_indices: The index of each image in the flattened request, one per label.
        params: The parameters of each level.
        sampler: Samples one level.
        batch_size: Images sampled at a time, at least 1.
        guides: Level -> the guide of its prior, for the levels with autoguidance.
        progress: Called with the number of images of each finished batch.
        on_level: Called after each level of each batch, with its codes of the levels that are drawn.
        given: Level -> codes of all images that stay, on the grid; see `Sampler.sample`. Other levels are drawn whole.

    Returns:
        Codes on the device of the priors, and the log likelihood of each image: in nats, summed over all levels, under
        the unguided and unfiltered models.

    Raises:
        ValueError: The arguments do not fit together.
    """
    _check_levels(priors, params)
    _check_images(labels, image_indices, batch_size, priors[0].null_label)
    labels = labels.to(priors[0].embedding.weight.device)
    parts: list[Codes] = []
    log_likelihoods: list[Tensor] = []
    for begin in range(0, len(labels), batch_size):
        # One object for all levels of a batch: a level continues the generators where the coarser level left them.
        noise = ImageNoise(seed, image_indices[begin : begin + batch_size], labels.device)
        codes, log_likelihood = _sample_batch(
            priors,
            labels[begin : begin + batch_size],
            noise,
            params,
            sampler,
            guides or {},
            on_level,
            {level: each.of_images(begin, begin + batch_size) for level, each in (given or {}).items()},
        )
        parts.append(codes)
        log_likelihoods.append(log_likelihood)
        if progress is not None:
            progress(len(codes))
    return Codes.cat(parts), torch.cat(log_likelihoods)


def _sample_batch(
    priors: Sequence[PixelCNN],
    labels: Tensor,
    noise: ImageNoise,
    params: Sequence[LevelParams],
    sampler: Sampler,
    guides: Mapping[str, PixelCNN],
    on_level: Callable[[Codes], object] | None,
    given: Mapping[str, Given],
) -> tuple[Codes, Tensor]:
    grids: dict[str, Tensor] = {}
    log_likelihood = torch.zeros(len(labels), dtype=torch.float64, device=labels.device)
    for prior, level_params in zip(priors, params, strict=True):
        coarser = conditioning_codes(prior.config, grids)
        with step_threads(prior, level_params.copies * len(labels)):
            with evaluation(prior):
                condition = prior.encode_condition(coarser)
            guide = _guide_of(guides.get(prior.config.level), coarser) if level_params.is_autoguided else None
            stays = given.get(prior.config.level)
            sample = sampler.sample(prior, labels, condition, noise, level_params, guide, stays)
        grids[prior.config.level] = sample.codes
        log_likelihood += sample.log_likelihood
        if on_level is not None:
            on_level(Codes(dict(grids)))
    return Codes(grids), log_likelihood


def _guide_of(prior: PixelCNN | None, coarser: Tensor | None) -> Guide | None:
    if prior is None:
        return None  # the sampler refuses it
    # A guide encodes the coarser codes with its own weights.
    with evaluation(prior):
        return Guide(prior, prior.encode_condition(coarser))


def _check_levels(priors: Sequence[PixelCNN], params: Sequence[LevelParams]) -> None:
    if not priors:
        raise ValueError("priors should be at least one, found none")
    if len(params) != len(priors):
        raise ValueError(f"params should be one per level, {len(priors)}, found {len(params)}")
    if len({prior.null_label for prior in priors}) > 1:
        raise ValueError(f"priors should share num_classes, found {[prior.null_label for prior in priors]}")
    sizes = [(0, 0)]  # the coarsest prior has no coarser codes
    for prior in (prior.config for prior in priors):
        found, expected = (prior.coarser_height, prior.coarser_width), sizes[-1]
        if found != expected:
            raise ValueError(
                f"priors should go from coarse to fine, {prior.level!r} next to coarser codes of "
                f"{expected[0]} x {expected[1]}, found {found[0]} x {found[1]}"
            )
        count = prior.conditioning_grids
        if sizes[-count:] != [found] * count:
            raise ValueError(
                f"priors should have {count} grids of {found[0]} x {found[1]} before {prior.level!r}, found {sizes[1:]}"
            )
        sizes.append((prior.height, prior.width))


def _check_images(labels: Tensor, image_indices: Sequence[int], batch_size: int, null_label: int) -> None:
    if labels.ndim != 1 or labels.dtype != torch.int64 or len(labels) == 0:
        raise ValueError(
            f"labels should be int64 of shape (b,), b at least 1, found {labels.dtype} {tuple(labels.shape)}"
        )
    low = int(labels.min())
    high = int(labels.max())
    if low < -1 or high > null_label:
        raise ValueError(f"labels should be from -1 to {null_label}, the null label, found {low} to {high}")
    if len(image_indices) != len(labels):
        raise ValueError(f"image_indices should be one per label, {len(labels)}, found {len(image_indices)}")
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1, found {batch_size}")
