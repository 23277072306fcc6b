"""The curves of all trainings of one run or of several, as charts."""

from collections.abc import Sequence
from dataclasses import dataclass

from vqgen.reports.page.charts import NUM_COLOURS, Chart, Curve, draw_chart, number_text, thinned
from vqgen.reports.page.content import Charts, Section, Text
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.stages.report.words import stage_title

_MOST_POINTS = 400
"""Points of a curve, at most: a chart has no more columns of dots."""


@dataclass(frozen=True)
class _Shown:
    """A chart of a training.

    Attributes:
        title: Title of the chart.
        training: The metric of every step, or the one that stands for it if the log has no such metric; none is empty.
        validation: The metric of the validations; empty for none.
        scale: The factor of the validation that makes the two comparable.
        logarithmic: True for a logarithmic vertical axis.
    """

    title: str
    training: Sequence[str]
    validation: str
    scale: float = 1.0
    logarithmic: bool = False


_OF_LOSSES = (
    _Shown("loss of pixels", ("pixel",), "val_pixel", logarithmic=True),
    _Shown("difference of features (perceptual loss)", ("perceptual",), "val_perceptual", logarithmic=True),
    _Shown("adversarial loss of the decoder", ("adversarial",), ""),
    _Shown("loss of the discriminator", ("discriminator",), ""),
)
"""The charts of losses that a recipe may choose; a chart without curves is left out."""

# `val_mse` is of intensities in [0, 1]. Pixels in [-1, 1] have twice the differences, so four times the squares.
_OF_VQVAE = (
    _Shown("mean squared error, pixels in [-1, 1]", ("reconstruction",), "val_mse", 4.0, logarithmic=True),
    _Shown("PSNR of validation images, dB", (), "val_psnr"),
    *_OF_LOSSES,
)

_OF_OTHERS = {
    "autoencoder": (
        _Shown("loss", ("loss",), "val_loss"),
        _Shown("PSNR of validation images, dB", (), "val_psnr"),
        *_OF_LOSSES,
    ),
    "classifier": (
        _Shown("cross entropy of the labels, nats", ("loss",), "val_cross_entropy", logarithmic=True),
        _Shown("accuracy on validation images", (), "val_accuracy"),
    ),
}

_OF_PRIOR = (_Shown("nats per code", ("nats_per_code", "loss"), "val_nats_per_code"),)


def curves_section(runs: Sequence[ReportedRun]) -> Section:
    """Returns the section of the curves: a few charts for each training, with a colour for each run."""
    stages = list(dict.fromkeys(stage for run in runs for stage in run.trainings))
    charts = [chart for stage in stages for chart in _charts(runs, stage)]
    text = (
        "The thin line is the training loss, the line with dots the validation. A pointer on a chart shows the values "
        "of the curves at its place."
    )
    empty = "No training has written a step yet."
    blocks = [Text([text]), Charts(charts)] if charts else [Text([empty])]
    return Section("Curves", "curves", blocks)


def _charts(runs: Sequence[ReportedRun], stage: str) -> list[Chart]:
    shown = _OF_PRIOR if stage.startswith("prior-") else _OF_OTHERS.get(stage, _OF_VQVAE)
    charts = [_chart(runs, stage, each) for each in shown]
    if stage == "vqvae":
        charts.append(_perplexities(runs))
    return [chart for chart in charts if chart is not None]


def _chart(runs: Sequence[ReportedRun], stage: str, shown: _Shown) -> Chart | None:
    curves = []
    group = 1
    for number, run in enumerate(runs):
        colour = number % NUM_COLOURS + 1
        raw = next((curve for name in shown.training if (curve := run.curve(stage, name))), [])
        points = thinned(raw, _MOST_POINTS)
        group = max(group, -(-len(raw) // _MOST_POINTS))
        if points:
            curves.append(Curve(_named(run, runs, "training"), points, colour, is_faint=True))
        validation = [(step, shown.scale * value) for step, value in run.curve(stage, shown.validation)]
        if validation:
            other = colour if len(runs) > 1 else colour + 1
            curves.append(
                Curve(_named(run, runs, "validation"), thinned(validation, _MOST_POINTS), other, has_dots=True)
            )
    caption = f"Each point of the training is a mean over {group:,} steps. " if group > 1 else ""
    title = f"{_capital(stage_title(stage))}: {shown.title}"
    return draw_chart(title, curves, caption=caption + _latest(runs, stage), logarithmic=shown.logarithmic)


def _perplexities(runs: Sequence[ReportedRun]) -> Chart | None:
    """Returns the chart of the perplexities of all levels; a level has a colour, and of several runs a run has."""
    curves = []
    for number, run in enumerate(runs):
        names = [name for name in run.metrics_of("vqvae") if name.startswith("val_perplexity_")]
        for index, name in enumerate(names):
            level = name.removeprefix("val_perplexity_")
            colour = (index if len(runs) == 1 else number) % NUM_COLOURS + 1
            curves.append(
                Curve(
                    _named(run, runs, level),
                    thinned(run.curve("vqvae", name), _MOST_POINTS),
                    colour,
                    is_faint=len(runs) > 1 and index > 0,
                    has_dots=True,
                )
            )
    return draw_chart("VQ-VAE: entries in effective use (perplexity)", curves)


def _latest(runs: Sequence[ReportedRun], stage: str) -> str:
    """Returns a sentence about each training that has not ended."""
    texts = [
        f"{_named(run, runs, 'the training')} is at step {number_text(run.last_step(stage))}."
        for run in runs
        if run.is_training(stage) and run.last_step(stage)
    ]
    return _capital(" ".join(texts))


def _named(run: ReportedRun, runs: Sequence[ReportedRun], name: str) -> str:
    return name if len(runs) == 1 else f"{run.name}, {name}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
