"""What every pipeline folder holds, whatever its models are, and where to find one.

<pipeline>/pipeline.json     class, label map, data, hashes of the models
<pipeline>/split.json        which images were held out
<pipeline>/README.md  recipe.toml                what describes it
<pipeline>/classifier/       the classifier of real images; may be missing
"""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vqgen.config import DataConfig
from vqgen.data.label_map import LabelMap
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model, load_model, made_from, save_model
from vqgen.models.classifier import Classifier
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.image_classifier import ImageClassifier
from vqgen.storage.documents import FORMAT_VERSION, check_format, read_json
from vqgen.storage.files import write_json

CODES_CLASS, BASELINE_CLASS = "VQGenPipeline", "BaselinePipeline"
"""What pipeline.json calls a pipeline of codes, and a baseline."""

_TEXTS = ("README.md", "recipe.toml")

_PIPELINE_ENTRY = re.compile(
    r"pipeline\.json|split\.json|frequencies\.safetensors|README\.md|recipe\.toml|vqvae|autoencoder|"
    r"(?:prior|guide)-\w+|classifier"
)
"""Names that may lie in a pipeline folder."""


@dataclass(kw_only=True)
class CommonParts:
    """What every pipeline folder holds.

    Attributes:
        name: Name of the run that made it.
        data: What the images were.
        label_map: Names of the labels, in the order of their indices; may be empty.
        split: Split name -> indices of its images in the source.
        classifier: The classifier of real images; None where the run trained none.
        classifier_made_from: What it was trained on, name -> SHA-256.
        classifier_hash: Its SHA-256; filled on loading.
        texts: Name -> text of the files that describe it: README.md and recipe.toml.
    """

    name: str
    data: DataConfig
    label_map: LabelMap
    split: dict[str, list[int]] = field(default_factory=dict)
    classifier: ImageClassifier | None = None
    classifier_made_from: dict[str, str] = field(default_factory=dict)
    classifier_hash: str = ""
    texts: dict[str, str] = field(default_factory=dict)


def write_common(
    parts: CommonParts,
    folder: Path,
    pipeline_class: str,
    hashes: Mapping[str, str],
    levels: Sequence[str] | None = None,
) -> None:
    """Writes everything but the pipeline's own models into a new folder.

    Args:
        parts: What the pipeline holds.
        folder: The folder, which has the models already.
        pipeline_class: Class of the pipeline.
        hashes: Folder of each model -> its SHA-256.
        levels: Names of the levels, coarse to fine; None for a pipeline without codes.
    """
    hashes = dict(hashes)
    if parts.classifier is not None:
        hashes["classifier"] = save_model(parts.classifier, folder / "classifier", parts.classifier_made_from)
    write_description(
        folder,
        pipeline_class,
        name=parts.name,
        data=parts.data,
        label_map=parts.label_map,
        hashes=hashes,
        levels=levels,
        split=parts.split,
        texts=parts.texts,
    )


def write_description(
    folder: Path,
    pipeline_class: str,
    *,
    name: str,
    data: DataConfig,
    label_map: LabelMap,
    hashes: Mapping[str, str],
    levels: Sequence[str] | None,
    split: Mapping[str, list[int]],
    texts: Mapping[str, str],
) -> None:
    """Writes the files of a pipeline folder that describe its models.

    Args:
        folder: The folder, which has the models already.
        pipeline_class: Class of the pipeline.
        name: Name of the run.
        data: The images that the models were trained on.
        label_map: Names of the labels.
        hashes: Folder of each model -> its SHA-256.
        levels: Names of the levels, coarse to fine; None for a pipeline without codes.
        split: Split name -> indices of its images in the source; may be empty.
        texts: Name of a file -> its text.
    """
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "class": pipeline_class, "name": name}
    if levels is not None:
        document["levels"] = list(levels)
    document |= {
        "labels": list(label_map.names),
        "data": data.model_dump(mode="json", exclude={"root", "download", "workers", "max_unreadable"}),
        "sha256": dict(hashes),
    }
    write_json(folder / "pipeline.json", document)
    if split:
        write_json(folder / "split.json", dict(split))
    for file_name, text in texts.items():
        (folder / file_name).write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class PipelineDocument:
    """What pipeline.json says.

    Attributes:
        folder: The pipeline folder.
        pipeline_class: Class of the pipeline.
        name: Name of the run that made it.
        data: What the images were.
        label_map: Names of the labels.
        hashes: Folder of each model -> its SHA-256.
        levels: Names of the levels; empty for a pipeline without codes.
    """

    folder: Path
    pipeline_class: str
    name: str
    data: DataConfig
    label_map: LabelMap
    hashes: dict[str, Any]
    levels: tuple[str, ...]


