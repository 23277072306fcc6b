"""Pictures inside a page: data URIs, enlarged or shrunk to a size that a person sees well.

Legend: `b` images, `c` channels, `H W` image, `h w` grid of codes, `k` codebook entries.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from vqgen.data import to_pil

SHOWN_SIDE = 96
"""Pixels of the screen up to which small pictures are enlarged, by a whole factor."""

_LARGEST_KEPT = 64
"""Pixels of a side up to which every pixel is kept. Larger pictures are shrunk, so that a page stays small."""

_SHRUNK_SIDE = 128
"""Pixels of the longer side of a picture that was shrunk."""

_JPEG_QUALITY = 85

_COLOURS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""The colours of code maps, from the first entry to the last one; between them colours are mixed.

Source: five colours of viridis, whose lightness rises evenly (van der Walt and Smith 2015).
"""


@dataclass(frozen=True)
class Picture:
    """A picture on a page.

    Attributes:
        uri: The data URI.
        width: Pixels of the screen.
        height: Pixels of the screen.
        text: The text for readers who do not see it.
        note: The text below it; empty for none.
    """

    uri: str
    width: int
    height: int
    text: str
    note: str = ""


def page_pictures(
    images: UInt8[Tensor, "b c H W"],
    texts: Sequence[str],
    notes: Sequence[str] | None = None,
    *,
    side: int = SHOWN_SIDE,
) -> list[Picture]:
    """Makes pictures of images.

    Args:
        images: The images.
        texts: A text for each, for readers who do not see it.
        notes: The text below each; None for none.
        side: Pixels of the screen up to which small pictures are enlarged; large ones have this longer side.
    """
    below = [""] * len(images) if notes is None else notes
    return [page_picture(*each, side=side) for each in zip(to_pil(images), texts, below, strict=True)]


def page_picture(
    image: Image.Image, text: str, note: str = "", *, side: int = SHOWN_SIDE, is_exact: bool = False
) -> Picture:
    """Makes a picture: a PNG with every pixel if it is small or has to be exact, and else a smaller JPEG."""
    if max(image.size) <= _LARGEST_KEPT or is_exact:
        factor = max(1, side // max(image.size))
        width, height = (factor * pixels for pixels in image.size)
        return Picture(_uri(image, "PNG", optimize=True), width, height, text, note)
    small = image.convert("RGB" if image.mode != "L" else "L")
    small.thumbnail((_SHRUNK_SIDE, _SHRUNK_SIDE), Image.Resampling.LANCZOS)
    scale = side / max(small.size)
    width, height = (max(1, round(scale * pixels)) for pixels in small.size)
    return Picture(_uri(small, "JPEG", quality=_JPEG_QUALITY), width, height, text, note)


def code_picture(codes: Int64[Tensor, "h w"], places: Float[Tensor, " k"], text: str) -> Picture:
    """Makes the picture of a grid of codes, a square of one colour for each code.

    Args:
        codes: The codes.
        places: The place of each entry among the colours, in [0, 1]; see `similar_places`.
        text: The text for readers who do not see it.
    """
    colours = torch.tensor(_COLOURS, dtype=torch.float32)
    along = places[codes].clamp(0, 1) * (len(colours) - 1)
    before = along.floor().clamp(max=len(colours) - 2).long()
    mixed = torch.lerp(colours[before], colours[before + 1], (along - before)[..., None])
    return page_picture(Image.fromarray(mixed.round().to(torch.uint8).numpy()), text, is_exact=True)


def similar_places(codebook: Float[Tensor, "k d"]) -> Float[Tensor, " k"]:
    """Computes the places of the entries of a codebook along their first principal axis, in [0, 1].

    Entries that lie close to each other have similar places, so that maps of similar codes have similar colours. The
    places are ranks: one entry far from all others would otherwise take all colours but two.
    """
    centred = (codebook - codebook.mean(dim=0)).double()
    axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    # The sign of a principal axis is free. Fixed, the same codebook has the same colours on every machine.
    axis = axis * axis[axis.abs().argmax()].sign()
    ranks = (centred @ axis).argsort().argsort().float()
    return ranks / max(1, len(codebook) - 1)


def _uri(image: Image.Image, form: str, **options: object) -> str:
    file = io.BytesIO()
    image.save(file, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
