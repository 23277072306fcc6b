"""Sources that fit in memory: scikit-learn's digits and torchvision's MNIST and CIFAR families."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqgen.config import DataConfig
from vqgen.data.image_set import ArrayReader, ImageSet, ImageSplits, fingerprint
from vqgen.data.label_map import LabelMap
from vqgen.data.splitting import stratified_split
from vqgen.errors import DataError
from vqgen.runtime.turns import in_turn
from vqgen.storage.home import expanded

_TORCHVISION = {
    "mnist": "MNIST",
    "fashion-mnist": "FashionMNIST",
    "kmnist": "KMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
}
"""Source -> name of its Python class in `torchvision.datasets`."""

_DEFAULT_ROOT = "data"


def open_digits(config: DataConfig, seed: int) -> ImageSplits:
    """Opens the 1,797 digits of scikit-learn: 8 x 8 pixels of 0..16, scaled to round(x * 255 / 16)."""
    from sklearn.datasets import load_digits  # here, because it takes a second and only this source needs it

    values, labels = load_digits(return_X_y=True)
    pixels = np.rint(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    whole = _image_set("", pixels, np.asarray(labels))
    return _splits(config, seed, whole, pixels, None, None, LabelMap(tuple(str(digit) for digit in range(10))))


def open_torchvision(config: DataConfig, seed: int) -> ImageSplits:
    """Opens one of torchvision's data sets, and downloads it if that is allowed and needed.

    In a distributed run all processes must call this; one process of each machine downloads while the rest wait.

    Raises:
        DataError: The files are missing or damaged, or cannot be downloaded.
    """
    root = expanded(config.root or _DEFAULT_ROOT)
    (pixels, targets), (test_pixels, test_targets), names = in_turn(
        lambda may_download: _load(config.source, root, config.download and may_download, config.download)
    )
    whole = _image_set("train/", pixels, targets)
    test = _image_set("test/", test_pixels, test_targets)
    return _splits(config, seed, whole, pixels, test, test_pixels, LabelMap(names))


def _load(source: str, root: Path, download: bool, allowed: bool) -> tuple:
    """Loads training pixels and labels, test pixels and labels, and names; `allowed` only chooses an error's remedy."""
    import torchvision  # here, because it loads more slowly than torch, and generating images does not need it

    kind = getattr(torchvision.datasets, _TORCHVISION[source])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickles and read-only buffers: nothing a user can mend
            parts = [kind(str(root), train=train, download=download) for train in (True, False)]
    except Exception as error:  # network, disk, damaged files: torchvision passes on errors of every kind
        subfolder = f"{kind.__name__}/raw" if hasattr(kind, "mirrors") else kind.base_folder
        remedy = "Check the network and try again" if allowed else "Allow the download with --data.download"
        raise DataError(
            f"{source} cannot be opened in {str(root / subfolder)!r}: {' '.join(str(error).split()) or error!r}. "
            f"{remedy}, or set --data.root to the folder that contains {subfolder!r} (now {str(root)!r})"
        ) from error
    arrays = [(np.asarray(part.data), np.asarray(part.targets, dtype=np.int64)) for part in parts]
    names = tuple(parts[0].classes)
    for pixels, targets in arrays:
        if len(pixels) != len(targets) or not np.isin(targets, np.arange(len(names))).all():
            raise DataError(
                f"{source} in {str(root)!r} is damaged: {len(pixels)} images should have {len(pixels)} labels "
                f"below {len(names)}, found {len(targets)} labels. Delete its folder and download it again"
            )
    return *arrays, names


def _image_set(prefix: str, pixels: NDArray[np.uint8], labels: NDArray) -> ImageSet:
    names = tuple(f"{prefix}{index:05d}" for index in range(len(pixels)))
    return ImageSet(names, np.asarray(labels, dtype=np.int64), ArrayReader(pixels))


def _splits(
    config: DataConfig,
    seed: int,
    whole: ImageSet,
    pixels: NDArray[np.uint8],
    test: ImageSet | None,
    test_pixels: NDArray[np.uint8] | None,
    label_map: LabelMap,
) -> ImageSplits:
    train, validation = stratified_split(whole.labels, label_map.names, config.validation_fraction, seed)
    indices = {"train": train, "validation": validation}
    parts = [(whole, pixels)]
    if test is not None and test_pixels is not None:
        indices["test"] = list(range(len(test)))
        parts.append((test, test_pixels))
    return ImageSplits(
        whole.subset(train), whole.subset(validation), test, label_map, indices, fingerprint(label_map, parts)
    )
