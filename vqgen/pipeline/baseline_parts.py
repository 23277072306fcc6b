"""The pipeline folder of a baseline.

<pipeline>/autoencoder/      the model

and the files that every pipeline folder contains: see `vqgen.pipeline.folder`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from vqgen.errors import CheckpointError
from vqgen.models.autoencoders.kinds import BASELINES
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.models.checkpoint import save_model
from vqgen.pipeline.folder import BASELINE_CLASS, CommonParts, load_part, read_common, read_document, write_common
from vqgen.storage.files import atomic_path

MODEL_FOLDER = "autoencoder"


@dataclass(kw_only=True)
class BaselineParts(CommonParts):
    """The parts of the pipeline of a baseline.

    Attributes:
        model: The autoencoder.
        model_hash: SHA-256 of the autoencoder; filled on loading.
    """

    model: LatentModel
    model_hash: str = ""


def save_baseline(parts: BaselineParts, folder: Path) -> None:
    """Writes the pipeline folder of a baseline, all or nothing.

    Args:
        parts: Models, labels and texts.
        folder: Folder to write or replace.
    """
    with atomic_path(folder) as temporary:
        hashes = {MODEL_FOLDER: save_model(parts.model, temporary / MODEL_FOLDER)}
        write_common(parts, temporary, BASELINE_CLASS, hashes)


def load_baseline(folder: Path, device: torch.device | str = "cpu") -> BaselineParts:
    """Reads the pipeline folder of a baseline.

    Raises:
        CheckpointError: The folder has another pipeline, or a file is missing or damaged.
    """
    document = read_document(folder)
    if document.pipeline_class != BASELINE_CLASS:
        raise CheckpointError(
            f"checkpoint {folder}: should be a baseline, found a {document.pipeline_class}; `open_pipeline` opens both"
        )
    model, model_hash = load_part(folder / MODEL_FOLDER, BASELINES.values(), document.hashes, device)
    return BaselineParts(**read_common(document, device), model=model, model_hash=model_hash)
