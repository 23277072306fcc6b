"""Checks that a pipeline can decode a file: that it has the models and the labels of the pipeline that wrote it."""

from vqgen.codec.entropy_models import EntropyModels
from vqgen.codec.header import Coder, ComputeType
from vqgen.codec.image_codes import ImageShape
from vqgen.errors import BitstreamError


def check_models(
    models: EntropyModels, vqvae: bytes, fingerprint: bytes, coders: frozenset[Coder], num_levels: int, batch_size: int
) -> None:
    """Checks that these models wrote a file; all arguments but the first come from the file's header.

    Args:
        models: The models that should decode the file.
        vqvae: First bytes of the VQ-VAE's SHA-256.
        fingerprint: Fingerprint of the entropy models.
        coders: Coders that the file uses.
        num_levels: Number of levels.
        batch_size: Tiles that the priors evaluate at a time.

    Raises:
        BitstreamError: Other models wrote the file, a model is missing, or the batch needs more memory than any
            that is ever written.
    """
    name = models.parts.name
    # The VQ-VAE comes first: with another one the checks below may fail too, with messages that mislead.
    if vqvae != models.vqvae_hash:
        raise BitstreamError(
            f"it was made with VQ-VAE {vqvae.hex()}, and pipeline {name!r} has "
            f"{models.vqvae_hash.hex()}; `vqgen info` shows the VQ-VAE of a checkpoint"
        )
    if num_levels != len(models.levels):
        raise BitstreamError(f"it should have {len(models.levels)} levels, found {num_levels}")
    # Missing models come before the fingerprint: their errors name the level, a fingerprint cannot.
    for level in models.levels:
        if Coder.PRIOR in coders:
            models.prior(level)
    for level in models.levels:
        if Coder.STATIC in coders:
            models.frequencies(level)
    if fingerprint != models.fingerprint(coders):
        raise BitstreamError(
            f"it was made with another prior or other static frequencies ({fingerprint.hex()}) than those of pipeline "
            f"{name!r} ({models.fingerprint(coders).hex()}); open it with the pipeline that made it"
        )
    if batch_size > models.batch_size:
        raise BitstreamError(
            f"the priors should evaluate at most {models.batch_size} tiles at a time, found {batch_size}; "
            "the file is damaged, or another version of vqgen made it"
        )


def check_compute_type(models: EntropyModels, compute_type: ComputeType) -> None:
    """Checks that the priors run in the arithmetic that a file names.

    Raises:
        BitstreamError: It names another one.
    """
    if compute_type not in (ComputeType.NONE, models.compute_type):
        raise BitstreamError(
            f"its prior should run in {models.compute_type.name.lower()}, as in pipeline {models.parts.name!r}, found "
            f"{compute_type.name.lower()}; the file is damaged, or another version of vqgen made it"
        )


def check_shape(models: EntropyModels, shape: ImageShape) -> None:
    """Checks that the pipeline can have encoded an image with these properties.

    Raises:
        BitstreamError: The pipeline does not have its label or its colours.
    """
    num_labels = len(models.parts.label_map)
    if shape.label is not None and shape.label >= num_labels:
        raise BitstreamError(f"its label should be below {num_labels}, found {shape.label}")
    if shape.rgb and models.parts.vqvae.config.image_channels == 1:
        raise BitstreamError("its image should be grey, as the model supports grey images only, found RGB")
