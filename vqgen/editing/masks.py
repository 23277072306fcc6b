"""Masks: the pixels of a picture that are drawn anew, and the codes of each level that belong to them.

Legend: `b` images, `H W` image, `h w` grid of a level.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from vqgen.arguments import as_items, found_text
from vqgen.errors import DataError

Redrawn = Mapping[str, Bool[Tensor, "_b _h _w"]]
"""Level -> True for each code that is drawn anew, coarse to fine."""

_WANTED = "a mask (a picture, or an array or tensor of pixels (h, w), white or True where codes are drawn anew)"

_HALF = 127
"""Grey values above it are white."""


def read_masks(value: object, sizes: Sequence[tuple[int, int]], side: int) -> Bool[Tensor, "b side side"]:
    """Returns the mask of each picture, in the square that a model sees of it.

    Args:
        value: A mask for all pictures, or one for each: PIL images; arrays or tensors `(h, w)` of booleans or uint8;
            or several of them in a list or a tensor `(b, h, w)`. White pixels and True are drawn anew. Transparent
            pixels of a mask are not.
        sizes: Width and height of each upright picture. A mask has the size of its picture.
        side: Height and width of the images of the model.

    Returns:
        The masks after the evaluation transform. A pixel is drawn anew if any part of it is.

    Raises:
        DataError: A value is no mask, there is not one for each picture, or one has another size than its picture.
    """
    masks = _listed(value)
    if len(masks) not in (1, len(sizes)):
        raise DataError(f"mask: should be one for all of {len(sizes)} pictures or one for each, found {len(masks)}")
    squares = []
    for place, (width, height) in enumerate(sizes):
        mask = masks[place if len(masks) > 1 else 0]
        if mask.shape != (height, width):
            which = f", picture {place}" if len(sizes) > 1 else ""
            raise DataError(
                f"mask: should have the size of its picture, {width} x {height}{which}, found "
                f"{mask.shape[1]} x {mask.shape[0]}"
            )
        squares.append(_centre_square(mask, side))
    return torch.stack(squares)


def redrawn_codes(mask: Bool[Tensor, "b H W"], downsample: Mapping[str, int]) -> dict[str, Bool[Tensor, "b _h _w"]]:
    """Marks the codes whose cells have a pixel that is drawn anew.

    Args:
        mask: True for each pixel that is drawn anew.
        downsample: Level -> pixels of a cell along one side, coarse to fine.
    """
    pixels = mask[:, None].float()
    return {level: F.max_pool2d(pixels, factor)[:, 0] > 0 for level, factor in downsample.items()}


def check_redrawn(redrawn: Redrawn, name: str = "mask") -> None:
    """Refuses masks that leave nothing to draw, or nothing to keep.

    Args:
        redrawn: The codes that are drawn anew.
        name: Name of the parameter, for messages.

    Raises:
        DataError: No code of an image is drawn anew, or every one is.
    """
    flat = torch.cat([grid.flatten(1) for grid in redrawn.values()], dim=1)
    for place, row in enumerate(flat):
        which = f" (image {place})" if len(flat) > 1 else ""
        if not row.any():
            raise DataError(
                f"{name}: should mark what is drawn anew (white), found nothing that the model sees{which}; it sees "
                "the centre square"
            )
        if row.all():
            raise DataError(
                f"{name}: should leave some codes as they are (black), found all of them marked{which}; "
                "`vqgen generate` draws whole images"
            )


def _listed(value: object) -> list[NDArray[np.bool_]]:
    """Returns masks as arrays `(h, w)`."""
    if isinstance(value, Image.Image):
        return [_array(value)]
    if isinstance(value, Tensor | np.ndarray) and value.ndim == 2:
        return [_array(value)]
    items = as_items("mask", value, _WANTED)
    if not items:
        raise DataError("mask: should be at least one, found none")
    return [_array(item) for item in items]


def _array(value: object) -> NDArray[np.bool_]:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, Image.Image):
        return _white(value)
    if isinstance(value, np.ndarray) and value.ndim == 2 and value.size and value.dtype in (np.bool_, np.uint8):
        return value if value.dtype == np.bool_ else value > _HALF
    raise DataError(f"mask: should be {_WANTED}, found {found_text(value)}")


def _white(picture: Image.Image) -> NDArray[np.bool_]:
    """Returns True for the white pixels of a picture. Transparent pixels are black: nobody has painted there."""
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L")) > _HALF
    painted = picture.convert("RGBA")
    grey = np.asarray(painted.convert("L")).astype(np.uint16)
    return grey * np.asarray(painted.getchannel("A")) // 255 > _HALF


def _centre_square(mask: NDArray[np.bool_], side: int) -> Bool[Tensor, "side side"]:
    """Returns the centre square of a mask, scaled as the evaluation transform scales its picture."""
    height, width = mask.shape
    least = min(height, width)
    left = (width - least) // 2
    top = (height - least) // 2
    # Means over the area of each pixel, in floating point: above zero if any part of it is marked. The nearest pixel
    # alone would lose a thin line.
    grey = Image.fromarray(mask.astype(np.float32)).resize(
        (side, side), Image.Resampling.BOX, box=(left, top, left + least, top + least)
    )
    return torch.from_numpy(np.asarray(grey) > 0)
