"""Generated images as a notebook shows them: in a grid, and with captions.

Legend: `b` images, `c` channels, `H W` image.
"""

import base64
import html
from collections.abc import Sequence
from io import BytesIO

from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor

from vqgen.data.layout import enlarged, image_grid
from vqgen.data.pixels import to_pil
from vqgen.storage.names import shown

_MOST_SHOWN = 200
"""Images that a notebook shows, at most: their bytes are stored in its file."""

_COLUMNS = 10
"""Images in a row, at most, unless each label has a row of its own."""

_LONGEST_ROW = 25

_SIDE = 64
"""Pixels below which images are enlarged by a whole factor."""


def grid_png(pixels: UInt8[Tensor, "b c H W"], labels: Sequence[int | None]) -> bytes:
    """Returns the PNG file of a grid of images: one row for each label, if all have the same number of images.

    Args:
        pixels: The images; the first ones are shown.
        labels: The label of each image.
    """
    return _png(image_grid(pixels[:_MOST_SHOWN], _columns(labels), least_side=_SIDE))


def gallery_html(
    pixels: UInt8[Tensor, "b c H W"],
    labels: Sequence[int | None],
    captions: Sequence[str],
    log_likelihood: Float64[Tensor, " b"] | None,
) -> str:
    """Returns HTML with the grid of `grid_png`, and a caption below each image.

    Args:
        pixels: The images; the first ones are shown.
        labels: The label of each image.
        captions: The text of each image. Nothing in it is read as HTML.
        log_likelihood: log p of each image in nats, for a second line; None leaves it out.
    """
    count = min(len(pixels), _MOST_SHOWN)
    figures = []
    for place, image in enumerate(to_pil(enlarged(pixels[:count], _SIDE))):
        source = base64.b64encode(_png(image)).decode()
        text = html.escape(shown(captions[place]))
        line = "" if log_likelihood is None else f"<br>{log_likelihood[place]:.1f} nats"
        figures.append(
            f'<figure style="margin:0"><img src="data:image/png;base64,{source}" alt="{text}">'
            f'<figcaption style="font-size:small;text-align:center">{text}{line}</figcaption></figure>'
        )
    rest = len(pixels) - count
    more = f"<p>and {rest:,} more</p>" if rest else ""
    style = f"display:grid;grid-template-columns:repeat({_columns(labels)},max-content);gap:8px;overflow-x:auto"
    return f'<div style="{style}">{"".join(figures)}</div>{more}'


def _columns(labels: Sequence[int | None]) -> int:
    """Returns the number of images in a row of the grid."""
    each = next((place for place, label in enumerate(labels) if label != labels[0]), len(labels))
    starts = range(0, len(labels), each)
    is_even = all(len({*labels[start : start + each]}) == 1 for start in starts) and len(labels) % each == 0
    return each if 1 < each <= _LONGEST_ROW and is_even else min(len(labels), _COLUMNS)


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
