"""The files that every pipeline folder contains, whatever its models are.

<pipeline>/pipeline.json           class, label map, data, hashes of the models
<pipeline>/split.json              the images that were held out
<pipeline>/README.md  recipe.toml  texts
<pipeline>/classifier/             the classifier of real images; may be missing
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from vqgen.config import DataConfig
from vqgen.config.base import is_runtime_field
from vqgen.config.changed_defaults import with_behaviour_of_then
from vqgen.config.portable import portable_text, without_runtime_fields
from vqgen.data.label_map import LabelMap
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model, load_model, made_from, save_model
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.image_classifier import ImageClassifier
from vqgen.storage.documents import FORMAT_VERSION, check_format, read_json, read_text
from vqgen.storage.files import write_json
from vqgen.storage.tensors import read_shapes

CODES_CLASS = "VQGenPipeline"
"""The class of a pipeline of codes in pipeline.json."""

BASELINE_CLASS = "BaselinePipeline"
"""The class of a baseline in pipeline.json."""

_TEXTS = ("README.md", "recipe.toml")

_PIPELINE_ENTRY = re.compile(
    r"pipeline\.json|split\.json|frequencies\.safetensors|README\.md|recipe\.toml|vqvae|autoencoder|"
    r"(?:prior|guide)-\w+|classifier"
)
"""The names that a pipeline folder may contain."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass(kw_only=True)
class CommonParts:
    """The parts of every pipeline.

    Attributes:
        name: Name of the run that made it.
        data: The images that the models were trained on.
        label_map: Names of the labels, in the order of their indices; may be empty.
        split: Split name -> indices of its images in the source.
        classifier: The classifier of real images; None if the run trained none.
        classifier_made_from: SHA-256 of everything that the classifier was trained on, by name.
        classifier_hash: SHA-256 of the classifier; filled on loading.
        texts: Name -> text of README.md and recipe.toml.
        run_folder: The run folder that it was opened from; None for a pipeline that may come from elsewhere.
    """

    name: str
    data: DataConfig
    label_map: LabelMap
    split: dict[str, list[int]] = field(default_factory=dict)
    classifier: ImageClassifier | None = None
    classifier_made_from: dict[str, str] = field(default_factory=dict)
    classifier_hash: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    run_folder: Path | None = None


@dataclass(frozen=True)
class PipelineDocument:
    """The content of pipeline.json.

    Attributes:
        folder: The pipeline folder.
        pipeline_class: Class of the pipeline.
        name: Name of the run that made it.
        data: The images that the models were trained on.
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


def write_common(
    parts: CommonParts,
    folder: Path,
    pipeline_class: str,
    hashes: Mapping[str, str],
    levels: Sequence[str] | None = None,
    classifier_dtype: torch.dtype | None = None,
) -> None:
    """Writes the common parts into a new pipeline folder.

    Args:
        parts: The parts.
        folder: The folder, which has the models of the pipeline already.
        pipeline_class: Class of the pipeline.
        hashes: Folder of each model -> its SHA-256.
        levels: Names of the levels, coarse to fine; None for a pipeline without codes.
        classifier_dtype: Dtype of the classifier's weights in the file; None keeps their own.

    Raises:
        CheckpointError: A weight is too large for the dtype.
    """
    # A copy, because the classifier is added below.
    hashes = dict(hashes)
    if parts.classifier is not None:
        made = parts.classifier_made_from
        hashes["classifier"] = save_model(parts.classifier, folder / "classifier", made, classifier_dtype)
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

    The fields of the recipe that describe the machine of the training are left out: see `vqgen.config.portable`.

    Args:
        folder: The folder, which has all models already.
        pipeline_class: Class of the pipeline.
        name: Name of the run.
        data: The images that the models were trained on.
        label_map: Names of the labels.
        hashes: Folder of each model -> its SHA-256.
        levels: Names of the levels, coarse to fine; None for a pipeline without codes.
        split: Split name -> indices of its images in the source; may be empty.
        texts: File name -> text.

    Raises:
        CheckpointError: The recipe among the texts is not TOML.
    """
    local_fields = {field for field in DataConfig.model_fields if is_runtime_field(DataConfig, field)}
    document: dict[str, Any] = {"format_version": FORMAT_VERSION, "class": pipeline_class, "name": name}
    if levels is not None:
        document["levels"] = list(levels)
    document |= {
        "labels": list(label_map.names),
        "data": data.model_dump(mode="json", exclude=local_fields),
        "sha256": dict(hashes),
    }
    write_json(folder / "pipeline.json", document)
    if split:
        write_json(folder / "split.json", dict(split))
    for file_name, text in texts.items():
        is_recipe = file_name == "recipe.toml"
        portable = portable_text(text, f"{file_name} of pipeline {name!r}") if is_recipe else text
        (folder / file_name).write_text(portable, encoding="utf-8")


