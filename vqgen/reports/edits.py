"""Edits on disk: a picture of all of them beside their originals, and edits.json.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vqgen.data import LabelMap
from vqgen.pipeline.editing import EditOutput
from vqgen.reports.grids import image_grid, save_image
from vqgen.storage.files import write_json

_MOST_ROWS = 32
"""Images in the grid, at most."""

_MOST_COLUMNS = 8
"""Edits of an image in the grid, at most."""

_LEAST_SIDE = 96
"""Pictures with smaller sides are enlarged to at least this number of pixels, so that they can be looked at."""

_TINT = (255, 60, 0)
"""The colour over codes that are drawn anew."""

_STRENGTH = 0.6
"""Share of the colour where the codes of all levels are drawn anew."""


def redrawn_share(redrawn: Mapping[str, Tensor], side: int) -> Float[Tensor, "b 1 H W"]:
    """Returns the share of levels that are drawn anew at each pixel.

    Args:
        redrawn: As in `EditOutput`.
        side: Pixels of a side of the images.
    """
    each = [
        grid.repeat_interleave(side // grid.shape[1], dim=1).repeat_interleave(side // grid.shape[2], dim=2)
        for grid in redrawn.values()
    ]
    return torch.stack(each).float().mean(dim=0)[:, None]


def tinted(pixels: UInt8[Tensor, "b c H W"], redrawn: Mapping[str, Tensor]) -> UInt8[Tensor, "b 3 H W"]:
    """Colours the cells of redrawn codes: the more levels are drawn anew, the more.

    Args:
        pixels: The images.
        redrawn: As in `EditOutput`.
    """
    share = _STRENGTH * redrawn_share(redrawn, pixels.shape[-1])
    colour = torch.tensor(_TINT, dtype=torch.float32)[:, None, None]
    return (pixels.expand(-1, 3, -1, -1) * (1 - share) + colour * share).round().to(torch.uint8)


def save_edit_grid(
    edits: EditOutput, decoded: UInt8[Tensor, "b c H W"], originals: UInt8[Tensor, "n c H W"] | None, path: Path
) -> str:
    """Writes a row for each image: the original, its decoded codes, the redrawn codes in colour, its edits.

    Args:
        edits: All edits, those of one image after the other, equally many of each.
        decoded: The decoded codes of each image, before the edit.
        originals: The images before they were encoded; None if only their codes are known.
        path: Picture to write.

    Returns:
        What the picture shows, for a message.
    """
    variants = len(edits.pixels) // len(decoded)
    shown = min(len(decoded), _MOST_ROWS)
    columns = [] if originals is None else [originals[:shown]]
    columns += [decoded[:shown], tinted(decoded[:shown], {k: v[::variants][:shown] for k, v in edits.redrawn.items()})]
    columns += edits.pixels.unflatten(0, (-1, variants))[:shown, :_MOST_COLUMNS].unbind(dim=1)
    rows = torch.stack([column.expand(-1, 3, -1, -1) for column in columns], dim=1)
    save_image(image_grid(rows.flatten(0, 1), columns=len(columns), least_side=_LEAST_SIDE), path)
    first = "" if originals is None else "the original, "
    few = "" if shown == len(decoded) else f" of the first {shown}"
    return f"{path.name}: {first}its decoded codes, what is drawn anew, the edits{few}"


def write_edits(
    edits: EditOutput,
    files: Sequence[str | None],
    sources: Sequence[str],
    label_map: LabelMap,
    settings: Mapping[str, Any],
    path: Path,
) -> None:
    """Writes edits.json: the settings, and for each edit its likelihoods and the number of its redrawn codes.

    Args:
        edits: The edits.
        files: The file of each edit; None for one that could not be written.
        sources: The name of the image that each was made from.
        label_map: The names of the labels.
        settings: The settings by name, by which the edits can be made again.
        path: File to write.
    """
    before, after = edits.log_likelihood_before.tolist(), edits.log_likelihood.tolist()
    images = [
        {
            "file": file,
            "source": source,
            "label": None if label is None else label_map.names[label],
            "log_likelihood_before": before[place],
            "log_likelihood": after[place],
            "redrawn": {level: int(grid[place].sum()) for level, grid in edits.redrawn.items()},
            "one_pass_is_exact": bool(edits.one_pass_is_exact[place]),
        }
        for place, (file, source, label) in enumerate(zip(files, sources, edits.labels, strict=True))
    ]
    codes = {level: grid[0].numel() for level, grid in edits.redrawn.items()}
    write_json(path, {"seed": edits.seed, "settings": dict(settings), "codes": codes, "images": images})
