"""The number of images of a source, counted without opening it, for plans."""

from dataclasses import dataclass

from vqgen.config import DataConfig
from vqgen.data.folder import count_folder
from vqgen.storage.home import expanded


@dataclass(frozen=True)
class ImageCounts:
    """The number of images of each split, up to rounding.

    Opening a source rounds the held-out share of each label; here the share of the whole is rounded.

    Attributes:
        train: Images to train on.
        validation: Held-out images.
        test: Images of the source's own test split.
        classes: Labels; 0 for images without labels.
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
"""Source -> number of images to split into training and validation, of test images, of labels."""


def count_images(config: DataConfig) -> ImageCounts | None:
    """Counts the images of a source.

    A folder is listed, not read: unreadable files are counted too.

    Returns:
        The counts; None for a folder that does not exist on this machine.

    Raises:
        DataError: The folder is ambiguous or holds no images.
    """
    if config.source != "folder":
        count, test, classes = _KNOWN[config.source]
        return _split(count, test, classes, config.validation_fraction)
    if config.root is None or not expanded(config.root).is_dir():
        return None
    counts, classes = count_folder(config)
    test = counts.get("test", 0)
    if "validation" in counts:
        return ImageCounts(counts["train"], counts["validation"], test, classes)
    return _split(counts["train"], test, classes, config.validation_fraction)


def _split(count: int, test: int, classes: int, fraction: float) -> ImageCounts:
    validation = max(1, round(count * fraction))
    return ImageCounts(count - validation, validation, test, classes)
