"""The tab Generate: labels and settings in, pictures level by level out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.context import Context

from vqgen.app.context import MODEL_QUEUE, AppContext
from vqgen.app.controls import LabelChooser, LabelControls, chosen_labels, model_choice, seed_controls
from vqgen.app.faults import plain_errors
from vqgen.app.files import codes_archive, picture_files, pictures_archive
from vqgen.app.gallery import Shown, gallery
from vqgen.app.generating import (
    Finished,
    Settings,
    Step,
    command_line,
    drawn_steps,
    guidance_choices,
    python_call,
)
from vqgen.data import LabelMap, to_pil
from vqgen.pipeline import VQGenPipeline
from vqgen.reports.picture_metadata import label_name
from vqgen.storage.names import shown

_MOST_LEVELS = 4


@dataclass(frozen=True)
class _Sampling:
    """The controls of sampling, in the order in which `_settings` takes their values."""

    temperatures: list[gr.Slider]
    top_k: gr.Number
    top_p: gr.Slider
    guidance: gr.Slider
    autoguidance: gr.Slider
    keep: gr.Slider

    @property
    def all(self) -> list[Any]:
        """The controls."""
        return [self.top_k, self.top_p, self.guidance, self.autoguidance, self.keep, *self.temperatures]


@dataclass(frozen=True)
class _Results:
    """The components that show the result."""

    pictures: gr.HTML
    python: gr.Code
    command: gr.Code
    archive: gr.DownloadButton
    grid: gr.DownloadButton
    codes: gr.DownloadButton

    @property
    def all(self) -> list[Any]:
        """The components."""
        return [self.pictures, self.python, self.command, self.archive, self.grid, self.codes]


def build(context: AppContext) -> None:
    """Fills the tab."""
    chooser = LabelChooser(context)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            model = model_choice(context)
            labels = chooser.add()
            with gr.Row():
                number = gr.Slider(1, min(context.limits.images, 50), 4, step=1, label="Pictures of each label")
            seed = seed_controls()
            sampling = _add_sampling(context)
            with gr.Row():
                start = gr.Button("Generate", variant="primary", elem_id="generate-start")
                stop = gr.Button("Stop", variant="stop", elem_id="generate-stop", min_width=80, scale=0)
        with gr.Column(scale=3, min_width=320):
            results = _add_results()
    inputs = [model, labels.boxes, labels.search, number, seed, *sampling.all]
    event = start.click(
        plain_errors(_act(context)),
        inputs,
        results.all,
        api_visibility="private",
        concurrency_id=MODEL_QUEUE,
        concurrency_limit=1,
        show_progress_on=results.pictures,
    )
    stop.click(None, None, None, cancels=[event], api_visibility="private")
    _follow_model(context, chooser, model, labels, sampling)


def _add_sampling(context: AppContext) -> _Sampling:
    pipe = context.open(context.names[0])
    can = guidance_choices(pipe)
    with gr.Accordion("Sampling", open=False):
        temperatures = [
            gr.Slider(
                0, 2, 1, step=0.05, label=_temperature_label(pipe.levels, place), visible=place < len(pipe.levels)
            )
            for place in range(_MOST_LEVELS)
        ]
        with gr.Row():
            top_k = gr.Number(0, label="Top-k (0: all codes)", precision=0, minimum=0)
            top_p = gr.Slider(0.05, 1, 1, step=0.05, label="Top-p")
        guidance = gr.Slider(0, 5, 1, step=0.1, label="Guidance", visible=can["guidance_scale"])
        autoguidance = gr.Slider(0, 5, 1, step=0.1, label="Autoguidance", visible=can["autoguidance_scale"])
        keep = gr.Slider(
            0.05, 1, 1, step=0.05, label="Keep", visible=can["keep"], info="Share of the surest, by the classifier."
        )
    return _Sampling(temperatures, top_k, top_p, guidance, autoguidance, keep)


def _add_results() -> _Results:
    pictures = gr.HTML('<p class="vq-note">The pictures appear here.</p>', elem_id="generated", min_height=120)
    with gr.Row():
        archive = gr.DownloadButton("Pictures (zip)", size="sm", interactive=False, min_width=110)
        grid = gr.DownloadButton("Grid (png)", size="sm", interactive=False, min_width=110)
        codes = gr.DownloadButton("Codes (zip)", size="sm", interactive=False, min_width=110)
    with gr.Accordion("The same in Python, and on the command line", open=False):
        python = gr.Code(language="python", label="Python", lines=4, show_line_numbers=False, wrap_lines=True)
        command = gr.Code(language="shell", label="Command line", lines=1, show_line_numbers=False, wrap_lines=True)
    return _Results(pictures, python, command, archive, grid, codes)


def _follow_model(
    context: AppContext, chooser: LabelChooser, model: gr.Dropdown, labels: LabelControls, sampling: _Sampling
) -> None:
    """Adapts the controls to the model when it changes, and when the page opens."""

    def adapt(name: str) -> list[object]:
        pipe = context.open(name)
        can = guidance_choices(pipe)
        temperatures = [
            gr.Slider(label=_temperature_label(pipe.levels, place), visible=place < len(pipe.levels))
            for place in range(_MOST_LEVELS)
        ]
        guides = [gr.Slider(value=1, visible=can[each]) for each in ("guidance_scale", "autoguidance_scale", "keep")]
        return [*chooser.update(name), *guides, *temperatures]

    outputs = [*labels.outputs, sampling.guidance, sampling.autoguidance, sampling.keep, *sampling.temperatures]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    model.change(plain_errors(adapt), model, outputs, **quiet)
    page = Context.root_block
    assert page is not None  # a tab is built inside the page
    page.load(plain_errors(adapt), model, outputs, **quiet)


def _temperature_label(levels: Sequence[str], place: int) -> str:
    if place >= len(levels):
        return "Temperature"
    others = " and all after it" if place == _MOST_LEVELS - 1 and len(levels) > _MOST_LEVELS else ""
    return f"Temperature, {levels[place]}{others}"


def _act(context: AppContext) -> Callable[..., Iterator[list[object]]]:
    """Returns the function of the button."""

    def press_generate(
        model: str,
        boxes: list[str],
        search: list[str],
        number: float,
        seed: float | None,
        *sampling: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  Gradio looks for this default
    ) -> Iterator[list[object]]:
        pipe = context.open(model)
        settings = _settings(chosen_labels(boxes, search), number, seed, sampling, len(pipe.levels))
        nothing = [gr.skip()] * 5
        progress(0, desc="drawing")
        for step in drawn_steps(context, model, settings):
            if isinstance(step, Finished):
                yield _finished(context, model, pipe, step)
            else:
                progress((step.drawn, step.total), desc=f"drawing, level {step.level}", unit="pictures")
                yield [gallery(_preview(step, pipe.label_map)), *nothing]

    return press_generate


def _settings(
    labels: tuple[str, ...], number: float, seed: float | None, sampling: Sequence[Any], levels: int
) -> Settings:
    """Returns the request of the controls: `_Sampling.all` gives their order."""
    top_k, top_p, guidance, autoguidance, keep, *temperatures = sampling
    return Settings(
        labels=labels,
        images_per_label=int(number),
        seed=None if seed is None else int(seed),
        # The last slider serves all grids from its own on.
        temperature=tuple(float(temperatures[min(place, _MOST_LEVELS - 1)]) for place in range(levels)),
        top_k=int(top_k) if top_k else None,
        top_p=float(top_p) if top_p is not None and top_p < 1 else None,
        guidance_scale=float(guidance),
        autoguidance_scale=float(autoguidance),
        keep=float(keep),
    )


def _preview(step: Step, label_map: LabelMap) -> list[tuple[str, list[Shown]]]:
    pictures = [
        Shown(image, alt=_name(label, label_map)) for image, label in zip(to_pil(step.pixels), step.labels, strict=True)
    ]
    return _by_label(pictures, step.labels, label_map)


def _finished(context: AppContext, model: str, pipe: VQGenPipeline, result: Finished) -> list[object]:
    """Returns the pictures with their likelihoods, the call, and the files."""
    output = result.output
    files = picture_files(output, pipe, result.request)
    pictures = [
        Shown(
            image,
            caption=f"log p {nats:.1f}",
            alt=f"{_name(label, pipe.label_map)}, picture {place}, log p {nats:.1f} nats",
            file=data,
            file_name=f"{result.request.seed}-{place:04d}.png",
        )
        for place, (image, label, nats, data) in enumerate(
            zip(output.images, output.labels, output.log_likelihood.tolist(), files, strict=True)
        )
    ]
    archive, grid = pictures_archive(context, output, pipe, result.request, files)
    codes = codes_archive(context, output.codes, output.labels, pipe)
    name = context.path_of(model)
    return [
        gallery(_by_label(pictures, output.labels, pipe.label_map)),
        python_call(name, result.request),
        command_line(name, result.request),
        *(gr.DownloadButton(value=str(path), interactive=True) for path in (archive, grid, codes)),
    ]


def _by_label(
    pictures: Sequence[Shown], labels: Sequence[int | None], label_map: LabelMap
) -> list[tuple[str, list[Shown]]]:
    """Returns a row for each run of pictures of one label."""
    rows: list[tuple[str, list[Shown]]] = []
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        if place == 0 or labels[place - 1] != label:
            rows.append((_name(label, label_map), []))
        rows[-1][1].append(picture)
    return rows


def _name(label: int | None, label_map: LabelMap) -> str:
    return shown(label_name(label, label_map) or "no label")
