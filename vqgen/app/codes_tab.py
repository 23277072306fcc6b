"""The tab Codes: code maps, the use of the entries, each entry decoded alone, and p(code) at a position."""

from functools import lru_cache
from typing import Any

import gradio as gr
from PIL import Image

from vqgen.app.bars import Bar, bar_rows, mirrored_bars
from vqgen.app.code_views import (
    Atlas,
    Likely,
    PictureCodes,
    cell_side,
    check_position,
    code_map,
    code_probabilities,
    draw_codes,
    encode_codes,
    entries_atlas,
    entries_decoded,
    training_shares,
    use_counts,
    use_sentence,
)
from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.controls import NO_LABEL, model_choice, seed_controls
from vqgen.app.faults import plain_errors
from vqgen.app.file_work import enlarged
from vqgen.app.gallery import Shown, gallery
from vqgen.app.html_tables import paragraphs
from vqgen.app.uploads import escape, read_upload
from vqgen.data import to_pil
from vqgen.errors import DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.storage.names import shown

_QUEUE: dict[str, Any] = {"concurrency_id": MODEL_QUEUE, "concurrency_limit": 1}
_HINT = "Draw a picture, or drop one of your own; then click on a code in its map."


def build(context: AppContext) -> None:
    """Builds the tab."""
    pipe = context.open(context.names[0])
    views = CodeViews(context)
    found = gr.State(None)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            model = model_choice(context)
            label = gr.Dropdown(_labels(pipe), value=_labels(pipe)[-1][1], label="Label")
            seed = seed_controls()
            draw = gr.Button("Draw a picture", variant="primary")
            file = gr.File(label="Or encode a picture of your own", type="filepath", height=150)
        with gr.Column(scale=2, min_width=280):
            about = gr.HTML(paragraphs(_HINT))
            decoded = gr.HTML()
            level = gr.Radio(list(pipe.levels), value=pipe.levels[-1], label="Level")
            with gr.Row():
                row = gr.Number(0, label="Row", precision=0, minimum=0, min_width=90)
                column = gr.Number(0, label="Column", precision=0, minimum=0, min_width=90)
                entry = gr.Number(0, label="Code", precision=0, minimum=0, min_width=90)
            with gr.Row():
                grid = _picture("The code map", "Click on a code to choose its position.")
                alone = _picture("The code alone", "Its level is filled with it; other levels are at their mean.")
            use = gr.HTML()
            likely = gr.HTML()
            atlas = _picture("All codes, each decoded alone", "Click on one to choose it.")

    private: dict[str, Any] = {"api_visibility": "private"}
    chosen = [model, found, level, entry, row, column]
    panels = [about, decoded, grid, alone, use, likely]
    place = [row, column, entry]

    def follow(event: Any) -> None:
        placed = event.success(views.at, [found, level, row, column], place, **private)
        drawn = placed.success(views.panels, chosen, panels, **private, **_QUEUE)
        drawn.success(views.atlas, [model, found, level], atlas, **private, **_QUEUE)

    follow(draw.click(views.draw, [model, label, seed], found, **private, **_QUEUE))
    follow(file.upload(views.encode, [model, file, label], found, **private, **_QUEUE))
    follow(level.input(lambda: None, None, None, **private))
    # `input` and not `change`: only the hand of the user, and not the numbers that a click on the map sets.
    for number in (row, column):
        number.input(views.at, [found, level, row, column], place, **private).success(
            views.panels, chosen, panels, **private, **_QUEUE
        )
    entry.input(views.panels, chosen, panels, **private, **_QUEUE)
    grid.select(views.clicked, [found, level], place, **private).success(
        views.panels, chosen, panels, **private, **_QUEUE
    )
    atlas.select(views.clicked_entry, [model, level], entry, **private).success(
        views.panels, chosen, panels, **private, **_QUEUE
    )
    model.change(views.for_model, model, [label, level, found, *panels, atlas], **private)


def _picture(title: str, text: str) -> gr.Image:
    """Adds a picture under a title; a label would cover its corner."""
    with gr.Column(min_width=260):
        gr.HTML(f"<h3>{escape(title)}</h3><p>{escape(text)}</p>", elem_classes="vq-heading")
        return gr.Image(
            label=title,
            show_label=False,
            alt_text=title,
            format="png",
            interactive=False,
            buttons=["download", "fullscreen"],  # a button to share would send the picture elsewhere
            elem_classes="vq-pixels",
        )


