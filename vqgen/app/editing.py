"""Edits for the page and for its HTTP API: a picture and plain values in, edited pictures out.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vqgen.app.context import AppContext, Limits
from vqgen.app.streaming import streamed
from vqgen.codes import Codes
from vqgen.data import to_pil
from vqgen.errors import ConfigError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.editing import EditOutput
from vqgen.reports.latent_pictures import between

PAINTED = "painted"
"""The hole that the user has painted."""

HOLES = (PAINTED, "left half", "right half", "upper half", "lower half", "middle")
"""The holes to choose from: those who cannot paint, and clients of the API, name one."""

_SHOWN_SIDE = 384
"""Pixels, at least, of the picture that one paints on."""

_BATCH_SIZE = 4
"""Edits at a time: a stop waits for one batch at most."""

SWEEPS = 4
"""Sweeps unless the user says otherwise: one pass does not know what comes after the hole."""

_PASSES = 20
"""Passes per picture of the limit, at most: sweeps and candidates take as long as that many pictures."""

_MOST_STEPS = 24


@dataclass(frozen=True)
class Source:
    """A picture to edit.

    Attributes:
        codes: Its codes.
        pixels: The picture as the model sees it.
    """

    codes: Codes
    pixels: UInt8[Tensor, "1 c H W"]


@dataclass(frozen=True)
class EditSettings:
    """An edit, in the values of a page.

    Attributes:
        label: Name of the label; None for no label.
        edits: Edits to draw.
        seed: Edit i draws from (seed, i).
        sweeps: As in `EditingPipeline.inpaint`.
        candidates: As in `EditingPipeline.inpaint`.
    """

    label: str | None = None
    edits: int = 4
    seed: int = 0
    sweeps: int = SWEEPS
    candidates: int = 1


@dataclass(frozen=True)
class Drawn:
    """Edits so far."""

    edits: int
    total: int


@dataclass(frozen=True)
class Edited:
    """The result.

    Attributes:
        output: The edits.
        as_codes: The picture before the edit, decoded from its codes.
    """

    output: EditOutput
    as_codes: UInt8[Tensor, "1 c H W"]


Edit = Callable[[VQGenPipeline, Codes, dict[str, Any]], EditOutput]
"""A function that edits codes, with the arguments that all edits share."""


def inpainted(mask: NDArray[np.bool_], sweeps: int) -> Edit:
    """Returns the edit that draws a hole anew.

    Args:
        mask: `(H, W)`, True where the picture is drawn anew.
        sweeps: As in `EditingPipeline.inpaint`.
    """
    return lambda pipe, codes, shared: pipe.inpaint(codes, mask, sweeps=sweeps, **shared)


def completed(rows: float, sweeps: int) -> Edit:
    """Returns the edit that keeps the upper part."""
    return lambda pipe, codes, shared: pipe.complete(codes, rows=rows, sweeps=sweeps, **shared)


def varied(keep: str, sweeps: int | None) -> Edit:
    """Returns the edit that keeps one level; no sweeps if `sweeps` is 0 and one pass is exact."""
    return lambda pipe, codes, shared: pipe.vary(codes, keep=keep, sweeps=sweeps or None, **shared)


def source_of_picture(pipe: VQGenPipeline, picture: Image.Image) -> Source:
    """Returns a picture as the model sees it, with its codes."""
    pixels = pipe.preprocess(picture)
    return Source(pipe.encode_tensor(pixels), pixels)


def source_of_label(pipe: VQGenPipeline, label: str | None, seed: int) -> Source:
    """Draws a picture of a label to edit."""
    output = pipe(labels=[label] if pipe.takes_labels else None, seed=seed)
    return Source(output.codes[:1], output.pixels[:1])


def edited_steps(
    context: AppContext, model: str, source: Source, edit: Edit, settings: EditSettings
) -> Generator[Drawn | Edited, None, None]:
    """Draws edits of one picture. Closing the generator stops the work.

    Raises:
        VQGenError: As the method of `EditingPipeline`; or more is asked for than one request may have.
    """
    _check(settings, context.limits)

    def work(hand_over: Callable[[Drawn | Edited], None]) -> None:
        with context.use(model) as pipe:
            pipe.check_generates()
            drawn = 0

            def count(images: int) -> None:
                nonlocal drawn
                drawn += images
                hand_over(Drawn(min(drawn, settings.edits), settings.edits))

            codes = Codes.cat([source.codes] * settings.edits)
            shared = {
                "labels": settings.label,
                "seed": settings.seed,
                "candidates": settings.candidates,
                "batch_size": _BATCH_SIZE,
                "progress": count,
            }
            hand_over(Edited(edit(pipe, codes, shared), pipe.decode_tensor(source.codes)))

    yield from streamed(work, context.closing)


def interpolated(pipe: VQGenPipeline, first: Source, last: Source, steps: int) -> UInt8[Tensor, "b c H W"]:
    """Mixes the latents of two pictures, in `steps` equal steps from the first to the last one.

    Raises:
        ConfigError: The number of steps is out of its range.
    """
    if not 2 <= steps <= _MOST_STEPS:
        raise ConfigError(f"steps: should be from 2 to {_MOST_STEPS}, found {steps}")
    unlabelled = torch.full((2,), -1, dtype=torch.int64)
    ends = pipe.to_latents(torch.cat([first.pixels, last.pixels]), unlabelled)
    return pipe.from_latents(between(ends[0], ends[1], steps), unlabelled[:1].repeat(steps))


def mask_of(hole: str, painted: NDArray[np.bool_] | None, side: int) -> NDArray[np.bool_]:
    """Returns the mask `(side, side)` of a hole.

    Args:
        hole: One of `HOLES`.
        painted: `(h, w)`, True where the user has painted; None if there is no painting.
        side: Pixels of a side of the picture.

    Raises:
        ConfigError: There is no such hole.
        DataError: Nothing is painted.
    """
    if hole not in HOLES:
        raise ConfigError(f"hole: should be one of {', '.join(HOLES)}, found {hole!r}")
    if hole == PAINTED:
        if painted is None or not painted.any():
            raise DataError("mask: should cover a part of the picture, found none; paint it, or choose a hole")
        return _reduced(painted, side)
    mask = np.zeros((side, side), dtype=bool)
    half = side // 2
    quarter = side // 4
    parts = {
        "left half": np.s_[:, :half],
        "right half": np.s_[:, half:],
        "upper half": np.s_[:half],
        "lower half": np.s_[half:],
        "middle": np.s_[quarter : side - quarter, quarter : side - quarter],
    }
    mask[parts[hole]] = True
    return mask


def canvas_of(pixels: UInt8[Tensor, "1 c H W"]) -> Image.Image:
    """Returns a picture to paint on: enlarged by a whole factor, with its pixels as squares."""
    factor = max(1, -(-_SHOWN_SIDE // pixels.shape[-1]))
    picture = to_pil(pixels)[0].convert("RGB")
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _reduced(painted: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Returns a painting in the pixels of the model: those painted by half, or else the ones that are painted most."""
    shares = Image.fromarray(painted.astype(np.uint8) * 255).resize((side, side), Image.Resampling.BOX)
    grey = np.asarray(shares)
    return grey >= min(128, int(grey.max()))


def _check(settings: EditSettings, limits: Limits) -> None:
    if not 1 <= settings.edits <= limits.images:
        raise ConfigError(f"edits: should be from 1 to {limits.images}, found {settings.edits}")
    passes = settings.edits * max(1, settings.candidates) * (1 + max(0, settings.sweeps))
    if passes > _PASSES * limits.images:
        raise ConfigError(
            f"edits x candidates x sweeps: should be at most {_PASSES * limits.images} passes, found {passes}; "
            "ask for fewer"
        )
