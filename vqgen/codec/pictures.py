"""Pictures of any size to the VQ-VAE's input, and back.

Legend: `c` channels, `H W` padded image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vqgen.codec.header import MAX_PIXELS
from vqgen.data import normalize_mode
from vqgen.errors import ConfigError, DataError

ALPHA_CHOICES = ("drop", "keep")

_LONGEST_SIDE = 65535  # a file has 16 bits for each side


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as input of the VQ-VAE.

    Attributes:
        pixels: The pixels, padded to a multiple of the stride by repeating the edge.
        width: Columns without padding.
        height: Rows without padding.
        rgb: True if it is decoded to RGB.
        loses_colours: True if it had colours and the model supports grey only.
        alpha: The alpha plane, a byte a pixel; None without an alpha plane.
    """

    pixels: UInt8[Tensor, "c H W"]
    width: int
    height: int
    rgb: bool
    loses_colours: bool
    alpha: bytes | None


def prepare_pictures(
    pictures: Sequence[Image.Image], channels: int, stride: int, alpha: str = "drop"
) -> list[PreparedPicture]:
    """Converts pictures to the model's channels and pads them; sizes stay as they are.

    Args:
        pictures: Pictures of any size and mode.
        channels: Channels of the model, 1 or 3; with 1 the colours are lost.
        stride: Downsampling of the coarsest level.
        alpha: "drop" lays transparent pixels on white; "keep" separates the alpha plane from the colours.

    Raises:
        DataError: There is no picture, or one is too large or cannot be read.
        ConfigError: `alpha` has another value.
    """
    if alpha not in ALPHA_CHOICES:
        raise ConfigError(f"alpha: should be one of {', '.join(ALPHA_CHOICES)}, found {alpha!r}")
    if not pictures:
        raise DataError("images: should be at least one, found none")
    return [_prepare(normalize_mode(picture, keep_alpha=alpha == "keep"), channels, stride) for picture in pictures]


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
    cropped = pixels[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
    # A model of RGB images also codes grey pictures. They come back grey, as they were.
    picture = Image.fromarray(cropped[..., 0] if cropped.shape[-1] == 1 else cropped).convert("RGB" if rgb else "L")
    if alpha is not None:
        picture.putalpha(Image.frombytes("L", (width, height), alpha))
    return picture


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
    colours = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(height, width, channels)
    # Repeating the edge costs fewer bits than black would: it adds no contour that the codes have to draw.
    padded = np.pad(colours, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
    has_colours = picture.mode in ("RGB", "RGBA")
    return PreparedPicture(
        pixels=torch.from_numpy(padded).permute(2, 0, 1),
        width=width,
        height=height,
        rgb=has_colours and channels == 3,
        loses_colours=has_colours and channels == 1,
        alpha=plane,
    )