class CodeViews:
    """The functions of the tab; each is called with the values of the page, and returns values of the page.

    Args:
        context: The models and the limits.
    """

    def __init__(self, context: AppContext) -> None:
        self._context = context
        # Of a few models and levels: a picture of all entries takes a second.
        self._atlas = lru_cache(maxsize=16)(self._drawn_atlas)

    @plain_errors
    def draw(self, model: str, label: str | None, seed: float | None) -> PictureCodes:
        """Draws the codes of a picture."""
        with self._context.use(model) as pipe:
            return draw_codes(pipe, _label(label), int(seed or 0))

    @plain_errors
    def encode(self, model: str, path: str | None, label: str | None) -> PictureCodes:
        """Encodes an uploaded picture."""
        upload = read_upload(path, self._context.limits, self._context.open(model).reading)
        with self._context.use(model) as pipe:
            return encode_codes(pipe, upload, _label(label))

    @plain_errors
    def at(
        self, found: PictureCodes | None, level: str, row: float | None, column: float | None
    ) -> tuple[int, int, int]:
        """Returns the nearest position that the level has, and the code there."""
        grid = _known(found).codes.grids[level][0]
        inside = [min(max(0, int(place or 0)), side - 1) for place, side in zip((row, column), grid.shape, strict=True)]
        return inside[0], inside[1], int(grid[inside[0], inside[1]])

    @plain_errors
    def clicked(self, found: PictureCodes | None, level: str, event: gr.SelectData) -> tuple[int, int, int]:
        """Returns the position of a click on the map, and the code there."""
        grid = _known(found).codes.grids[level][0]
        side = cell_side(*grid.shape)
        x, y = event.index
        row, column = min(int(y) // side, grid.shape[0] - 1), min(int(x) // side, grid.shape[1] - 1)
        return row, column, int(grid[row, column])

    @plain_errors
    def clicked_entry(self, model: str, level: str, event: gr.SelectData) -> Any:
        """Returns the entry at a click on the picture of all entries."""
        x, y = event.index
        entry = self._atlas(model, level).entry_at(int(x), int(y))
        return gr.skip() if entry is None else entry

    @plain_errors
    def panels(
        self,
        model: str,
        found: PictureCodes | None,
        level: str,
        entry: float | None,
        row: float | None,
        column: float | None,
    ) -> tuple[str, str, Image.Image, Image.Image, str, str]:
        """Returns everything that depends on the picture, the level, the position and the entry."""
        codes = _known(found)
        code, place = int(entry or 0), (int(row or 0), int(column or 0))
        with self._context.use(model) as pipe:
            grid = codes.codes.grids[level][0]
            check_position(grid, *place)
            alone = to_pil(entries_decoded(pipe, level, [code]))[0]
            size = pipe.vqvae.config.codebook_size
            return (
                paragraphs(_about(pipe, codes)),
                _decoded(pipe, codes),
                code_map(grid, size, code, place),
                enlarged(alone),
                _use(pipe, codes, level, code),
                _probabilities(pipe, codes, level, place),
            )

    @plain_errors
    def atlas(self, model: str, found: PictureCodes | None, level: str) -> Image.Image:
        """Returns the picture of the entries of a level."""
        _known(found)
        return self._atlas(model, level).picture

    @plain_errors
    def for_model(self, model: str) -> tuple[Any, ...]:
        """Returns the choices of a model, and empty panels."""
        pipe = self._context.open(model)
        labels = gr.Dropdown(_labels(pipe), value=_labels(pipe)[-1][1])
        levels = gr.Radio(list(pipe.levels), value=pipe.levels[-1])
        return labels, levels, None, paragraphs(_HINT), "", None, None, "", "", None

    def _drawn_atlas(self, model: str, level: str) -> Atlas:
        with self._context.use(model) as pipe:
            return entries_atlas(pipe, level)


def _known(found: PictureCodes | None) -> PictureCodes:
    if found is None:
        raise DataError("picture: should be drawn or dropped first, found none")
    return found


def _labels(pipe: VQGenPipeline) -> list[tuple[str, str]]:
    names = [name for name in pipe.label_map.names if name != NO_LABEL] if pipe.takes_labels else []
    if pipe.takes_none or not names:
        names.insert(0, NO_LABEL)
    return [(shown(name), name) for name in names]


def _label(chosen: str | None) -> str | None:
    return None if chosen in (None, "", NO_LABEL) else chosen


def _about(pipe: VQGenPipeline, found: PictureCodes) -> str:
    label = "no label" if found.label is None else f"label {pipe.label_map.names[found.label]}"
    return f"The picture: {found.origin} ({label})"


def _decoded(pipe: VQGenPipeline, found: PictureCodes) -> str:
    """Returns the picture of all levels beside the pictures of each level alone."""
    shown = [Shown(enlarged(pipe.decode(found.codes)[0]), "all levels", "the picture")]
    for level in pipe.levels if len(pipe.levels) > 1 else ():
        alone = pipe.decode(found.codes, levels=[level])[0]
        shown.append(Shown(enlarged(alone), f"{level} alone", f"the picture of level {level} alone"))
    return gallery([("", shown)])


def _use(pipe: VQGenPipeline, found: PictureCodes, level: str, entry: int) -> str:
    grid = found.codes.grids[level][0]
    counts = use_counts(grid, pipe.vqvae.config.codebook_size)
    shares = training_shares(pipe, level)
    title = "Use of each code: above the line in this picture, below it in the training images"
    where = f"Code {entry} has {counts[entry]} of {grid.numel()} positions; they are bright in the map."
    return paragraphs(use_sentence(pipe, grid, level), where, f"{title}.") + mirrored_bars(counts, shares, entry, title)


def _probabilities(pipe: VQGenPipeline, found: PictureCodes, level: str, place: tuple[int, int]) -> str:
    if level not in pipe.parts.priors:
        return paragraphs("The model has no prior for this level, so it has no probabilities of codes.")
    title = f"The likeliest codes at row {place[0]}, column {place[1]} under the prior; the picture has the marked one"
    likely = code_probabilities(pipe, found, level, *place)
    return paragraphs(f"{title}.") + bar_rows([_bar(each) for each in likely], title)


def _bar(each: Likely) -> Bar:
    mark = "✓ " if each.is_drawn else ""
    return Bar(f"{mark}{each.rank}. code {each.code}", each.probability, f"{each.probability:.2%}", each.is_drawn)