def read_document(folder: Path) -> PipelineDocument:
    """Reads pipeline.json.

    Raises:
        CheckpointError: It is missing, damaged or of another version.
    """
    path = folder / "pipeline.json"
    document = read_json(path)
    check_format(document, path)
    try:
        return PipelineDocument(
            folder=folder,
            pipeline_class=str(document.get("class")),
            name=document.get("name", folder.name),
            data=DataConfig.model_validate(document["data"]),
            label_map=LabelMap(tuple(document["labels"])),
            hashes=dict(document["sha256"]),
            levels=tuple(document["levels"]) if document.get("class") == CODES_CLASS else (),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is not what it has to be: {error}") from error


def read_common(document: PipelineDocument, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads the fields of `CommonParts`, by name.

    Raises:
        CheckpointError: Something is missing or damaged.
    """
    folder = document.folder
    classifier, classifier_made_from, classifier_hash = None, {}, ""
    if (folder / "classifier").is_dir():
        classifier, classifier_made_from = load_classifier(folder / "classifier", len(document.label_map), device)
        classifier_hash = check_hash(folder / "classifier", document.hashes)
    return {
        "name": document.name,
        "data": document.data,
        "label_map": document.label_map,
        "split": read_json(folder / "split.json") if (folder / "split.json").is_file() else {},
        "classifier": classifier,
        "classifier_made_from": classifier_made_from,
        "classifier_hash": classifier_hash,
        "texts": {name: path.read_text(encoding="utf-8") for name in _TEXTS if (path := folder / name).is_file()},
    }


def load_classifier(
    folder: Path, num_labels: int, device: torch.device | str = "cpu"
) -> tuple[ImageClassifier, dict[str, str]]:
    """Reads a classifier, and what it was trained on.

    Raises:
        CheckpointError: It is missing or damaged, or names another number of labels.
    """
    kinds = {kind.__name__: kind for kind in CLASSIFIERS.values()}
    found = read_json(folder / "config.json").get("class")
    classifier = load_model(folder, kinds.get(str(found), Classifier), device)
    found = classifier.config.num_classes
    if found != num_labels:
        raise CheckpointError(f"{folder}: should name the {num_labels} labels of the pipeline, found {found}")
    return classifier, made_from(folder)


def check_hash(folder: Path, recorded: Mapping[str, Any]) -> str:
    """The hash of the model in `folder`, where it is the one that was recorded under its name."""
    found = hash_model(folder)
    if recorded.get(folder.name) != found:
        raise CheckpointError(
            f"{folder}: is not the model that pipeline.json names: should be {recorded.get(folder.name)}, "
            f"found {found}; restore it or make the pipeline again"
        )
    return found


def locate_pipeline(name_or_path: str | Path) -> Path:
    """Finds the pipeline folder that a CHECKPOINT names.

    Args:
        name_or_path: A run folder (its `pipeline/`), a pipeline folder, or the name of a repository on the Hub.

    Raises:
        CheckpointError: None of these; the message says what is there instead.
    """
    path = Path(name_or_path)
    for folder in (path / "pipeline", path):
        if (folder / "pipeline.json").is_file():
            return folder
    if path.is_dir():
        found = sorted(entry.name for entry in path.iterdir())[:6]
        hint = (
            "its first stage is not finished; `vqgen run` goes on"
            if (path / "recipe.toml").is_file()
            else "give a run folder"
        )
        raise CheckpointError(f"checkpoint {path}: holds no pipeline, found {', '.join(found) or 'nothing'}; {hint}")
    name = str(name_or_path)
    if path.exists() or name.startswith((".", "/", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise CheckpointError(
            f"checkpoint {name!r}: there is no such folder; `vqgen run RECIPE` makes one in checkpoints/"
        )
    return _download(name)


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    patterns = ["*.json", "*.safetensors", "*.md", "*.toml"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"checkpoint {name!r}: is no folder here, and could not be had from the Hub: {reason}"
        ) from error
    if not (folder / "pipeline.json").is_file():
        raise CheckpointError(f"checkpoint {name!r}: the repository on the Hub holds no pipeline.json, so no pipeline")
    return folder


def check_replaceable(folder: Path) -> None:
    """Refuses to replace a folder that holds anything but a pipeline: it would be replaced as a whole.

    Raises:
        CheckpointError: It holds something else.
    """
    if not folder.exists():
        return
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else [folder.name]
    foreign = [name for name in found if not _PIPELINE_ENTRY.fullmatch(name)]
    if foreign or (found and "pipeline.json" not in found):
        raise CheckpointError(
            f"{folder}: should be a new or empty folder or hold nothing but a pipeline, "
            f"found {', '.join((foreign or found)[:6])}; choose another"
        )


def upload(save: Callable[[Path], object], repository: str, *, private: bool, token: str | None) -> str:
    """Uploads a pipeline folder to the Hub and returns its address; `save` writes the folder to a path."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    url = api.create_repo(repository, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "pipeline"
        save(folder)
        api.upload_folder(repo_id=repository, folder_path=folder)
    return str(url)
