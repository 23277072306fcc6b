"""Models, training states and pipeline folders on disk: JSON and safetensors, never a pickle.

<model>/config.json          class, configuration, hashes of what it was made from
<model>/model.safetensors    weights
<pipeline>/pipeline.json     label map, data, hashes of the parts
<pipeline>/split.json        which images were held out
<pipeline>/frequencies.safetensors           how often each code occurs, for the static coder; may be missing
<pipeline>/README.md  recipe.toml                what describes it
<pipeline>/vqvae/  prior-top/  prior-bottom/  classifier/     models
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vqgen.config import DataConfig
from vqgen.data.label_map import LabelMap
from vqgen.errors import CheckpointError
from vqgen.files import atomic_path, sha256_of_file, sha256_of_json, write_json
from vqgen.models.classifier import Classifier
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.image_classifier import ImageClassifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.registry import CONFIGS
from vqgen.models.vqvae import VQVAE

FORMAT_VERSION = 1

TEXTS = ("README.md", "recipe.toml")

_FREQUENCIES = "frequencies.safetensors"

Model = TypeVar("Model", bound=nn.Module)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: str = "") -> None:
    """Writes tensors and one text to a safetensors file, all or nothing.

    Raises:
        CheckpointError: The file cannot be written, because the disk is full for instance.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"vqgen": metadata})
        except SafetensorError as error:
            raise CheckpointError(f"{path}: could not be written: {error}") from error


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], str]:
    """Reads what `save_tensors` wrote.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path, device) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, (file.metadata() or {}).get("vqgen", "")


def load_text(path: Path) -> str:
    """Reads the text that `save_tensors` wrote, and no tensor.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("vqgen", "")


@contextmanager
def _opened(path: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is damaged or cut short ({error}); restore it or make it again") from error


def save_model(model: nn.Module, folder: Path, made_from: Mapping[str, str] | None = None) -> str:
    """Writes a model's portable folder, all or nothing.

    Args:
        model: The model; its weights keep their dtype.
        folder: Folder to write or replace.
        made_from: What it was trained on, name -> SHA-256.

    Returns:
        The model's hash, see `hash_model`.
    """
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        write_json(
            temporary / "config.json",
            {
                "format_version": FORMAT_VERSION,
                "class": type(model).__name__,
                "config": CONFIGS[type(model)].model_validate(model.config).model_dump(mode="json"),
                "made_from": dict(made_from or {}),
            },
        )
        save_tensors(temporary / "model.safetensors", model.state_dict())
        return hash_model(temporary)


def hash_model(folder: Path) -> str:
    """The SHA-256 over a model's class, configuration and weights, in hex.

    Raises:
        CheckpointError: A file is missing.
    """
    weights = folder / "model.safetensors"
    document = read_json(folder / "config.json")
    if not weights.is_file():
        raise CheckpointError(f"{weights}: there is no such file, so {folder} holds no model")
    return sha256_of_json([document.get("class"), document.get("config"), sha256_of_file(weights)])


def load_model(folder: Path, model_class: type[Model], device: torch.device | str = "cpu") -> Model:
    """Rebuilds a model from its portable folder, in evaluation mode.

    Raises:
        CheckpointError: Files are missing or damaged, of another class, or the weights do not fit.
    """
    document = read_json(folder / "config.json")
    check_format(document, folder / "config.json")
    if document.get("class") != model_class.__name__:
        raise CheckpointError(f"{folder}: should hold a {model_class.__name__}, found a {document.get('class')}")
    try:
        config = CONFIGS[model_class].model_validate(document.get("config"))
    except ValidationError as error:
        raise CheckpointError(
            f"{folder / 'config.json'}: is no configuration of a {model_class.__name__}: {error}"
        ) from error
    weights, _ = load_tensors(folder / "model.safetensors", device)
    model = model_class(config)
    if any(tensor.dtype == torch.float64 for tensor in weights.values()):
        model = model.double()
    load_weights(model, weights, origin=folder / "model.safetensors")
    return model.to(device).eval()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], *, origin: Path) -> None:
    """Copies weights into a model.

    Raises:
        CheckpointError: Names or shapes differ; the message names each leaf and both shapes.
    """
    expected = model.state_dict()
    problems = [f"{name}: is missing" for name in expected.keys() - weights.keys()]
    problems += [f"{name}: is no part of this model" for name in weights.keys() - expected.keys()]
    problems += [
        f"{name}: should have shape {tuple(expected[name].shape)}, found {tuple(weights[name].shape)}"
        for name in expected.keys() & weights.keys()
        if expected[name].shape != weights[name].shape
    ]
    if problems:
        shown = sorted(problems)[:8] + ([f"and {len(problems) - 8} more"] if len(problems) > 8 else [])
        raise CheckpointError("\n  ".join([f"{origin}: holds another model's weights:", *shown]))
    model.load_state_dict(dict(weights))


