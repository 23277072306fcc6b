"""A picture as its decoder hands it over."""

from dataclasses import dataclass

from PIL import Image

from vqgen.data.pictures.samples import Samples


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture as its decoder hands it over: nothing is converted yet.

    Attributes:
        pixels: The samples, or a loaded picture of Pillow.
        profile: The embedded colour profile (ICC); None without one.
        orientation: The orientation tag of Exif, in 1..8; 1 is upright.
    """

    pixels: Samples | Image.Image
    profile: bytes | None = None
    orientation: int = 1
