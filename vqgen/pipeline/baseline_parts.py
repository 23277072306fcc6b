"""The pipeline folder of a baseline.

<pipeline>/autoencoder/      the model

and what every pipeline folder holds: `pipeline_folder`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from vqgen.errors import CheckpointError
from vqgen.models.autoencoders.kinds import BASELINES
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.models.checkpoint import load_model, save_model
from vqgen.pipeline.folder import BASELINE_CLASS, CommonParts, check_hash, read_common, read_document, write_common
from vqgen.storage.documents import read_json
from vqgen.storage.files import atomic_path

MODEL_FOLDER = "autoencoder"


@dataclass(kw_only=True)
class BaselineParts(CommonParts):
    """What a baseline's pipeline folder holds; beside what every one does.

    Attributes:
        model: The autoencoder.
        model_hash: SHA-256 of the autoencoder; filled on loading.
    """

    model: LatentModel
    model_hash: str = ""


def save_baseline(parts: BaselineParts, folder: Path) -> None:
    """Writes a baseline's pipeline folder, all or nothing.

    Args:
        parts: Its models, labels and texts.
        folder: Folder to write or replace.
    """
    with atomic_path(folder) as temporary:
        hashes = {MODEL_FOLDER: save_model(parts.model, temporary / MODEL_FOLDER)}
        write_common(parts, temporary, BASELINE_CLASS, hashes)


def load_baseline(folder: Path, device: torch.device | str = "cpu") -> BaselineParts:
    """Reads a baseline's pipeline folder.

    Raises:
        CheckpointError: It is none, or something is missing or damaged.
    """
    document = read_document(folder)
    if document.pipeline_class != BASELINE_CLASS:
        raise CheckpointError(f"checkpoint {folder}: should be a baseline, found a {document.pipeline_class}")
    return BaselineParts(
        **read_common(document, device),
        model=load_baseline_model(folder / MODEL_FOLDER, device),
        model_hash=check_hash(folder / MODEL_FOLDER, document.hashes),
    )


def load_baseline_model(folder: Path, device: torch.device | str = "cpu") -> LatentModel:
    """Rebuilds a baseline from its portable folder, in evaluation mode.

    Raises:
        CheckpointError: Files are missing or damaged, or it is no baseline.
    """
    found = read_json(folder / "config.json").get("class")
    kinds = {kind.__name__: kind for kind in BASELINES.values()}
    if found not in kinds:
        raise CheckpointError(f"{folder}: should hold one of {', '.join(kinds)}, found a {found}")
    return load_model(folder, kinds[found], device)
