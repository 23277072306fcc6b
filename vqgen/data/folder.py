"""Images in folders: `root/<split>/<label>/**`, `root/<label>/**`, or all images in one folder.

A folder named `train` makes `root` a folder of splits. Without a validation split, a part of train is held out. Files
outside label folders, or in a single label folder, are images without labels. An ambiguous folder is refused, so that
nothing is guessed.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqgen.config import DataConfig
from vqgen.data.finding import find_images
from vqgen.data.image_set import FileReader, ImageSet, ImageSplits, fingerprint
from vqgen.data.label_map import LabelMap
from vqgen.data.readable import check_readable
from vqgen.data.splitting import stratified_split
from vqgen.errors import DataError
from vqgen.runtime.turns import is_first

_logger = logging.getLogger("vqgen.data")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class _Listing:
    """The images of one split: files in order, and the name of each file's label folder (None outside of any)."""

    folder: Path
    paths: list[Path]
    labels: list[str | None]


def open_folder(config: DataConfig, seed: int) -> ImageSplits:
    """Opens a folder of images and decodes each image once, to find the unreadable ones.

    Decoding a large folder takes minutes (see `check_readable`). In a distributed run all processes must call this.

    Args:
        config: `root` names the folder.
        seed: The run's seed, for the split.

    Returns:
        The splits. Labels are in the order of their names, or of their numbers if all names are whole numbers.

    Raises:
        DataError: The folder is missing, empty or ambiguous, or too many of its images cannot be read.
    """
    root = _checked_root(config.root)
    listings = {split: _list(folder) for split, folder in _split_folders(root).items()}
    label_map = LabelMap(_label_names(listings))
    sets = {split: _image_set(root, listing, label_map) for split, listing in listings.items()}
    unreadable = _unreadable(sets, listings, config.max_unreadable)
    left_out = set(unreadable)
    indices = {split: [i for i, name in enumerate(s.names) if name not in left_out] for split, s in sets.items()}
    _check_left(root, sets, indices, label_map)
    # Before the seeded split below: the fingerprint identifies the images, not the way they are split.
    digest = _fingerprint(label_map, sets, listings, indices)
    if "validation" not in indices:
        readable = np.array(indices["train"])
        parts = stratified_split(sets["train"].labels[readable], label_map.names, config.validation_fraction, seed)
        indices["train"], indices["validation"] = (readable[part].tolist() for part in parts)
        sets["validation"] = sets["train"]
    # Every source has its splits in this order, which code stores and records keep.
    indices = {split: indices[split] for split in ("train", "validation", "test") if split in indices}
    picked = {split: sets[split].subset(positions) for split, positions in indices.items()}
    return ImageSplits(
        picked["train"], picked["validation"], picked.get("test"), label_map, indices, digest, unreadable
    )


def count_folder(config: DataConfig) -> tuple[dict[str, int], int]:
    """Counts the images of each split that has a folder, and the labels, without reading an image.

    Returns:
        Split -> number of images, and the number of labels.

    Raises:
        DataError: The folder is missing, empty or ambiguous.
    """
    listings = {split: _list(folder) for split, folder in _split_folders(_checked_root(config.root)).items()}
    return {split: len(listing.paths) for split, listing in listings.items()}, len(_label_names(listings))


def _checked_root(root: str | None) -> Path:
    if root is None:
        raise DataError("data.root should name the folder of the images, found none. Give --data.root FOLDER")
    path = Path(root).expanduser()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise DataError(f"data.root should be a folder of images, found {found} at {root!r}. Correct --data.root")
    return path


def _split_folders(root: Path) -> dict[str, Path]:
    """Maps each split to its folder; `{"train": root}` if the root contains labels or images."""
    folders = _subfolders(root)
    by_split: dict[str, list[Path]] = {}
    for folder in folders:
        if folder.name.lower() in _SPLITS:
            by_split.setdefault(_SPLITS[folder.name.lower()], []).append(folder)
    for split, found in by_split.items():
        if len(found) > 1:
            names = " and ".join(repr(folder.name) for folder in found)
            raise DataError(f"{str(root)!r} should have one {split} folder, found {names}. Keep one of them")
    if not by_split:
        return {"train": root}
    if "train" not in by_split:
        names = ", ".join(repr(found[0].name) for found in by_split.values())
        raise DataError(
            f"{str(root)!r} should have a folder 'train' beside {names}, found none. Add it, or rename a folder that "
            "is a label and not a split"
        )
    chosen = {split: found[0] for split, found in by_split.items()}
    # A label may be called "train". Then other labels lie beside it, with images that would be lost without a word.
    others = [folder for folder in folders if folder not in chosen.values()]
    stray = [folder.name for folder in others if find_images(folder)]
    if stray:
        raise DataError(
            f"{str(root)!r} has a folder 'train', so its folders should be splits (train, val, test), "
            f"found also {_some(stray)}. Move them away, or rename 'train' if it is a label"
        )
    return chosen


