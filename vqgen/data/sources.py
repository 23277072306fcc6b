"""Where images come from: the one function that opens any source."""

from vqgen.config import DataConfig
from vqgen.data.folder import open_folder
from vqgen.data.image_set import ImageSplits
from vqgen.data.in_memory import open_digits, open_torchvision


def open_images(config: DataConfig, seed: int) -> ImageSplits:
    """Opens the images of a recipe and splits them.

    In a distributed run all processes must call this.

    Args:
        config: `source` says which; `root` where they lie.
        seed: The run's seed, for the split of sources that have no validation split of their own.

    Returns:
        The splits; the same on every machine that has the same images.

    Raises:
        DataError: The images are missing, damaged or ambiguous; the message says what to change.
    """
    if config.source == "digits":
        return open_digits(config, seed)
    if config.source == "folder":
        return open_folder(config, seed)
    return open_torchvision(config, seed)