def made_from(folder: Path) -> dict[str, str]:
    """What the model in `folder` was trained on, name -> SHA-256."""
    return read_json(folder / "config.json").get("made_from", {})


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
        CheckpointError: The file is missing or is no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: is no JSON file ({error}); restore it or make it again") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: should hold a JSON object, found a {type(document).__name__}")
    return document


@dataclass
class PipelineParts:
    """What a pipeline folder holds.

    Attributes:
        name: Name of the run that made it.
        data: What the images were.
        label_map: Names of the labels, in the order of their indices; may be empty.
        vqvae: The VQ-VAE.
        priors: Level name -> prior, coarse to fine; levels not yet trained are absent.
        split: Split name -> indices of its images in the source.
        trained_on: Level name -> SHA-256 of the VQ-VAE whose codes the prior was trained on.
        classifier: The classifier of real images; None where the run trained none.
        classifier_made_from: What it was trained on, name -> SHA-256.
        classifier_hash: Its SHA-256; filled on loading.
        texts: Name -> text of the files that describe it: README.md and recipe.toml.
        frequencies: Level name -> `(codebook_size,)` integer frequencies of the training images' codes.
        vqvae_hash: SHA-256 of the VQ-VAE; filled on loading.
        prior_hashes: Level name -> SHA-256 of the prior; filled on loading.
    """

    name: str
    data: DataConfig
    label_map: LabelMap
    vqvae: VQVAE
    priors: dict[str, PixelCNN] = field(default_factory=dict)
    split: dict[str, list[int]] = field(default_factory=dict)
    trained_on: dict[str, str] = field(default_factory=dict)
    classifier: ImageClassifier | None = None
    classifier_made_from: dict[str, str] = field(default_factory=dict)
    classifier_hash: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    frequencies: dict[str, Tensor] = field(default_factory=dict)
    vqvae_hash: str = ""
    prior_hashes: dict[str, str] = field(default_factory=dict)


def save_pipeline(parts: PipelineParts, folder: Path) -> None:
    """Writes a pipeline folder, all or nothing.

    Args:
        parts: Its models, labels and texts.
        folder: Folder to write or replace.
    """
    with atomic_path(folder) as temporary:
        hashes = {"vqvae": save_model(parts.vqvae, temporary / "vqvae")}
        for level, prior in parts.priors.items():
            origin = parts.trained_on.get(level, parts.vqvae_hash)
            if origin == parts.vqvae_hash:  # as loaded; in another number format the same weights have another hash
                origin = hashes["vqvae"]
            hashes[f"prior-{level}"] = save_model(prior, temporary / f"prior-{level}", {"vqvae": origin})
        if parts.classifier is not None:
            made = save_model(parts.classifier, temporary / "classifier", parts.classifier_made_from)
            hashes["classifier"] = made
        write_json(
            temporary / "pipeline.json",
            {
                "format_version": FORMAT_VERSION,
                "class": "VQGenPipeline",
                "name": parts.name,
                "levels": list(parts.vqvae.levels),
                "labels": list(parts.label_map.names),
                "data": parts.data.model_dump(mode="json", exclude={"root", "download", "workers", "max_unreadable"}),
                "sha256": hashes,
            },
        )
        if parts.split:
            write_json(temporary / "split.json", parts.split)
        if parts.frequencies:
            tensors = {level: frequencies.to(torch.int32) for level, frequencies in parts.frequencies.items()}
            save_tensors(temporary / _FREQUENCIES, tensors)
        for name, text in parts.texts.items():
            (temporary / name).write_text(text, encoding="utf-8")


