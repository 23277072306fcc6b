"""The tab Edit: paint a hole and have it drawn anew, complete, vary, and walk between two pictures."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.controls import NO_LABEL, label_choices, model_choice, seed_controls
from vqgen.app.edit_results import edit_rows, edits_archive, walk_rows
from vqgen.app.editing import (
    HOLES,
    PAINTED,
    SWEEPS,
    Edit,
    Edited,
    EditSettings,
    Source,
    canvas_of,
    completed,
    edited_steps,
    inpainted,
    interpolated,
    mask_of,
    source_of_label,
    source_of_picture,
    varied,
)
from vqgen.app.faults import plain_errors
from vqgen.app.gallery import gallery
from vqgen.app.uploads import read_upload
from vqgen.errors import DataError

_PAINT = "Paint a hole"
_COMPLETE = "Complete"
_VARY = "Vary"
_BETWEEN = "Between two"

_KINDS = (_PAINT, _COMPLETE, _VARY, _BETWEEN)

_EXPLAINED = {
    _PAINT: "The codes under the hole are drawn anew; all others stay exactly.",
    _COMPLETE: "The upper part stays, and the rest is drawn to fit it.",
    _VARY: "One level of codes stays, and the other levels are drawn anew.",
    _BETWEEN: "The latents of the last two pictures are mixed, step by step.",
}

_QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


class _Form(NamedTuple):
    """The controls while the tab is built, and their values when a button is pressed."""

    model: Any
    kind: Any
    sources: Any
    canvas: Any
    label: Any
    seed: Any
    hole: Any
    rows: Any
    keep: Any
    steps: Any
    edits: Any
    sweeps: Any
    candidates: Any


def build(context: AppContext) -> None:
    """Fills the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            controls, upload, sample, start, stop = _add_controls(context)
        with gr.Column(scale=3, min_width=320):
            results = gr.HTML('<p class="vq-note">The edits appear here.</p>', elem_id="edited", min_height=120)
            archive = gr.DownloadButton("Edits (zip)", size="sm", interactive=False, min_width=110)
    event = start.click(
        plain_errors(_act(context)),
        list(controls),
        [results, archive],
        api_visibility="private",
        concurrency_id=MODEL_QUEUE,
        concurrency_limit=1,
        show_progress_on=results,
    )
    stop.click(None, None, None, cancels=[event], api_visibility="private")
    _follow(context, controls, upload, sample)


def _add_controls(
    context: AppContext,
) -> tuple[_Form, gr.UploadButton, gr.Button, gr.Button, gr.Button]:
    pipe = context.open(context.names[0])
    model = model_choice(context)
    sources = gr.State([])
    with gr.Row():
        upload = gr.UploadButton("Open a picture", size="md", file_types=["image"], min_width=120, elem_id="edit-open")
        sample = gr.Button("Take a sample", size="md", min_width=120, elem_id="edit-sample")
    label = gr.Dropdown(_labels(context, model.value), value=NO_LABEL, label="Label")
    seed = seed_controls()
    kind = gr.Radio(_KINDS, value=_PAINT, label="Edit", info=_EXPLAINED[_PAINT], elem_id="edit-kind")
    canvas = gr.ImageEditor(
        label="Picture",
        type="pil",
        format="png",
        sources=(),
        transforms=(),
        layers=False,
        buttons=[],
        brush=gr.Brush(default_size=48, colors=["#e11d48"], default_color="#e11d48", color_mode="fixed"),
        eraser=gr.Eraser(default_size=48),
        height=440,
        elem_id="edit-canvas",
        elem_classes="vq-pixels",
    )
    hole = gr.Radio(HOLES, value=PAINTED, label="Hole", elem_id="edit-hole")
    rows = gr.Slider(0.1, 0.9, 0.5, step=0.05, label="Share that stays, from the top", visible=False)
    keep = gr.Radio(list(pipe.levels), value=pipe.levels[0], label="Level that stays", visible=False)
    steps = gr.Slider(2, 24, 8, step=1, label="Steps", visible=False)
    edits = gr.Slider(1, min(16, context.limits.images), 4, step=1, label="Edits")
    with gr.Accordion("More", open=False):
        sweeps = gr.Slider(
            0, 20, SWEEPS, step=1, label="Sweeps", info="Each draws every code of the hole again, given all others."
        )
        candidates = gr.Slider(1, 16, 1, step=1, label="Candidates", info="The likeliest of so many is kept.")
    with gr.Row():
        start = gr.Button("Edit", variant="primary", elem_id="edit-start")
        stop = gr.Button("Stop", min_width=80, scale=0)
    controls = _Form(model, kind, sources, canvas, label, seed, hole, rows, keep, steps, edits, sweeps, candidates)
    return controls, upload, sample, start, stop


def _labels(context: AppContext, model: str) -> list[tuple[str, str]]:
    pipe = context.open(model)
    free = [(NO_LABEL, NO_LABEL)] if pipe.takes_none or not pipe.takes_labels else []
    return [*free, *label_choices(context, model)]


