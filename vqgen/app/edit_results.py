"""The results of edits on the page: rows of pictures, and their files."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from vqgen.app.context import AppContext
from vqgen.app.editing import Edited, Source
from vqgen.app.gallery import Shown
from vqgen.data import to_pil
from vqgen.pipeline import VQGenPipeline
from vqgen.reports.edits import redrawn_share
from vqgen.reports.picture_metadata import label_name, png_with_settings

Rows = list[tuple[str, list[Shown]]]


def edit_rows(result: Edited, source: Source, pipe: VQGenPipeline) -> tuple[Rows, dict[str, bytes]]:
    """Returns the pictures before and after an edit, and the files of the edits: name -> PNG."""
    output = result.output
    before = float(output.log_likelihood_before[0])
    mask = (redrawn_share(output.redrawn, output.pixels.shape[-1])[:1] * 255).round().to(torch.uint8)
    given = [
        Shown(to_pil(source.pixels)[0], "given", "the picture that is edited"),
        Shown(to_pil(result.as_codes)[0], f"from its codes, log p {before:.1f}", "the picture, decoded from its codes"),
        Shown(to_pil(mask)[0], "white: drawn anew; grey: in some levels", "the part that is drawn anew"),
    ]
    files: dict[str, bytes] = {}
    edits = []
    for place, (image, nats) in enumerate(zip(output.images, output.log_likelihood.tolist(), strict=True)):
        settings: dict[str, Any] = {
            "model": pipe.parts.name,
            "model_sha256": pipe.model_hash,
            "seed": output.seed,
            "index": place,
            "label": label_name(output.labels[place], pipe.label_map),
            "edited": True,
        }
        name = f"edit-{output.seed}-{place:04d}.png"
        files[name] = png_with_settings(image, settings)
        caption = f"log p {nats:.1f}"
        edits.append(Shown(image, caption, f"edit {place}, {caption} nats", files[name], name))
    return [("Before", given), ("Edits", edits)], files


def walk_rows(pixels: UInt8[Tensor, "b c H W"], sources: list[Source]) -> tuple[Rows, dict[str, bytes]]:
    """Returns the two ends and the pictures between them, and the files of those."""
    files = {f"step-{place:02d}.png": png_with_settings(image, {}) for place, image in enumerate(to_pil(pixels))}
    ends = [
        Shown(to_pil(source.pixels)[0], name, f"the {name} picture")
        for source, name in zip(sources, ("first", "last"), strict=True)
    ]
    steps = [
        Shown(image, f"step {place}", f"step {place}", files[f"step-{place:02d}.png"], f"step-{place:02d}.png")
        for place, image in enumerate(to_pil(pixels))
    ]
    return [("Given", ends), ("Between", steps)], files


def edits_archive(context: AppContext, files: dict[str, bytes]) -> Path:
    """Writes files into an archive, and returns its path."""
    path = context.new_path("edits.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