def load_pipeline(folder: Path, device: torch.device | str = "cpu") -> PipelineParts:
    """Reads a pipeline folder.

    Raises:
        CheckpointError: Something is missing or damaged, or a prior was trained on another VQ-VAE's codes.
    """
    document = read_json(folder / "pipeline.json")
    check_format(document, folder / "pipeline.json")
    if document.get("class") != "VQGenPipeline":
        raise CheckpointError(
            f"checkpoint {folder}: should be a VQ-VAE with codes for this, found a baseline without codes; generate, "
            "reconstruct, evaluate, sweep, interpolate, attribute and info take it"
        )
    try:
        data = DataConfig.model_validate(document["data"])
        label_map = LabelMap(tuple(document["labels"]))
        names, recorded = tuple(document["levels"]), dict(document["sha256"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'pipeline.json'}: is not what it has to be: {error}") from error
    vqvae = load_model(folder / "vqvae", VQVAE, device)
    vqvae_hash = check_hash(folder / "vqvae", recorded)
    priors, prior_hashes = {}, {}
    for level in names:
        prior_folder = folder / f"prior-{level}"
        if prior_folder.is_dir():
            priors[level] = load_model(prior_folder, PixelCNN, device)
            _check_origin(prior_folder, vqvae_hash)
            prior_hashes[level] = check_hash(prior_folder, recorded)
    classifier, classifier_made_from, classifier_hash = None, {}, ""
    if (folder / "classifier").is_dir():
        classifier, classifier_made_from = load_classifier(folder / "classifier", len(label_map), device)
        classifier_hash = check_hash(folder / "classifier", recorded)
    split = read_json(folder / "split.json") if (folder / "split.json").is_file() else {}
    return PipelineParts(
        name=document.get("name", folder.name),
        data=data,
        label_map=label_map,
        vqvae=vqvae,
        priors=priors,
        split=split,
        trained_on=dict.fromkeys(priors, vqvae_hash),
        classifier=classifier,
        classifier_made_from=classifier_made_from,
        classifier_hash=classifier_hash,
        texts={name: path.read_text(encoding="utf-8") for name in TEXTS if (path := folder / name).is_file()},
        frequencies=load_tensors(folder / _FREQUENCIES)[0] if (folder / _FREQUENCIES).is_file() else {},
        vqvae_hash=vqvae_hash,
        prior_hashes=prior_hashes,
    )


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


def check_hash(folder: Path, recorded: Mapping[str, Any]) -> str:
    """The hash of the model in `folder`, where it is the one that was recorded under its name."""
    found = hash_model(folder)
    if recorded.get(folder.name) != found:
        raise CheckpointError(
            f"{folder}: is not the model that pipeline.json names: should be {recorded.get(folder.name)}, "
            f"found {found}; restore it or make the pipeline again"
        )
    return found


def _check_origin(prior_folder: Path, vqvae_hash: str) -> None:
    trained_on = made_from(prior_folder).get("vqvae")
    if trained_on != vqvae_hash:
        raise CheckpointError(
            f"{prior_folder}: was trained on codes of another VQ-VAE ({trained_on}) "
            f"than the one beside it ({vqvae_hash}); put the VQ-VAE and the priors of one run together"
        )


def check_format(document: dict[str, Any], path: Path) -> None:
    """Refuses a document of another version of the format."""
    version = document.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: should have format_version {FORMAT_VERSION}, found {version}; use the vqgen that wrote it"
        )
