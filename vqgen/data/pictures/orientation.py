"""The orientation of a picture: cameras write which side is up into Exif."""

from PIL import ExifTags, Image
from PIL.Image import Transpose

_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """Returns the orientation tag of a picture, in 1..8; 1 if its metadata are damaged or say nothing."""
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # the pixels may be sound although the metadata are damaged
        return 1
    return tag if isinstance(tag, int) and tag in _UPRIGHT else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turns a picture; the same object comes back if it is upright already."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)
