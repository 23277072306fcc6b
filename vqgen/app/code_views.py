"""The codes of one picture to look at: maps, the use of the entries, entries decoded alone, and p(code).

Legend: `h w` grid of a level, `k` codebook entries, `b` pictures, `c` channels, `H W` picture.
"""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from vqgen.app.uploads import Upload
from vqgen.arguments import as_count
from vqgen.codes import Codes
from vqgen.data import Label, to_pil
from vqgen.errors import DataError
from vqgen.evaluation.code_usage import code_usage
from vqgen.pipeline import VQGenPipeline

MAP_SIDE = 384
"""Pixels of a code map, at most; a code is a square of whole pixels."""

_PALE = 0.25
"""Share of their colour that codes keep beside the highlighted ones."""

_ATLAS_PIXELS = 1 << 22
"""Pixels that are decoded for a picture of the entries, at most: those of 256 entries at 128 x 128 pixels."""

_TILE = 48
_GAP = 2
"""Pixels of an entry in that picture, and between two of them."""

_BATCH_SIZE = 64

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class PictureCodes:
    """The codes of one picture, and their origin.

    Attributes:
        codes: The codes, a batch of one.
        label: Index of its label; None without one.
        origin: A sentence about the picture.
    """

    codes: Codes
    label: int | None
    origin: str


@dataclass(frozen=True)
class Likely:
    """A code at a position.

    Attributes:
        code: The codebook entry.
        probability: Its probability under the prior.
        rank: 1 for the likeliest one.
        is_drawn: True for the code that the picture has.
    """

    code: int
    probability: float
    rank: int
    is_drawn: bool


def draw_codes(pipe: VQGenPipeline, label: Label | None, seed: int) -> PictureCodes:
    """Draws the codes of one picture; errors as in `VQGenPipeline.__call__`."""
    labels = [label] if pipe.takes_labels else None
    output = pipe(labels, 1, seed=seed)
    return PictureCodes(output.codes, output.labels[0], f"drawn with seed {seed}")


def encode_codes(pipe: VQGenPipeline, upload: Upload, label: Label | None = None) -> PictureCodes:
    """Encodes an uploaded picture, cropped at the centre and resized to the size of the model.

    Args:
        pipe: The model.
        upload: The picture.
        label: Name or index of its label, for p(code); None without one.

    Raises:
        DataError: The label is unknown.
    """
    index = None if label is None else pipe.label_map.index(label)
    side = pipe.vqvae.config.image_size
    origin = " ".join([f"{upload.name}, at {side} x {side} pixels.", *upload.notes])
    return PictureCodes(pipe.encode([upload.picture]), index, origin)


