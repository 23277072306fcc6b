"""Pictures laid out in grids: reconstructions, neighbours, several sets of images side by side.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vqgen.data.layout import image_grid
from vqgen.storage.files import atomic_path
from vqgen.storage.names import shown

__all__ = [
    "image_grid", "reconstruction_grid", "save_image", "save_neighbours", "save_reconstruction_grid",
    "save_side_by_side",
]  # fmt: skip

_BLOCK_COLUMNS = 8
"""Pictures in a row of each block, at most, if several sets of images stand side by side."""

_MOST_ROWS = 20
"""Labels in a picture of several sets, at most, taken evenly from all."""

_FONT_SIZE = 16

_FEWEST_LETTERS = 20
"""Letters of a label that are written before its row, at least; a longer one is shortened if it is too wide."""


def save_image(image: Image.Image, path: Path) -> None:
    """Writes a picture, all or nothing."""
    with atomic_path(path) as temporary:
        image.save(temporary)


def save_reconstruction_grid(
    originals: UInt8[Tensor, "b c H W"], reconstructions: UInt8[Tensor, "b c H W"], path: Path, columns: int = 8
) -> None:
    """Writes the picture of `reconstruction_grid`."""
    save_image(reconstruction_grid(originals, reconstructions, columns), path)


def reconstruction_grid(
    originals: UInt8[Tensor, "b c H W"], reconstructions: UInt8[Tensor, "b c H W"], columns: int = 8
) -> Image.Image:
    """Lays out originals, each joined to its reconstruction below it, with margins around the pairs."""
    return image_grid(torch.cat([originals, reconstructions], dim=2), columns)


def save_neighbours(
    samples: UInt8[Tensor, "b c H W"], neighbours: UInt8[Tensor, "b c H W"], path: Path, most: int = 64
) -> None:
    """Writes a grid of samples, each joined to its nearest training image below it.

    Args:
        samples: The samples.
        neighbours: The nearest training image of each sample.
        path: Picture to write.
        most: Samples to show, at most, taken evenly from all.
    """
    chosen = torch.linspace(0, len(samples) - 1, min(most, len(samples))).long()
    save_reconstruction_grid(samples[chosen], neighbours[chosen], path, columns=16)


def save_side_by_side(
    blocks: Mapping[str, UInt8[Tensor, "b c H W"]], labels: Sequence[str], images_per_label: int, path: Path
) -> None:
    """Writes a grid with a block of columns for each set of images, and a row for each label.

                 name       name
        label    # # # #    # # # #
        label    # # # #    # # # #

    Args:
        blocks: Name, which is written above the block -> images, label after label, the same labels in all sets.
        labels: Names of the labels, written before the rows; empty for images without labels.
        images_per_label: Images of each label; the first few are shown.
        path: Picture to write.
    """
    columns = min(_BLOCK_COLUMNS, images_per_label)
    rows = max(1, len(labels))
    chosen = torch.linspace(0, rows - 1, min(rows, _MOST_ROWS)).long()
    grids = [
        image_grid(images.unflatten(0, (rows, images_per_label))[chosen, :columns].flatten(0, 1), columns).convert(
            "RGB"
        )
        for images in blocks.values()
    ]
    font = ImageFont.load_default(_FONT_SIZE)
    gap = _FONT_SIZE
    names = [_shortened(shown(name), font, grids[0].width) for name in blocks]
    widest = max(grids[0].width, _FEWEST_LETTERS * _FONT_SIZE)
    row_names = [_shortened(shown(labels[int(index)]), font, widest) for index in chosen] if labels else []
    # All blocks have the same size, so block i begins at left + i * step. The widest label decides where the first one
    # begins, and two gaps above leave room for one line of names.
    left = gap + round(max((font.getlength(name) for name in row_names), default=0))
    above = 2 * gap
    step = grids[0].width + gap
    picture = Image.new("RGB", (left + step * len(grids), above + grids[0].height + gap), "white")
    draw = ImageDraw.Draw(picture)
    for number, (name, grid) in enumerate(zip(names, grids, strict=True)):
        picture.paste(grid, (left + number * step, above))
        draw.text((left + number * step + grid.width / 2, above / 2), name, "black", font, anchor="mm")
    for number, name in enumerate(row_names):
        # Labels end half a gap before the first block, at the middle of their rows.
        middle = above + (number + 0.5) * grids[0].height / len(row_names)
        draw.text((left - gap / 2, middle), name, "black", font, anchor="rm")
    save_image(picture, path)


def _shortened(name: str, font: Any, width: int) -> str:
    """Returns the end of a name that fits into a width; the end tells paths apart."""
    kept = name
    while len(kept) > 1 and font.getlength(kept) > width:
        kept = "…" + kept[2:]
    return kept
