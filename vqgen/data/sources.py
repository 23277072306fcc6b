"""The function that opens any source of images."""

from collections.abc import Mapping

from vqgen.config import DataConfig
from vqgen.data.exclusions import Exclusion
from vqgen.data.folder import open_folder
from vqgen.data.image_set import ImageSplits
from vqgen.data.in_memory import open_digits, open_torchvision


def open_images(config: DataConfig, seed: int, *, exclusions: Mapping[str, Exclusion] | None = None) -> ImageSplits:
    """Opens the images of a recipe and splits them.

    In a distributed run all processes must call this.

    Args:
        config: `source` names the source, `root` its folder.
        seed: The run's seed. It draws the validation split of a source without one.
        exclusions: Files of a folder that earlier starts of the run left out; see `read_exclusions`.

    Returns:
        The splits, equal on all machines with the same images.

    Raises:
        DataError: The images are missing, damaged or ambiguous; the message contains the remedy.
    """
    if config.source == "digits":
        return open_digits(config, seed)
    if config.source == "folder":
        return open_folder(config, seed, exclusions)
    return open_torchvision(config, seed)
