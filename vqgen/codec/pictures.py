"""Pictures of any size to what the VQ-VAE takes, and back.

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

_LONGEST_SIDE = 65535


@dataclass(frozen=True)
class PreparedPicture:
    """A picture as the VQ-VAE takes it.

    Attributes:
        pixels: Padded to a multiple of the stride by repeating the edge.
        width: Columns without padding.
        height: Rows without padding.
        rgb: Whether it comes back in colour.
        loses_colours: Whether it had colours that the model does not know.
        alpha: The alpha plane, a byte a pixel; None without one.
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
    """Brings pictures to the model's channels and pads them; sizes stay as they are.

    Args:
        pictures: Of any size and mode.
        channels: 1 or 3, the model's; a model of grey images loses colours.
        stride: Downsampling of the coarsest level.
        alpha: "drop" lays transparent pixels on white; "keep" keeps colours and transparency apart.

    Raises:
        DataError: There is no picture, or one is too large or cannot be read.
        ConfigError: `alpha` is neither.
    """
    if alpha not in ALPHA_CHOICES:
        raise ConfigError(f"alpha: should be one of {', '.join(ALPHA_CHOICES)}, found {alpha!r}")
    if not pictures:
        raise DataError("images: should be at least one, found none")
    return [_prepare(normalize_mode(picture, keep_alpha=alpha == "keep"), channels, stride) for picture in pictures]


def restore_picture(
    pixels: UInt8[Tensor, "c H W"], width: int, height: int, rgb: bool, alpha: bytes | None
) -> Image.Image:
    """Cuts the padding off and gives the picture the colours and the alpha plane that it had."""
    kept = pixels[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
    picture = Image.fromarray(kept[..., 0] if kept.shape[-1] == 1 else kept).convert("RGB" if rgb else "L")
    if alpha is not None:
        picture.putalpha(Image.frombytes("L", (width, height), alpha))
    return picture


def check_size(width: int, height: int) -> None:
    """Checks that a file can hold an image of this size.

    Raises:
        DataError: It is too large.
    """
    if width * height > MAX_PIXELS or max(width, height) > _LONGEST_SIDE:
        raise DataError(
            f"an image should have at most {MAX_PIXELS} pixels and no side above {_LONGEST_SIDE}, "
            f"found {width} x {height}; scale or cut it"
        )


def _prepare(picture: Image.Image, channels: int, stride: int) -> PreparedPicture:
    width, height = picture.size
    check_size(width, height)
    plane = picture.getchannel("A").tobytes() if picture.mode in ("LA", "RGBA") else None
    colours = np.asarray(picture.convert("L" if channels == 1 else "RGB")).reshape(height, width, channels)
    padded = np.pad(colours, ((0, -height % stride), (0, -width % stride), (0, 0)), mode="edge")
    in_colour, pixels = picture.mode in ("RGB", "RGBA"), torch.from_numpy(padded).permute(2, 0, 1)
    return PreparedPicture(pixels, width, height, in_colour and channels == 3, in_colour and channels == 1, plane)