def read_document(folder: Path) -> PipelineDocument:
    """Reads pipeline.json.

    Raises:
        CheckpointError: The file is missing, damaged or of another version.
    """
    path = folder / "pipeline.json"
    document = read_json(path)
    check_format(document, path)
    pipeline_class = document.get("class")
    if pipeline_class not in (CODES_CLASS, BASELINE_CLASS):
        raise CheckpointError(
            f"{path}: class: should be {CODES_CLASS} or {BASELINE_CLASS}, found {pipeline_class!r}; restore the file, "
            "or open it with the version of vqgen that wrote it"
        )
    try:
        data = with_behaviour_of_then(document["data"], DataConfig)
        return PipelineDocument(
            folder=folder,
            pipeline_class=pipeline_class,
            name=document.get("name", folder.name),
            # Folders of pipelines made before, or by a stranger, may name a path.
            data=DataConfig.model_validate(without_runtime_fields(data, DataConfig)),
            label_map=LabelMap(tuple(document["labels"])),
            hashes=dict(document["sha256"]),
            levels=tuple(document["levels"]) if pipeline_class == CODES_CLASS else (),
        )
    # The validation errors of pydantic are ValueErrors too.
    except (KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]  # of pydantic several lines
        raise CheckpointError(f"{path}: is not a valid pipeline.json; restore it or make it again: {reason}") from error


def files_of(document: PipelineDocument) -> list[str]:
    """Lists the files of a pipeline folder, by the models that its pipeline.json names; some files may be missing."""
    models = [name for name in document.hashes if _PIPELINE_ENTRY.fullmatch(name)]
    files = [f"{name}/{file}" for name in models for file in ("config.json", "model.safetensors")]
    return ["pipeline.json", "split.json", "frequencies.safetensors", *_TEXTS, *files]


def read_common(document: PipelineDocument, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads the common parts, and returns the fields of `CommonParts` by name.

    Raises:
        CheckpointError: A file is missing or damaged, or the classifier is not the one of this pipeline.
    """
    folder = document.folder
    fields: dict[str, Any] = {
        "name": document.name,
        "data": document.data,
        "label_map": document.label_map,
        "split": read_json(folder / "split.json") if (folder / "split.json").is_file() else {},
        "texts": {name: _read_part_text(path) for name in _TEXTS if (path := folder / name).is_file()},
        "run_folder": _run_folder(folder),
    }
    if (folder / "classifier").is_dir():
        classifier, sha256 = load_part(folder / "classifier", CLASSIFIERS.values(), document.hashes, device)
        _check_labels(classifier, document)
        fields |= {
            "classifier": classifier,
            "classifier_made_from": made_from(folder / "classifier"),
            "classifier_hash": sha256,
        }
    return fields


def _read_part_text(path: Path) -> str:
    return read_text(path, remedy="save it as UTF-8, restore it, or remove it: the models work without it")


def _run_folder(folder: Path) -> Path | None:
    """Returns the run folder around a pipeline folder; None for a pipeline folder of its own."""
    # A download has its pipeline.json at the top, in a folder that is named by its commit.
    is_of_run = folder.name == "pipeline" and (folder.parent / "recipe.toml").is_file()
    return folder.parent if is_of_run else None


def load_part(
    folder: Path, classes: Collection[type[Model]], recorded: Mapping[str, Any], device: torch.device | str = "cpu"
) -> tuple[Model, str]:
    """Rebuilds a model of a pipeline, and checks that it is the model that pipeline.json names.

    Args:
        folder: The folder of the model, inside the pipeline folder.
        classes: The classes that the model may have.
        recorded: Folder of each model -> its SHA-256, from pipeline.json.
        device: Device of the weights.

    Returns:
        The model, in evaluation mode, and its SHA-256.

    Raises:
        CheckpointError: A file is missing or damaged, or the model is another one.
    """
    # The file names its class, but only these classes are built: the file may be a stranger's.
    by_name = {model_class.__name__: model_class for model_class in classes}
    found = str(read_json(folder / "config.json").get("class"))
    if found not in by_name:
        raise CheckpointError(f"{folder}: should hold a {' or a '.join(by_name)}, found a {found}")
    read_shapes(folder / "model.safetensors")  # a file that is cut short is called so, and not another model
    # Before the model is built, which may take any memory that its configuration names. And a folder of models is easy
    # to mix up by hand: codes of one VQ-VAE are noise to the prior of another one.
    sha256 = hash_model(folder)
    if recorded.get(folder.name) != sha256:
        raise CheckpointError(
            f"{folder}: is not the model that pipeline.json names: should be {recorded.get(folder.name)}, "
            f"found {sha256}; restore it or make the pipeline again"
        )
    return load_model(folder, by_name[found], device), sha256


def check_replaceable(folder: Path) -> None:
    """Refuses a folder that contains anything but a pipeline: writing a pipeline replaces the folder as a whole.

    Raises:
        CheckpointError: The folder contains something else.
    """
    if not folder.exists():
        return
    found = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else [folder.name]
    foreign = [name for name in found if not _PIPELINE_ENTRY.fullmatch(name)]
    # A README.md alone is not a pipeline, although a pipeline may have one.
    if foreign or (found and "pipeline.json" not in found):
        raise CheckpointError(
            f"{folder}: should be a new or empty folder or hold nothing but a pipeline, "
            f"found {', '.join((foreign or found)[:6])}; choose another"
        )


def _check_labels(classifier: ImageClassifier, document: PipelineDocument) -> None:
    found = classifier.config.num_classes
    if found != len(document.label_map):
        raise CheckpointError(
            f"{document.folder / 'classifier'}: should name the {len(document.label_map)} labels of the pipeline, "
            f"found {found}; put the models of one run together"
        )