def _list(folder: Path) -> _Listing:
    paths = find_images(folder)
    relative = [path.relative_to(folder).parts for path in paths]
    labels = [parts[0] if len(parts) > 1 else None for parts in relative]
    if not paths:
        raise DataError(
            f"{str(folder)!r} should contain images, found none. Set --data.root to a folder with "
            "<label>/<image>, <split>/<label>/<image> or <image>"
        )
    if None in labels and len(set(labels)) > 1:
        loose = [parts[0] for parts in relative if len(parts) == 1]
        raise DataError(
            f"{str(folder)!r} should contain either images or label folders, found both: images {_some(loose)} "
            f"beside folders {_some(_ordered(labels))}. Move the images into folders, or away"
        )
    empty = [sub.name for sub in _subfolders(folder) if sub.name not in labels]
    if empty and is_first():
        _logger.warning("folders without images in '%s' are ignored: %s", folder, _some(empty))
    return _Listing(folder, paths, labels)


def _label_names(listings: dict[str, _Listing]) -> tuple[str, ...]:
    """Returns the names of the labels in train, after a check that the rest of the splits has no other labels."""
    known = _ordered(listings["train"].labels)
    for listing in listings.values():
        found = _ordered(listing.labels)
        unknown = [name for name in found if name not in known]
        if unknown:
            raise DataError(
                f"labels of {str(listing.folder)!r} should all be in {str(listings['train'].folder)!r} too, "
                f"found {_some(unknown)} only in the first. Add them to train, or remove them"
            )
        if len(known) > 1 and not found:
            raise DataError(
                f"{str(listing.folder)!r} should have label folders like {str(listings['train'].folder)!r}, "
                "found images outside of any. Sort them into folders, or remove them"
            )
    # A single label distinguishes nothing: training is then without labels.
    return tuple(known) if len(known) > 1 else ()


def _image_set(root: Path, listing: _Listing, label_map: LabelMap) -> ImageSet:
    position = {name: index for index, name in enumerate(label_map.names)}
    labels = np.array([position.get(name or "", -1) for name in listing.labels], dtype=np.int64)
    names = tuple(path.relative_to(root).as_posix() for path in listing.paths)
    return ImageSet(names, labels, FileReader(listing.paths))


def _unreadable(sets: dict[str, ImageSet], listings: dict[str, _Listing], max_unreadable: float) -> list[str]:
    """Lists the unreadable images, checked in one pass: `max_unreadable` is a share of the whole folder."""
    every = ImageSet(
        tuple(name for images in sets.values() for name in images.names),
        np.concatenate([images.labels for images in sets.values()]),
        FileReader([path for listing in listings.values() for path in listing.paths]),
    )
    return check_readable(every, max_unreadable)[1]


def _check_left(root: Path, sets: dict[str, ImageSet], indices: dict[str, list[int]], label_map: LabelMap) -> None:
    for split, positions in indices.items():
        if not positions:
            raise DataError(
                f"split {split!r} of {str(root)!r} should have images, found none that can be read. "
                "Repair them, or remove the split"
            )
    present = set(sets["train"].labels[np.array(indices["train"])].tolist())
    missing = [name for index, name in enumerate(label_map.names) if index not in present]
    if missing:
        raise DataError(
            f"every label should have images to train on, found none that can be read of {_some(missing)}. "
            "Repair them, or remove the label"
        )


def _fingerprint(
    label_map: LabelMap, sets: dict[str, ImageSet], listings: dict[str, _Listing], indices: dict[str, list[int]]
) -> str:
    parts = []
    for split in sorted(sets):
        # Sizes stand for contents: to hash those would mean to read a large folder once more.
        paths = [listings[split].paths[position] for position in indices[split]]
        sizes = np.array([path.stat().st_size for path in paths], dtype=np.int64)
        parts.append((sets[split].subset(indices[split]), sizes))
    return fingerprint(label_map, parts)


def _subfolders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot list the folder {str(folder)!r}: {error.strerror}") from error


def _ordered(labels: Iterable[str | None]) -> list[str]:
    names = sorted({name for name in labels if name is not None})
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def _some(names: list[str], most: int = 5) -> str:
    rest = len(names) - most
    return ", ".join(repr(name) for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")
