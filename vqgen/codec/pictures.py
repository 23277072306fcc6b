"""Pictures of any size to the VQ-VAE's input, and back.

A part of a picture can be converted alone, so that a large picture is never in memory in several forms at a time.

Legend: `c` channels, `H W` padded image, `h w` a part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.arguments import as_text
from vqgen.codec.header import MAX_PIXELS
from vqgen.data import Reading, normalize_mode
from vqgen.errors import ConfigError, DataError

ALPHA_CHOICES = ("drop", "keep")

_LONGEST_SIDE = 65535  # a file has 16 bits for each side


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as input of the VQ-VAE.

    Attributes:
        picture: The picture, upright and in 8 bits.
        channels: Channels of the model.
        padded_height: Rows with padding, a multiple of the stride.
        padded_width: Columns with padding, a multiple of the stride.
        rgb: True if it is decoded to RGB.
        loses_colours: True if it had colours and the model supports grey only.
        alpha: The alpha plane, a byte a pixel; None without an alpha plane.
    """

    picture: Image.Image
    channels: int
    padded_height: int
    padded_width: int
    rgb: bool
    loses_colours: bool
    alpha: bytes | None

    @property
    def width(self) -> int:
        """Columns without padding."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Rows without padding."""
        return self.picture.height

    @property
    def pixels(self) -> UInt8[Tensor, "c H W"]:
        """All pixels, padded by repeating the edge."""
        return self.part(slice(0, self.padded_height), slice(0, self.padded_width))

    def part(self, rows: slice, columns: slice) -> UInt8[Tensor, "c h w"]:
        """Returns a part of the pixels; it begins inside the picture, and may reach into the padding."""
        bottom = min(rows.stop, self.height)
        right = min(columns.stop, self.width)
        box = (columns.start, rows.start, right, bottom)
        cropped = self.picture if box == (0, 0, *self.picture.size) else self.picture.crop(box)
        mode = "L" if self.channels == 1 else "RGB"
        colours = np.asarray(cropped if cropped.mode == mode else cropped.convert(mode))
        # Repeating the edge costs fewer bits than black would: it adds no contour that the codes have to draw.
        padding = ((0, rows.stop - bottom), (0, columns.stop - right), (0, 0))
        padded = np.pad(
            colours.reshape(bottom - rows.start, right - columns.start, self.channels), padding, mode="edge"
        )
        return torch.from_numpy(padded).permute(2, 0, 1)


def prepare_pictures(
    pictures: Sequence[Image.Image],
    channels: int,
    stride: int,
    alpha: str = "drop",
    reading: Reading | None = None,
) -> list[PreparedPicture]:
    """Converts pictures to the model's channels and pads them; sizes stay as they are.

    Args:
        pictures: Pictures of any size and mode.
        channels: Channels of the model, 1 or 3; with 1 the colours are lost.
        stride: Downsampling of the coarsest level.
        alpha: "drop" lays transparent pixels on white; "keep" separates the alpha plane from the colours.
        reading: The reading rules of the model; None for the newest ones.

    Raises:
        DataError: There is no picture, or one is too large or cannot be read.
        ConfigError: `alpha` has another value.
    """
    if as_text("alpha", alpha, f"one of {', '.join(ALPHA_CHOICES)}") not in ALPHA_CHOICES:
        raise ConfigError(f"alpha: should be one of {', '.join(ALPHA_CHOICES)}, found {alpha!r}")
    if not pictures:
        raise DataError("images: should be at least one, found none")
    normal = (normalize_mode(picture, keep_alpha=alpha == "keep", reading=reading) for picture in pictures)
    return [_prepare(picture, channels, stride) for picture in normal]


def restore_picture(
    pixels: UInt8[Tensor, "c H W"], width: int, height: int, rgb: bool, alpha: bytes | None
) -> Image.Image:
    """Crops decoded pixels to the size of the picture and restores its mode and its alpha plane.

    Args:
        pixels: The padded pixels, on the CPU.
        width: Columns without padding.
        height: Rows without padding.
        rgb: True for RGB, False for grey.
        alpha: The alpha plane, a byte a pixel; None without an alpha plane.
    """
    canvas = PictureCanvas(width, height, rgb)
    canvas.paste(slice(0, pixels.shape[1]), slice(0, pixels.shape[2]), pixels)
    return canvas.finish(alpha)


class PictureCanvas:
    """A picture that is restored part by part.

    Args:
        width: As in `restore_picture`.
        height: As in `restore_picture`.
        rgb: As in `restore_picture`.
    """

    def __init__(self, width: int, height: int, rgb: bool) -> None:
        self._picture = Image.new("RGB" if rgb else "L", (width, height))

    def paste(self, rows: slice, columns: slice, pixels: UInt8[Tensor, "c h w"]) -> None:
        """Sets the pixels of some rows and columns; those of the padding are dropped."""
        colours = pixels.permute(1, 2, 0).contiguous().numpy()
        part = Image.fromarray(colours[..., 0] if colours.shape[-1] == 1 else colours)
        # A model of RGB images also codes grey pictures. They come back grey, as they were.
        mode = self._picture.mode
        self._picture.paste(part if part.mode == mode else part.convert(mode), (columns.start, rows.start))

    def finish(self, alpha: bytes | None) -> Image.Image:
        """Returns the picture, with its alpha plane if there is one."""
        if alpha is not None:
            self._picture.putalpha(Image.frombytes("L", self._picture.size, alpha))
        return self._picture


def check_size(width: int, height: int) -> None:
    """Checks that a file can hold an image of this size.

    Raises:
        DataError: The image is too large.
    """
    if width * height > MAX_PIXELS or max(width, height) > _LONGEST_SIDE:
        raise DataError(
            f"an image should have at most {MAX_PIXELS} pixels and no side above {_LONGEST_SIDE}, "
            f"found {width} x {height}; scale or crop it"
        )


def _prepare(picture: Image.Image, channels: int, stride: int) -> PreparedPicture:
    width, height = picture.size
    check_size(width, height)
    plane = picture.getchannel("A").tobytes() if picture.mode in ("LA", "RGBA") else None
    has_colours = picture.mode in ("RGB", "RGBA")
    return PreparedPicture(
        picture=picture,
        channels=channels,
        padded_height=-(-height // stride) * stride,
        padded_width=-(-width // stride) * stride,
        rgb=has_colours and channels == 3,
        loses_colours=has_colours and channels == 1,
        alpha=plane,
    )
