"""How many images a source has, without opening it: what a plan needs to know."""

from dataclasses import dataclass
from pathlib import Path

from vqgen.config import DataConfig
from vqgen.data.folder import count_folder


@dataclass(frozen=True)
class ImageCounts:
    """Images of each split; a class may round its share of the held-out ones the other way.

    Attributes:
        train: To train on.
        validation: Held out.
        test: Of the source's own test split.
        classes: Labels; 0 for images without.
    """

    train: int
    validation: int
    test: int
    classes: int

    @property
    def total(self) -> int:
        """All images."""
        return self.train + self.validation + self.test


_KNOWN = {
    "digits": (1_797, 0, 10),
    "mnist": (60_000, 10_000, 10),
    "fashion-mnist": (60_000, 10_000, 10),
    "kmnist": (60_000, 10_000, 10),
    "cifar10": (50_000, 10_000, 10),
    "cifar100": (50_000, 10_000, 100),
}
"""Source -> images to split into training and validation, test images, classes."""


def count_images(config: DataConfig) -> ImageCounts | None:
    """Counts the images of a source; None for a folder that is not here.

    Folders are listed, not read: files that turn out to be unreadable are counted too.

    Raises:
        DataError: The folder is ambiguous or holds no images.
    """
    if config.source != "folder":
        count, test, classes = _KNOWN[config.source]
        return _split(count, test, classes, config.validation_fraction)
    if config.root is None or not Path(config.root).expanduser().is_dir():
        return None
    counts, classes = count_folder(config)
    test = counts.get("test", 0)
    if "validation" in counts:
        return ImageCounts(counts["train"], counts["validation"], test, classes)
    return _split(counts["train"], test, classes, config.validation_fraction)


def _split(count: int, test: int, classes: int, fraction: float) -> ImageCounts:
    validation = max(1, round(count * fraction))
    return ImageCounts(count - validation, validation, test, classes)
