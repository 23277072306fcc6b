"""Images in folders: `root/<split>/<label>/**`, `root/<label>/**`, or all images in one folder.

A folder named `train` makes `root` a folder of splits. Without a validation split, a part of train is held out. Files
outside label folders, or in a single label folder, are images without labels. An ambiguous folder is refused, so that
nothing is guessed. Names of labels that differ only in their Unicode form are one label.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqgen.config import DataConfig
from vqgen.data.exclusions import Exclusion
from vqgen.data.finding import Found, find_images, search_images, subfolders
from vqgen.data.image_set import FileReader, ImageSet, ImageSplits
from vqgen.data.label_map import LabelMap
from vqgen.data.readable import settled_reading
from vqgen.data.split_files import SplitFiles
from vqgen.data.splitting import stratified_split
from vqgen.errors import DataError
from vqgen.runtime.turns import is_first
from vqgen.storage.home import expanded
from vqgen.storage.names import comparable, listed

_logger = logging.getLogger("vqgen.data")
_SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class _Listing:
    """The images of one split: files in order, and the name of each file's label folder (None outside of any)."""

    found: Found
    labels: list[str | None]
    empty: list[str]

    @property
    def folder(self) -> Path:
        return self.found.root

    @property
    def paths(self) -> list[Path]:
        return self.found.paths


def open_folder(config: DataConfig, seed: int, exclusions: Mapping[str, Exclusion] | None = None) -> ImageSplits:
    """Opens a folder of images and decodes each image once, to find the unreadable ones.

    Decoding a large folder takes minutes (see `check_readable`). A later start takes seconds: it decodes the files that
    are new, have changed, or could not be read. In a distributed run all processes must call this.

    Args:
        config: `root` names the folder.
        seed: The run's seed, for the split.
        exclusions: Name of each file that earlier starts of the run left out -> the verdict on it. It is left out
            again, unless its bytes have changed.

    Returns:
        The splits. Labels are in the order of their names, or of their numbers if all names are whole numbers.

    Raises:
        DataError: The folder is missing, empty or ambiguous, or too many of its images cannot be read.
        ReadError: The system failed to read an image.
    """
    root = _checked_root(config.root)
    listings = {split: _list(folder) for split, folder in _split_folders(root).items()}
    label_map = LabelMap(_label_names(listings))
    _tell_of_the_rest(listings.values())
    sets = {split: _image_set(root, listing, label_map) for split, listing in listings.items()}
    files = SplitFiles(sets, {split: listing.paths for split, listing in listings.items()})
    checked = files.checked(config, exclusions or {})
    unreadable = {files.names[index]: files.exclusion(index, why) for index, why in checked.unreadable.items()}
    reading = settled_reading(config, checked.extents_of(range(len(sets["train"]))))
    sets = {split: replace(s, read=FileReader(listings[split].paths, reading=reading)) for split, s in sets.items()}
    indices = {split: [i for i, name in enumerate(s.names) if name not in unreadable] for split, s in sets.items()}
    _check_left(root, sets, indices, label_map)
    # Before the seeded split below: the fingerprint identifies the images, not the way they are split.
    by_content, by_size = files.fingerprints(label_map, indices)
    if "validation" not in indices:
        readable = np.array(indices["train"])
        labels = sets["train"].labels[readable]
        parts = stratified_split(labels, label_map.names, config.validation_fraction, seed)
        _tell_of_single_images(labels, label_map)
        indices["train"], indices["validation"] = (readable[part].tolist() for part in parts)
        sets["validation"] = sets["train"]
    # Every source has its splits in this order, which code stores and records keep.
    indices = {split: indices[split] for split in ("train", "validation", "test") if split in indices}
    picked = {split: sets[split].subset(positions) for split, positions in indices.items()}
    return ImageSplits(
        picked["train"],
        picked["validation"],
        picked.get("test"),
        label_map,
        indices,
        by_content,
        unreadable,
        measured_range=reading.measured_range,
        earlier_fingerprints=(by_size,),
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
    path = expanded(root)
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise DataError(f"data.root should be a folder of images, found {found} at {root!r}. Correct --data.root")
    return path


def _split_folders(root: Path) -> dict[str, Path]:
    """Maps each split to its folder; `{"train": root}` if the root contains labels or images."""
    folders = subfolders(root)
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
            f"found also {listed(stray)}. Move them away, or rename 'train' if it is a label"
        )
    return chosen


