"""The pipeline folder of a VQ-VAE and its priors.

<pipeline>/vqvae/  prior-top/  prior-bottom/     models
<pipeline>/guide-bottom/                         a prior as it was early in its training; may be missing
<pipeline>/frequencies.safetensors               frequencies of the codes, for the static coder; may be missing

and the files that every pipeline folder contains: see `vqgen.pipeline.folder`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import made_from, save_model
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.folder import (
    CODES_CLASS,
    CommonParts,
    PipelineDocument,
    load_part,
    read_common,
    read_document,
    write_common,
)
from vqgen.storage.files import atomic_path
from vqgen.storage.tensors import load_tensors, save_tensors

FREQUENCIES = "frequencies.safetensors"


@dataclass(kw_only=True)
class PipelineParts(CommonParts):
    """The parts of the pipeline of a VQ-VAE and its priors.

    Attributes:
        vqvae: The VQ-VAE.
        priors: Level name -> prior, coarse to fine; levels without a trained prior are absent.
        guides: Level name -> the prior as it was early in training, for autoguidance; levels without one are absent.
        trained_on: Level name -> SHA-256 of the VQ-VAE whose codes the prior was trained on.
        frequencies: Level name -> `(codebook_size,)` integer frequencies of the codes of the training images.
        vqvae_hash: SHA-256 of the VQ-VAE; filled on loading.
        prior_hashes: Level name -> SHA-256 of the prior; filled on loading.
    """

    vqvae: VQVAE
    priors: dict[str, PixelCNN] = field(default_factory=dict)
    guides: dict[str, PixelCNN] = field(default_factory=dict)
    trained_on: dict[str, str] = field(default_factory=dict)
    frequencies: dict[str, Tensor] = field(default_factory=dict)
    vqvae_hash: str = ""
    prior_hashes: dict[str, str] = field(default_factory=dict)


def save_pipeline(
    parts: PipelineParts,
    folder: Path,
    prior_dtype: torch.dtype | None = None,
    classifier_dtype: torch.dtype | None = None,
    vqvae_dtype: torch.dtype | None = None,
) -> None:
    """Writes a pipeline folder, all or nothing.

    Args:
        parts: Models, labels and texts.
        folder: Folder to write or replace.
        prior_dtype: Dtype of the weights of priors and guides in the files; None keeps their own.
        classifier_dtype: The same for the classifier.
        vqvae_dtype: The same for the VQ-VAE, which then is another model: of some images it makes other codes.

    Raises:
        CheckpointError: A weight is too large for the dtype.
    """
    with atomic_path(folder) as temporary:
        hashes = {"vqvae": save_model(parts.vqvae, temporary / "vqvae", dtype=vqvae_dtype)}
        for level, prior in parts.priors.items():
            origin = parts.trained_on.get(level, parts.vqvae_hash)
            # A pipeline that was loaded and moved to another dtype has the same VQ-VAE under a new hash.
            if origin == parts.vqvae_hash:
                origin = hashes["vqvae"]
            made = {"vqvae": origin}
            hashes[f"prior-{level}"] = save_model(prior, temporary / f"prior-{level}", made, prior_dtype)
            if level in parts.guides:
                guide = parts.guides[level]
                hashes[f"guide-{level}"] = save_model(guide, temporary / f"guide-{level}", made, prior_dtype)
        write_common(parts, temporary, CODES_CLASS, hashes, list(parts.vqvae.levels), classifier_dtype)
        if parts.frequencies:
            # Frequencies sum to 2^24, so 32 bits hold each of them.
            tensors = {level: frequencies.to(torch.int32) for level, frequencies in parts.frequencies.items()}
            save_tensors(temporary / FREQUENCIES, tensors)


def load_pipeline(folder: Path, device: torch.device | str = "cpu") -> PipelineParts:
    """Reads a pipeline folder.

    Raises:
        CheckpointError: The folder has another pipeline, a file is missing or damaged, a prior was trained on codes of
            another VQ-VAE, or levels, grids or sizes of the parts do not fit together.
    """
    document = read_document(folder)
    if document.pipeline_class != CODES_CLASS:
        raise CheckpointError(
            f"checkpoint {folder}: should be a VQ-VAE with codes, found a baseline without codes; generate, "
            "reconstruct, evaluate, compare, sweep, interpolate, attribute and info accept baselines"
        )
    vqvae, vqvae_hash = load_part(folder / "vqvae", [VQVAE], document.hashes, device)
    _check_vqvae(document, vqvae)
    priors: dict[str, PixelCNN] = {}
    prior_hashes: dict[str, str] = {}
    guides: dict[str, PixelCNN] = {}
    for level in document.levels:
        prior_folder = folder / f"prior-{level}"
        if not prior_folder.is_dir():  # the pipeline is written first when the VQ-VAE exists, and again with each prior
            continue
        # Before the hash, which differs too: this error says what is wrong with the prior.
        _check_origin(prior_folder, vqvae_hash)
        priors[level], prior_hashes[level] = load_part(prior_folder, [PixelCNN], document.hashes, device)
        _check_prior(prior_folder, priors[level], level, vqvae, len(document.label_map))
        # By the document and not by the folder, so that a guide that got lost is missed.
        if f"guide-{level}" in document.hashes:
            guide_folder = folder / f"guide-{level}"
            guides[level], _ = load_part(guide_folder, [PixelCNN], document.hashes, device)
            _check_alike(guide_folder, guides[level], priors[level])
    return PipelineParts(
        **read_common(document, device),
        vqvae=vqvae,
        priors=priors,
        guides=guides,
        trained_on=dict.fromkeys(priors, vqvae_hash),
        frequencies=load_tensors(folder / FREQUENCIES)[0] if (folder / FREQUENCIES).is_file() else {},
        vqvae_hash=vqvae_hash,
        prior_hashes=prior_hashes,
    )


def _check_vqvae(document: PipelineDocument, vqvae: VQVAE) -> None:
    """Checks that pipeline.json describes this VQ-VAE: its levels and the images that it takes."""
    config = vqvae.config
    _check_sizes(
        document.folder / "pipeline.json",
        "of the VQ-VAE beside it",
        {
            "levels": (document.levels, vqvae.levels),
            "data.image_size": (document.data.image_size, config.image_size),
            "data.channels": (document.data.channels, config.image_channels),
        },
    )


def _check_prior(folder: Path, prior: PixelCNN, level: str, vqvae: VQVAE, num_labels: int) -> None:
    """Checks that a prior models the codes of a level of this VQ-VAE: their grid, their number, the coarser grid."""
    config = prior.config
    index = vqvae.levels.index(level)
    sides = [vqvae.config.image_size // factor for factor in vqvae.config.grid_factors]
    coarser = sides[index - 1] if index else 0
    _check_sizes(
        folder,
        "of this pipeline",
        {
            "level": (config.level, level),
            "height x width": ((config.height, config.width), (sides[index], sides[index])),
            "coarser_height x coarser_width": ((config.coarser_height, config.coarser_width), (coarser, coarser)),
            "conditioning_grids": (
                config.conditioning_grids,
                vqvae.config.conditioning_grids(index, config.conditioning_grids),
            ),
            "codebook_size": (config.codebook_size, vqvae.config.codebook_size),
            "num_classes": (config.num_classes, num_labels),
        },
    )


def _check_sizes(path: Path, owner: str, sizes: Mapping[str, tuple[object, object]]) -> None:
    """Refuses a part of which a value, the first of each pair, is not the one that the other parts need."""
    for name, (found, needed) in sizes.items():
        if found != needed:
            raise CheckpointError(
                f"{path}: {name}: should be that {owner}, {needed}, found {found}; put the models of one run together"
            )


def _check_origin(prior_folder: Path, vqvae_hash: str) -> None:
    trained_on = made_from(prior_folder).get("vqvae")
    if trained_on != vqvae_hash:
        raise CheckpointError(
            f"{prior_folder}: was trained on codes of another VQ-VAE ({trained_on}) "
            f"than the one beside it ({vqvae_hash}); put the VQ-VAE and the priors of one run together"
        )


def _check_alike(guide_folder: Path, guide: PixelCNN, prior: PixelCNN) -> None:
    # Guidance combines the logits of both step by step, so grid, order and codebook have to agree.
    if guide.config != prior.config:
        raise CheckpointError(
            f"{guide_folder}: should be the prior beside it at an earlier step, found a prior with other sizes or "
            "settings; put the models of one run together"
        )
