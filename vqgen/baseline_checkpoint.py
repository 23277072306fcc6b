"""The pipeline folder of a baseline.

<pipeline>/pipeline.json     label map, data, hashes of the parts
<pipeline>/split.json        which images were held out
<pipeline>/README.md  recipe.toml                what describes it
<pipeline>/autoencoder/  classifier/             models
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from vqgen.checkpoint import (
    FORMAT_VERSION,
    TEXTS,
    check_format,
    check_hash,
    load_classifier,
    load_model,
    read_json,
    save_model,
)
from vqgen.config import DataConfig
from vqgen.data.label_map import LabelMap
from vqgen.errors import CheckpointError
from vqgen.files import atomic_path, write_json
from vqgen.models.baselines import BASELINES
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.latent_model import LatentModel

BASELINE_CLASS = "BaselinePipeline"
"""What pipeline.json calls a baseline."""

MODEL_FOLDER = "autoencoder"


@dataclass
class BaselineParts:
    """What a baseline's pipeline folder holds.

    Attributes:
        name: Name of the run that made it.
        data: What the images were.
        label_map: Names of the images' labels; may be empty.
        model: The autoencoder.
        split: Split name -> indices of its images in the source.
        classifier: The classifier of real images; None where the run trained none.
        classifier_made_from: What it was trained on, name -> SHA-256.
        classifier_hash: Its SHA-256; filled on loading.
        texts: Name -> text of the files that describe it: README.md and recipe.toml.
        model_hash: SHA-256 of the autoencoder; filled on loading.
    """

    name: str
    data: DataConfig
    label_map: LabelMap
    model: LatentModel
    split: dict[str, list[int]] = field(default_factory=dict)
    classifier: ImageClassifier | None = None
    classifier_made_from: dict[str, str] = field(default_factory=dict)
    classifier_hash: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    model_hash: str = ""


def save_baseline(parts: BaselineParts, folder: Path) -> None:
    """Writes a baseline's pipeline folder, all or nothing.

    Args:
        parts: Its models, labels and texts.
        folder: Folder to write or replace.
    """
    with atomic_path(folder) as temporary:
        hashes = {MODEL_FOLDER: save_model(parts.model, temporary / MODEL_FOLDER)}
        if parts.classifier is not None:
            hashes["classifier"] = save_model(parts.classifier, temporary / "classifier", parts.classifier_made_from)
        write_json(
            temporary / "pipeline.json",
            {
                "format_version": FORMAT_VERSION,
                "class": BASELINE_CLASS,
                "name": parts.name,
                "labels": list(parts.label_map.names),
                "data": parts.data.model_dump(mode="json", exclude={"root", "download", "workers", "max_unreadable"}),
                "sha256": hashes,
            },
        )
        if parts.split:
            write_json(temporary / "split.json", parts.split)
        for name, text in parts.texts.items():
            (temporary / name).write_text(text, encoding="utf-8")


def load_baseline(folder: Path, device: torch.device | str = "cpu") -> BaselineParts:
    """Reads a baseline's pipeline folder.

    Raises:
        CheckpointError: It is none, or something is missing or damaged.
    """
    document = read_json(folder / "pipeline.json")
    check_format(document, folder / "pipeline.json")
    if document.get("class") != BASELINE_CLASS:
        raise CheckpointError(f"checkpoint {folder}: should be a baseline, found a {document.get('class')}")
    try:
        data = DataConfig.model_validate(document["data"])
        label_map, recorded = LabelMap(tuple(document["labels"])), dict(document["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'pipeline.json'}: is not what it has to be: {error}") from error
    model = load_baseline_model(folder / MODEL_FOLDER, device)
    classifier, classifier_made_from, classifier_hash = None, {}, ""
    if (folder / "classifier").is_dir():
        classifier, classifier_made_from = load_classifier(folder / "classifier", len(label_map), device)
        classifier_hash = check_hash(folder / "classifier", recorded)
    return BaselineParts(
        name=document.get("name", folder.name),
        data=data,
        label_map=label_map,
        model=model,
        split=read_json(folder / "split.json") if (folder / "split.json").is_file() else {},
        classifier=classifier,
        classifier_made_from=classifier_made_from,
        classifier_hash=classifier_hash,
        texts={name: path.read_text(encoding="utf-8") for name in TEXTS if (path := folder / name).is_file()},
        model_hash=check_hash(folder / MODEL_FOLDER, recorded),
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
