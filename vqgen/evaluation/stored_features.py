"""Features on disk, each file with its origin: the features of other images, or of another network, are refused.

Legend: `n` images, `d` dimensions of the space, `y` labels.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vqgen.errors import DataError
from vqgen.evaluation.features import Features
from vqgen.storage.documents import parse_json
from vqgen.storage.names import counted
from vqgen.storage.tensors import load_tensors, load_text, save_tensors

_NAMES = {"values", "log_probabilities"}


@dataclass(frozen=True)
class FeatureOrigin:
    """All that features depend on.

    Attributes:
        count: Number n of images.
        images: SHA-256 of their pixels in their order, after the transform. It stands for the set, the choice and the
            transform alike.
        dtype: The dtype of the network's computation; None if the network is not known yet.
        space: Name of the space: the network and the hash of its weights; None if the network is not known yet.
    """

    count: int
    images: str
    dtype: str | None = None
    space: str | None = None

    def __str__(self) -> str:
        of_space = "" if self.space is None else f" in the space {self.space!r} in {self.dtype}"
        return f"{counted(self.count, 'image')} (SHA-256 {self.images[:12]}){of_space}"


def save_features(features: Features, origin: FeatureOrigin, path: Path) -> None:
    """Writes features and their origin to a safetensors file, all or nothing.

    Args:
        features: The features.
        origin: Their origin, with its space.
        path: The file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    tensors = {"values": features.values, "log_probabilities": features.log_probabilities}
    save_tensors(path, tensors, json.dumps(asdict(origin)))


def load_features(path: Path, wanted: FeatureOrigin) -> Features:
    """Reads a file of `save_features`.

    Args:
        path: The file.
        wanted: The origin that the features should have, with its space.

    Raises:
        CheckpointError: The file is missing or damaged.
        DataError: The file holds something else, or features of another origin.
    """
    assert wanted.space is not None
    check_stored_features(path, wanted)
    tensors, _ = load_tensors(path)
    rows = {name: len(tensor) for name, tensor in tensors.items() if tensor.dim() == 2}
    if rows != dict.fromkeys(_NAMES, wanted.count):
        raise DataError(f"{path}: should hold {wanted.count} rows of features, found {rows}; remove it")
    return Features(tensors["values"], wanted.space, tensors["log_probabilities"])


def check_stored_features(path: Path, wanted: FeatureOrigin) -> None:
    """Refuses a file of features of another origin. It reads none of the features.

    Args:
        path: The file.
        wanted: The origin that the features should have; a dtype or space of None fits any.

    Raises:
        CheckpointError: The file is missing or damaged.
        DataError: The file holds something else, or features of another origin.
    """
    found = _read_origin(path)
    differences = {
        "another number of images": wanted.count != found.count,
        "other images, or another transform of them": wanted.images != found.images,
        "another network": wanted.space is not None and wanted.space != found.space,
        "another dtype": wanted.dtype is not None and wanted.dtype != found.dtype,
    }
    different = next((name for name, differs in differences.items() if differs), None)
    if different is not None:
        raise DataError(
            f"--reference-features {path}: should hold the features of {wanted}, found those of {found}: {different}; "
            "name another file"
        )


def _read_origin(path: Path) -> FeatureOrigin:
    """Reads the origin in a file of features.

    Raises:
        CheckpointError: The file is missing or damaged.
        DataError: The file holds something else, or an earlier version wrote it.
    """
    text = load_text(path)
    if text.startswith(("classifier ", "inception ")):
        raise DataError(
            f"--reference-features {path}: should say of which images its features are, found a file of an earlier "
            "version, which does not; remove it, or name another file"
        )
    fields: Any = parse_json(text, path) if text.startswith("{") else None
    if not _is_origin(fields):
        raise DataError(f"--reference-features {path}: should hold features that vqgen wrote, found something else")
    return FeatureOrigin(**fields)


def _is_origin(fields: Any) -> bool:
    types = {"count": int, "images": str, "dtype": str, "space": str}
    return (
        isinstance(fields, dict)
        and fields.keys() == types.keys()
        and all(isinstance(fields[name], kind) for name, kind in types.items())
    )