def _follow(context: AppContext, controls: _Form, upload: gr.UploadButton, sample: gr.Button) -> None:
    """Shows the controls of the kind of edit, and takes pictures."""

    def show(kind: str) -> list[object]:
        return [
            gr.Radio(info=_EXPLAINED[kind]),
            gr.Radio(visible=kind == _PAINT),
            gr.Slider(visible=kind == _COMPLETE),
            gr.Radio(visible=kind == _VARY),
            gr.Slider(visible=kind == _BETWEEN),
            gr.Slider(visible=kind != _BETWEEN),
        ]

    def open_file(model: str, path: str, before: list[Source]) -> tuple[list[Source], object]:
        pipe = context.open(model)
        picture = read_upload(path, context.limits, pipe.reading).picture
        with context.use(model) as pipe:
            return _taken(source_of_picture(pipe, picture), before)

    def draw(model: str, label: str, seed: float | None, before: list[Source]) -> tuple[list[Source], object]:
        with context.use(model) as pipe:
            return _taken(source_of_label(pipe, _label(label), int(seed or 0)), before)

    def change_model(model: str) -> list[object]:
        levels = list(context.open(model).levels)
        labels = _labels(context, model)
        return [gr.Dropdown(choices=labels, value=labels[0][1]), gr.Radio(choices=levels, value=levels[0]), [], None]

    shown = [controls.kind, controls.hole, controls.rows, controls.keep, controls.steps, controls.edits]
    controls.kind.change(show, controls.kind, shown, queue=False, **_QUIET)
    taken = [controls.sources, controls.canvas]
    queue: dict[str, Any] = {"concurrency_id": MODEL_QUEUE, "concurrency_limit": 1, "api_visibility": "private"}
    upload.upload(plain_errors(open_file), [controls.model, upload, controls.sources], taken, **queue)
    sample.click(plain_errors(draw), [controls.model, controls.label, controls.seed, controls.sources], taken, **queue)
    controls.model.change(plain_errors(change_model), controls.model, [controls.label, controls.keep, *taken], **_QUIET)


def _taken(source: Source, before: list[Source]) -> tuple[list[Source], object]:
    """Returns the last two pictures, and the canvas with the new one."""
    canvas = canvas_of(source.pixels)
    return [*before[-1:], source], {"background": canvas, "layers": [], "composite": canvas}


def _act(context: AppContext) -> Callable[..., Iterator[tuple[object, object]]]:
    """Returns the function of the button Edit."""

    def press_edit(*values: Any, progress: gr.Progress = gr.Progress()) -> Iterator[tuple[object, object]]:  # noqa: B008
        chosen = _Form(*values)
        sources: list[Source] = chosen.sources
        if not sources:
            raise DataError("picture: should be there, found none; open a picture, or take a sample")
        if chosen.kind == _BETWEEN:
            yield _walk(context, chosen.model, sources, int(chosen.steps))
            return
        settings = EditSettings(
            _label(chosen.label),
            int(chosen.edits),
            int(chosen.seed or 0),
            int(chosen.sweeps),
            int(chosen.candidates),
        )
        progress(0, desc="drawing")
        for step in edited_steps(context, chosen.model, sources[-1], _edit(chosen, sources[-1]), settings):
            if isinstance(step, Edited):
                pipe = context.open(chosen.model)
                rows, files = edit_rows(step, sources[-1], pipe)
                path = edits_archive(context, files)
                yield gallery(rows), gr.DownloadButton(value=str(path), interactive=True)
            else:
                progress((step.edits, step.total), desc="drawing", unit="edits")
                yield gr.skip(), gr.skip()

    return press_edit


def _edit(chosen: _Form, source: Source) -> Edit:
    sweeps = int(chosen.sweeps)
    if chosen.kind == _COMPLETE:
        return completed(float(chosen.rows), sweeps)
    if chosen.kind == _VARY:
        return varied(chosen.keep, sweeps)
    return inpainted(mask_of(chosen.hole, _painted(chosen.canvas), source.pixels.shape[-1]), sweeps)


def _walk(context: AppContext, model: str, sources: list[Source], steps: int) -> tuple[object, object]:
    if len(sources) < 2:
        raise DataError("pictures: should be two, found one; open or take another one, and the last two count")
    with context.use(model) as pipe:
        pixels = interpolated(pipe, sources[0], sources[1], steps)
    rows, files = walk_rows(pixels, sources)
    return gallery(rows), gr.DownloadButton(value=str(edits_archive(context, files)), interactive=True)


def _painted(canvas: Any) -> NDArray[np.bool_] | None:
    """Returns True for each pixel that is painted; None without a painting."""
    layers = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in (canvas or {}).get("layers", ())]
    return np.logical_or.reduce(layers) if layers else None


def _label(name: str) -> str | None:
    return None if name == NO_LABEL else name
