"""The label that conditions the prior when it predicts the codes of an image."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.frequencies import PRECISION
from vqgen.codec.header import Coder
from vqgen.codec.image_codes import ImageCodes
from vqgen.codec.segments import Stream, level_stream, prior_coder
from vqgen.data import Label
from vqgen.errors import ConfigError


def choose_labels(models: EntropyModels, codes: Sequence[ImageCodes], label: Label | None) -> list[ImageCodes]:
    """Gives images their label.

    Args:
        models: The models that predict the codes.
        codes: The images.
        label: A name or an index for all images; None for no label. The word "auto" tries all labels, and no label,
            and takes for each image the one with the fewest bits under the priors. If the pipeline has a label of the
            name "auto", the word means that label.

    Raises:
        DataError: The label is unknown.
        ConfigError: The label is "auto" and a prior is missing.
    """
    if label is None:
        return list(codes)
    label_map = models.parts.label_map
    if not isinstance(label, str) or label != "auto" or "auto" in label_map.names:
        index = label_map.index(label)  # an unknown label is refused without an image, too
        return [_with_label(each, index) for each in codes]
    if any(level not in models.parts.priors for level in models.levels):
        raise ConfigError(f"label: auto needs priors, which pipeline {models.parts.name!r} lacks; leave it out")
    return [_with_label(each, _shortest(models, each)) for each in codes]


def ideal_bits(models: EntropyModels, codes: ImageCodes, level: str, coder: Coder, label: int | None = None) -> float:
    """Computes -log2 p of all codes of a level: the length that an ideal coder with this model would write.

    Args:
        models: The models that predict the codes.
        codes: The image.
        level: The level.
        coder: The coder whose model predicts them.
        label: Index of the label that conditions a prior; None without a label.

    Returns:
        The length in bits.
    """
    if coder is Coder.PACKED:
        return float(codes.grids[level].size * (models.codebook_size - 1).bit_length())
    if coder is Coder.STATIC:
        frequencies = models.frequencies(level)[codes.grids[level]]
        return float((PRECISION - np.log2(frequencies)).sum())
    return _prior_bits(models, _with_label(codes, label), level)


def _shortest(models: EntropyModels, codes: ImageCodes) -> int | None:
    choices = [None, *range(len(models.parts.label_map))]
    # Ideal lengths, not written files: one parallel pass per label costs far less than the coder's steps.
    bits = [sum(ideal_bits(models, codes, level, Coder.PRIOR, label) for level in models.levels) for label in choices]
    return choices[int(np.argmin(bits))]  # the first of equal sums, so "no label" wins a tie


def _prior_bits(models: EntropyModels, codes: ImageCodes, level: str) -> float:
    return prior_coder(models, level, models.batch_size).bits([level_stream(models, Stream.of(codes), level)])[0]


def _with_label(codes: ImageCodes, label: int | None) -> ImageCodes:
    return replace(codes, shape=replace(codes.shape, label=label), written=None)
