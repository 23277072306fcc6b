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
        is_of_file: False for a picture that was made in memory. Its 8 bits are those of a screen: a declared range of
            the files does not apply to them.
    """

    pixels: Samples | Image.Image
    profile: bytes | None = None
    orientation: int = 1
    is_of_file: bool = True