def code_map(
    grid: Int64[Tensor, "h w"], codebook_size: int, entry: int | None = None, position: tuple[int, int] | None = None
) -> Image.Image:
    """Draws a grid of codes, each a square in the colour of its entry.

    Args:
        grid: The codes.
        codebook_size: k.
        entry: The entry whose positions stand out; None for none.
        position: Row and column that get a frame; None for none.
    """
    colours = code_colours(codebook_size)[grid]
    if entry is not None:
        others = grid != entry
        colours[others] = (_PALE * colours[others].float() + (1 - _PALE) * 128).to(torch.uint8)
    height, width = grid.shape
    side = cell_side(height, width)
    picture = Image.fromarray(colours.repeat_interleave(side, 0).repeat_interleave(side, 1).numpy())
    if position is not None:
        row, column = position
        draw = ImageDraw.Draw(picture)
        box = (column * side, row * side, (column + 1) * side - 1, (row + 1) * side - 1)
        line = min(3, max(1, side // 12))
        # Two frames, so that one of them is seen on every colour.
        draw.rectangle(box, outline="black", width=2 * line)
        draw.rectangle(box, outline="white", width=line)
    return picture


def cell_side(height: int, width: int) -> int:
    """Returns the pixels of the side of one code in a map."""
    return max(1, MAP_SIDE // max(height, width))


def code_colours(codebook_size: int) -> UInt8[Tensor, "k 3"]:
    """Returns a colour for each entry: hues by the golden ratio, so that neighbours differ, in three brightnesses."""
    colours = [
        colorsys.hsv_to_rgb(entry * _GOLDEN % 1, (0.55, 0.85, 0.7)[entry % 3], (0.95, 0.75, 0.55)[entry // 3 % 3])
        for entry in range(codebook_size)
    ]
    return (255 * torch.tensor(colours)).round().to(torch.uint8)


def use_counts(grid: Int64[Tensor, "h w"], codebook_size: int) -> list[int]:
    """Counts the positions of each entry in a picture."""
    return torch.bincount(grid.flatten(), minlength=codebook_size).tolist()


def training_shares(pipe: VQGenPipeline, level: str) -> list[float]:
    """Returns the share of each entry among all codes of the training images; empty if it was not counted."""
    counts = pipe.parts.frequencies.get(level)
    return [] if counts is None else (counts.double() / counts.sum()).tolist()


def use_sentence(pipe: VQGenPipeline, grid: Int64[Tensor, "h w"], level: str) -> str:
    """Returns a sentence about the use of the entries in a picture."""
    size = pipe.vqvae.config.codebook_size
    counts = torch.tensor(use_counts(grid, size))
    used = int((counts > 0).sum())
    return (
        f"{level}: {grid.shape[0]} x {grid.shape[1]} positions, {used} of {size} entries occur, "
        f"perplexity {code_usage(counts).perplexity:.1f}."
    )


def entries_decoded(pipe: VQGenPipeline, level: str, entries: Sequence[int]) -> UInt8[Tensor, "b c H W"]:
    """Decodes each entry alone: its level is filled with it, and the other levels are the mean of their codebooks.

    Args:
        pipe: The model.
        level: The level.
        entries: The entries.

    Raises:
        DataError: There is no such level or entry.
    """
    config = pipe.vqvae.config
    index = level_index(pipe, level)
    wrong = [entry for entry in entries if not 0 <= entry < config.codebook_size]
    if wrong or not entries:
        raise DataError(f"code: should lie in 0..{config.codebook_size - 1}, found {wrong[0] if wrong else 'none'}")
    side = config.image_size // config.grid_factors[index]
    grids = torch.tensor(list(entries))[:, None, None].expand(-1, side, side).contiguous()
    return pipe.decode_tensor(Codes({level: grids}), levels=[level])


@dataclass(frozen=True)
class Atlas:
    """Entries of a level, each decoded alone, in one picture.

    Attributes:
        picture: The picture.
        entries: The entries, row by row.
        columns: Entries in a row.
        step: Pixels from one entry to the next.
    """

    picture: Image.Image
    entries: tuple[int, ...]
    columns: int
    step: int

    def entry_at(self, x: int, y: int) -> int | None:
        """Returns the entry at a pixel; None beside all of them."""
        column, row = x // self.step, y // self.step
        place = row * self.columns + column
        return self.entries[place] if 0 <= column < self.columns and 0 <= place < len(self.entries) else None


def entries_atlas(pipe: VQGenPipeline, level: str) -> Atlas:
    """Draws the entries of a level, each decoded alone: all of them, or if they are many, those used most."""
    config = pipe.vqvae.config
    most = max(1, _ATLAS_PIXELS // config.image_size**2)
    shares = training_shares(pipe, level)
    order = sorted(range(config.codebook_size), key=lambda entry: -shares[entry]) if shares else range(most)
    entries = sorted(list(order)[: min(most, config.codebook_size)])
    columns = math.isqrt(len(entries) - 1) + 1
    tile = min(_TILE, config.image_size * max(1, _TILE // config.image_size))
    step = tile + _GAP
    picture = Image.new("RGB", (columns * step, -(-len(entries) // columns) * step), "white")
    for start in range(0, len(entries), _BATCH_SIZE):
        images = to_pil(entries_decoded(pipe, level, entries[start : start + _BATCH_SIZE]))
        for place, image in enumerate(images, start):
            small = image.resize((tile, tile), Image.Resampling.BOX)
            picture.paste(small, (place % columns * step + _GAP // 2, place // columns * step + _GAP // 2))
    return Atlas(picture, tuple(entries), columns, step)


def code_probabilities(
    pipe: VQGenPipeline, found: PictureCodes, level: str, row: int, column: int, most: int = 20
) -> list[Likely]:
    """Returns the likeliest codes of a position under the prior, given earlier and coarser codes and the label.

    Args:
        pipe: The model.
        found: The codes of the picture.
        level: The level.
        row: The row of its grid.
        column: The column of its grid.
        most: Codes to return, at least 1. The code that the picture has is added at the end if it is not among them.

    Raises:
        DataError: There is no such level or position.
        CheckpointError: A level has no prior.
    """
    level_index(pipe, level)
    grid = found.codes.grids[level][0]
    check_position(grid, row, column)
    drawn = int(grid[row, column])
    log_p = pipe.log_probabilities(found.codes, [found.label])[level][0, row, column]
    order = log_p.argsort(descending=True, stable=True).tolist()
    shown = order[: as_count("most", most)]
    codes = [*shown, *([] if drawn in shown else [drawn])]
    return [Likely(code, float(log_p[code].exp()), order.index(code) + 1, code == drawn) for code in codes]


def check_position(grid: Int64[Tensor, "h w"], row: int, column: int) -> None:
    """Checks that a grid has a position.

    Raises:
        DataError: It has none.
    """
    height, width = grid.shape
    if not (0 <= row < height and 0 <= column < width):
        raise DataError(
            f"position: should be a row in 0..{height - 1} and a column in 0..{width - 1}, found {row}, {column}"
        )


def level_index(pipe: VQGenPipeline, level: str) -> int:
    """Returns the index of a level, coarse to fine.

    Raises:
        DataError: The model has no such level.
    """
    if level not in pipe.levels:
        raise DataError(f"level: should be one of {', '.join(pipe.levels)}, found {level!r}")
    return pipe.levels.index(level)


def codes_document(pipe: VQGenPipeline, found: PictureCodes) -> dict[str, Any]:
    """Returns the codes of a picture as values for JSON."""
    label = None if found.label is None else pipe.label_map.names[found.label]
    return {
        "label": label,
        "origin": found.origin,
        "codebook_size": pipe.vqvae.config.codebook_size,
        "codes": {level: grid[0].tolist() for level, grid in found.codes.grids.items()},
    }
