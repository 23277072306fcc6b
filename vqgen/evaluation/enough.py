"""The smallest set of images that a metric can be computed of."""

from vqgen.errors import DataError
from vqgen.storage.names import counted


class TooFewImages(DataError):
    """A set of images that is too small for a metric.

    Args:
        text: The message.
        reason: The requirement and the number found, without the name of the metric and the remedy.

    Attributes:
        reason: The same.
    """

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


def check_count(metric: str, found: int, least: int, why: str = "", of: str = "image") -> None:
    """Refuses a set of images that is too small for a metric.

    Args:
        metric: Name of the metric, for messages.
        found: Number of images.
        least: Smallest number of images that the metric needs.
        why: The reason for this number, for messages.
        of: The kind of the images in the singular, for messages.

    Raises:
        TooFewImages: There are too few images.
    """
    if found >= least:
        return
    needs = f"at least {counted(least, of)}{f', {why}' if why else ''}"
    raise TooFewImages(
        f"{metric}: should have {needs}, found {found:,}; take more samples (--images-per-label), or real images of a "
        "larger split (--reference train)",
        f"it needs {needs}, found {found:,}",
    )
