"""Animations: a sequence of pictures in one GIF, APNG or WebP file.

APNG and WebP keep every pixel. A GIF keeps grey pictures, and pictures of up to 256 colours. Of pictures with more
colours it has the 256 that fit each of them best.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, features

from vqgen.errors import ConfigError
from vqgen.storage.files import atomic_path

FORMATS = ("gif", "apng", "webp")
"""The formats, which are also the suffixes of their files."""

_COLOURS = 256
"""Colours of a picture in a GIF, at most."""

_TICK = 10
"""Milliseconds in which a GIF counts time. The other formats show the same pictures for the same time."""

_LEAST_MILLISECONDS = 20
"""Time of a picture, at least: browsers slow down a GIF that asks for less."""


def there_and_back(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """Returns the pictures, followed by those between the last and the first one in the reverse order.

    Played again and again, it has each end once.
    """
    return [*frames, *frames[-2:0:-1]]


def save_animation(frames: Sequence[Image.Image], path: Path, *, seconds: float, plays: int = 0) -> None:
    """Writes an animation, all or nothing. Equal neighbours may become one picture that is shown for longer.

    Args:
        frames: The pictures, all of one size and mode.
        path: File to write. Its suffix chooses the format: `.gif`, `.apng` or `.webp`.
        seconds: Time of all pictures together, rounded to hundredths of a second for each.
        plays: Number of times that it is played; 0 for ever.

    Raises:
        ConfigError: The installed Pillow writes no WebP.
    """
    kind = path.suffix[1:].lower()
    if kind == "webp" and not features.check("webp"):
        raise ConfigError(f"{path.name}: the installed Pillow was built without WebP; choose gif or apng")
    shown = max(_LEAST_MILLISECONDS, round(1000 * seconds / len(frames) / _TICK) * _TICK)
    options: dict[str, Any] = {"save_all": True, "duration": shown}
    if kind == "gif":
        frames = [_with_few_colours(frame) for frame in frames]
        options |= {"format": "GIF", "optimize": False}
        # Its field counts repetitions; without the field it is played once.
        options |= {} if plays == 1 else {"loop": max(0, plays - 1)}
    elif kind == "webp":
        options |= {"format": "WEBP", "lossless": True, "loop": plays}
    else:
        options |= {"format": "PNG", "loop": plays}
    with atomic_path(path) as temporary:
        frames[0].save(temporary, append_images=frames[1:], **options)


def _with_few_colours(frame: Image.Image) -> Image.Image:
    """Returns a picture of at most 256 colours: a grey one as it is, any other with the colours that fit it best."""
    if frame.mode == "L":
        return frame
    # One refinement by k-means is 2 dB better than Pillow's own choice and no worse than more of them. Dithering, and a
    # palette for all pictures together, let still areas flicker (measured on smooth colours with noise).
    return frame.quantize(_COLOURS, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
