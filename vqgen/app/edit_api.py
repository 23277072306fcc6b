"""Edits over HTTP: inpaint, complete, vary and interpolate under their names, with typed parameters."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gradio.events import api
from PIL import Image

from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.edit_results import edit_rows, walk_rows
from vqgen.app.editing import (
    PAINTED,
    SWEEPS,
    Edit,
    Edited,
    EditSettings,
    Source,
    completed,
    edited_steps,
    inpainted,
    interpolated,
    mask_of,
    source_of_picture,
    varied,
)
from vqgen.app.faults import plain_errors
from vqgen.app.http_api import file_of
from vqgen.app.uploads import read_upload
from vqgen.errors import DataError

Answer = tuple[list[dict[str, Any]], dict[str, Any]]
"""A list with the file and the log-likelihood of each picture, and facts about all of them."""

_RETURNS = "Returns a list with a PNG file and the log-likelihood in nats of each edit, and the one before the edit."

_PICTURE = "The picture is a file that was uploaded to /gradio_api/upload. "


def add_edit_endpoints(context: AppContext) -> None:
    """Adds the endpoints to the page that is being built."""
    described = {
        _inpaint: "Draws a hole of a picture anew: the white part of a mask, or else a hole by its name. ",
        _complete: "Keeps the upper part of a picture, and draws the rest. ",
        _vary: "Keeps one level of the codes of a picture, and draws the other levels. ",
    }
    queue: dict[str, Any] = {"concurrency_id": MODEL_QUEUE, "concurrency_limit": 1}
    for make, text in described.items():
        name = make.__name__.strip("_")
        api(plain_errors(make(context)), api_name=name, api_description=text + _PICTURE + _RETURNS, **queue)
    api(
        plain_errors(_interpolate(context)),
        api_name="interpolate",
        api_description="Mixes the latents of two uploaded pictures, step by step. Returns the files of the steps.",
        **queue,
    )


def _inpaint(context: AppContext) -> Callable[..., Iterator[Answer]]:
    def inpaint(
        picture: dict[str, Any],
        mask: dict[str, Any] | None = None,
        hole: str = "middle",
        label: str | None = None,
        edits: int = 1,
        seed: int = 0,
        sweeps: int = SWEEPS,
        candidates: int = 1,
        model: str = context.names[0],
    ) -> Iterator[Answer]:
        source = _source(context, model, picture)
        side = source.pixels.shape[-1]
        painted = None if mask is None else _mask(context, mask)
        edit = inpainted(mask_of(hole if mask is None else PAINTED, painted, side), sweeps)
        yield from _edited(context, model, source, edit, EditSettings(label, edits, seed, sweeps, candidates))

    return inpaint


def _complete(context: AppContext) -> Callable[..., Iterator[Answer]]:
    def complete(
        picture: dict[str, Any],
        rows: float = 0.5,
        label: str | None = None,
        edits: int = 1,
        seed: int = 0,
        sweeps: int = SWEEPS,
        candidates: int = 1,
        model: str = context.names[0],
    ) -> Iterator[Answer]:
        settings = EditSettings(label, edits, seed, sweeps, candidates)
        yield from _edited(context, model, _source(context, model, picture), completed(rows, sweeps), settings)

    return complete


def _vary(context: AppContext) -> Callable[..., Iterator[Answer]]:
    def vary(
        picture: dict[str, Any],
        keep: str,
        label: str | None = None,
        edits: int = 1,
        seed: int = 0,
        sweeps: int = 0,
        candidates: int = 1,
        model: str = context.names[0],
    ) -> Iterator[Answer]:
        settings = EditSettings(label, edits, seed, sweeps, candidates)
        yield from _edited(context, model, _source(context, model, picture), varied(keep, sweeps), settings)

    return vary


def _interpolate(context: AppContext) -> Callable[..., list[dict[str, Any]]]:
    def interpolate(
        first: dict[str, Any], last: dict[str, Any], steps: int = 8, model: str = context.names[0]
    ) -> list[dict[str, Any]]:
        ends = [_source(context, model, first), _source(context, model, last)]
        with context.use(model) as pipe:
            pixels = interpolated(pipe, ends[0], ends[1], steps)
        return [{"picture": _file(context, name, data)} for name, data in walk_rows(pixels, ends)[1].items()]

    return interpolate


def _edited(context: AppContext, model: str, source: Source, edit: Edit, settings: EditSettings) -> Iterator[Answer]:
    for step in edited_steps(context, model, source, edit, settings):
        if not isinstance(step, Edited):
            yield [], {"drawn": step.edits, "total": step.total}
            continue
        _, files = edit_rows(step, source, context.open(model))
        nats = step.output.log_likelihood.tolist()
        pictures = [
            {"picture": _file(context, name, data), "log_likelihood": own}
            for (name, data), own in zip(files.items(), nats, strict=True)
        ]
        yield pictures, {"log_likelihood_before": float(step.output.log_likelihood_before[0])}


def _source(context: AppContext, model: str, picture: dict[str, Any]) -> Source:
    reading = context.open(model).reading
    opened = read_upload(uploaded_path(context, picture), context.limits, reading).picture
    with context.use(model) as pipe:
        return source_of_picture(pipe, opened)


def _mask(context: AppContext, mask: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    picture: Image.Image = read_upload(uploaded_path(context, mask), context.limits).picture
    return np.asarray(picture.convert("L")) > 127


def _file(context: AppContext, name: str, data: bytes) -> dict[str, Any]:
    path = context.new_path(name)
    path.write_bytes(data)
    return file_of(path)


def uploaded_path(context: AppContext, file: Any) -> Path:
    """Returns the path of an uploaded file by its description in a request.

    Raises:
        DataError: The request describes no upload. It may not name another file of this machine.
    """
    named = file.get("path") if isinstance(file, dict) else None
    path = Path(named).resolve() if isinstance(named, str) and "\0" not in named else None
    if path is None or not path.is_relative_to(context.uploads.resolve()) or not path.is_file():
        raise DataError('file: should be {"path": PATH} with a path that /gradio_api/upload has returned')
    return path