def _list(folder: Path) -> _Listing:
    found = search_images(folder)
    labels = [name.split("/")[0] if "/" in name else None for name in found.names]
    if not found.paths:
        notes = "".join(f"; {note}" for note in found.notes)
        raise DataError(
            f"{str(folder)!r} should contain images, found none{notes}. Set --data.root to a folder with "
            "<label>/<image>, <split>/<label>/<image> or <image>"
        )
    if None in labels and len(set(labels)) > 1:
        loose = [name for name in found.names if "/" not in name]
        raise DataError(
            f"{str(folder)!r} should contain either images or label folders, found both: images {listed(loose)} "
            f"beside folders {listed(_ordered(labels))}. Move the images into folders, or away"
        )
    _check_forms(folder, _ordered(labels))
    # A folder that holds nothing but outputs of vqgen, such as checkpoints/, is no label without images.
    passed_over = {name.split("/")[0] for name in (*found.outputs, *found.system)}
    empty = [sub.name for sub in subfolders(folder) if sub.name not in labels and sub.name not in passed_over]
    return _Listing(found, labels, empty)


def _check_forms(folder: Path, names: list[str]) -> None:
    """Refuses two labels whose names look alike: one was copied from a Mac, and the images belong together."""
    forms: dict[str, str] = {}
    for name in names:
        other = forms.setdefault(comparable(name), name)
        if other != name:
            raise DataError(
                f"{str(folder)!r} has two folders of the name {name!r} in different Unicode forms, {other!a} and "
                f"{name!a}. Move the images into one of them"
            )


def _tell_of_the_rest(listings: Iterable[_Listing]) -> None:
    """Warns of all files and folders that lie among the images and are passed over."""
    if not is_first():
        return
    for listing in listings:
        if listing.empty:
            _logger.warning("folders without images in '%s' are ignored: %s", listing.folder, listed(listing.empty))
        for note in listing.found.notes:
            _logger.warning("%s", note)


def _tell_of_single_images(labels: NDArray[np.int64], label_map: LabelMap) -> None:
    """Warns of labels with one image: it is trained on, so that nothing is left to validate the label."""
    counts = np.bincount(labels[labels >= 0], minlength=len(label_map))
    single = [name for name, count in zip(label_map.names, counts, strict=True) if count == 1]
    if single and is_first():
        _logger.warning("labels with a single image are trained on, but cannot be validated: %s", listed(single))


def _label_names(listings: dict[str, _Listing]) -> tuple[str, ...]:
    """Returns the names of the labels in train, after a check that the rest of the splits has no other labels."""
    known = _ordered(listings["train"].labels)
    forms = set(map(comparable, known))
    for listing in listings.values():
        found = _ordered(listing.labels)
        unknown = [name for name in found if comparable(name) not in forms]
        if unknown:
            raise DataError(
                f"labels of {str(listing.folder)!r} should all be in {str(listings['train'].folder)!r} too, "
                f"found {listed(unknown)} only in the first. Add them to train, or remove them"
            )
        if len(known) > 1 and not found:
            raise DataError(
                f"{str(listing.folder)!r} should have label folders like {str(listings['train'].folder)!r}, "
                "found images outside of any. Sort them into folders, or remove them"
            )
    # A single label distinguishes nothing: training is then without labels.
    return tuple(known) if len(known) > 1 else ()


def _image_set(root: Path, listing: _Listing, label_map: LabelMap) -> ImageSet:
    position = {comparable(name): index for index, name in enumerate(label_map.names)}
    of_folder = {name: position.get(comparable(name or ""), -1) for name in set(listing.labels)}
    labels = np.array([of_folder[name] for name in listing.labels], dtype=np.int64)
    before = "" if listing.folder == root else f"{listing.folder.relative_to(root).as_posix()}/"
    names = tuple(before + name for name in listing.found.names)
    return ImageSet(names, labels, FileReader(listing.paths))


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
            f"every label should have images to train on, found none that can be read of {listed(missing)}. "
            "Repair them, or remove the label"
        )


def _ordered(labels: Iterable[str | None]) -> list[str]:
    names = sorted({name for name in labels if name is not None})
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names
