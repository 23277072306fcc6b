"""The parts of a report that are numbers: the head of the page, the stages, evaluations, times, sizes and versions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqgen import __version__
from vqgen.config import AnyRecipe, BaselineRecipe
from vqgen.config.lengths import length_of
from vqgen.errors import CheckpointError
from vqgen.planning.text import duration, scaled
from vqgen.reports.page.content import Block, Command, Fact, Facts, Section, StageLine, Stages, Table, Text
from vqgen.stages.records import measured_rates
from vqgen.stages.report.run_folder import ReportedRun
from vqgen.stages.report.words import recipe_in_words, repeating_command, stage_title
from vqgen.storage.documents import read_json

_NONE = "-"


def overview_section(runs: Sequence[ReportedRun]) -> Section:
    """Returns the first section: the most important measurements, and the stages of each run."""
    names = [run.name for run in runs] if len(runs) > 1 else []
    blocks: list[Block] = [Facts(facts, names)] if (facts := _facts(runs)) else []
    blocks += [
        Stages(run.name if len(runs) > 1 else "", [_stage_line(run, stage) for stage in run.stages]) for run in runs
    ]
    return Section("Overview", "overview", blocks)


def _facts(runs: Sequence[ReportedRun]) -> list[Fact]:
    """Returns the measurements that at least one run has."""
    found = [Fact("PSNR", [_metric(run, "val_psnr") for run in runs], "dB, validation images")]
    found.append(Fact("rate of the codes", [_raw_rate(run.recipe) for run in runs], "bits per pixel, before coding"))
    found.append(Fact("rate by the priors", list(map(_expected_rate, runs)), "bits per pixel, validation images"))
    found.append(Fact("samples", [_metric(run, "nats_per_image") for run in runs], "nats for each image"))
    found.append(Fact("time", [duration(_total(run)) for run in runs], "of all stages so far"))
    return [each for each in found if any(value not in (_NONE, "-") for value in each.values)]


def _metric(run: ReportedRun, name: str) -> str:
    values = [record.metrics[name] for record in run.records.values() if record.complete and name in record.metrics]
    return f"{values[0]:.4g}" if values else _NONE


def _raw_rate(recipe: AnyRecipe) -> str:
    if isinstance(recipe, BaselineRecipe):
        return _NONE
    bits = (recipe.vqvae.codebook_size - 1).bit_length()
    return f"{bits * sum(1 / factor**2 for factor in recipe.vqvae.grid_factors):.3g}"


def _expected_rate(run: ReportedRun) -> str:
    rates = measured_rates(run.recipe, run.folder)
    levels = () if isinstance(run.recipe, BaselineRecipe) else run.recipe.levels
    return f"{sum(rates.values()):.3g}" if levels and set(rates) == set(levels) else _NONE


def _total(run: ReportedRun) -> float | None:
    seconds = [time for stage in run.stages if (time := run.seconds(stage)) is not None]
    return sum(seconds) if seconds else None


def _stage_line(run: ReportedRun, stage: str) -> StageLine:
    title = stage_title(stage)
    if run.has(stage):
        seconds = run.seconds(stage)
        text = "complete" + ("" if seconds is None else f" in {duration(seconds)}")
        return StageLine(title, "done", f"{text}{_main_metrics(run.records[stage].metrics)}")
    if not run.is_training(stage):
        return StageLine(title, "waiting", "to come")
    if stage not in run.trainings:
        return StageLine(title, "working", "has begun")
    step = run.last_step(stage)
    length = length_of(run.recipe, stage)
    whole = f" of {length.text}" if length.epochs is not None else f" of {length.steps:,} ({step / length.steps:.0%})"
    return StageLine(title, "working", f"at step {step:,}{whole}")


def _main_metrics(metrics: Mapping[str, int | float]) -> str:
    """Returns the metrics that tell most about a stage, in words; the last section has all of them."""
    words = {
        "val_psnr": "{:.2f} dB on validation images",
        "val_nats_per_code": "{:.3f} nats per code on validation images",
        "train_nats_per_code": "{:.3f} on training images",
        "val_accuracy": "{:.1%} of the validation images are named right",
        "images": "{:,} images",
        "nats_per_image": "{:.4g} nats each",
    }
    found = [text.format(metrics[name]) for name, text in words.items() if name in metrics]
    return f"; {', '.join(found)}" if found else ""


def recipe_section(runs: Sequence[ReportedRun]) -> Section:
    """Returns the section of the recipes in words; of several runs, with a table of the fields that differ."""
    blocks: list[Block] = []
    for run in runs:
        words = recipe_in_words(run.recipe, _num_labels(run))
        blocks.append(Text(words, run.name if len(runs) > 1 else ""))
    if rows := _differing_fields(runs):
        summary = (
            f"{len(rows)} fields of these recipes differ" if len(rows) > 1 else "One field of these recipes differs"
        )
        blocks.append(Table(["field", *(run.name for run in runs)], rows, summary=summary))
    return Section("Recipe", "recipe", blocks)


def _differing_fields(runs: Sequence[ReportedRun]) -> list[list[str]]:
    """Returns a row for each field that all recipes have, and not all with the same value."""
    documents = [_flat(run.recipe.model_dump(mode="json")) for run in runs]
    shared = [name for name in documents[0] if all(name in document for document in documents)]
    rows = [[name, *(document[name] for document in documents)] for name in shared]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {name: text for key, each in value.items() for name, text in _flat(each, f"{path}.{key}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {name: text for key, each in enumerate(value) for name, text in _flat(each, f"{path}.{key}").items()}
    return {path.removeprefix("."): str(value)}


def _num_labels(run: ReportedRun) -> int | None:
    try:
        return len(read_json(run.folder / "pipeline" / "pipeline.json")["labels"])
    except (CheckpointError, KeyError, TypeError):  # before the first stage is complete
        return None


def evaluation_section(runs: Sequence[ReportedRun]) -> Section | None:
    """Returns the section of the evaluations that lie in the run folders; None if there are none.

    `vqgen evaluate RUN --json RUN/evaluation.json` writes one.
    """
    blocks: list[Block] = []
    for run in runs:
        for path, document in _evaluations(run):
            rows = [_evaluation_row(metric) for metric in document["metrics"]]
            stale = "" if _is_of(run, document) else " It was made from an earlier model of this run."
            caption = (
                f"From {path.name} of {run.name}. The floor is the same metric between two halves of the real images."
                f"{stale}"
            )
            blocks.append(Table(("group", "metric", "value", "floor", "space", "images"), rows, caption, 2))
    return Section("Evaluation", "evaluation", blocks) if blocks else None


def _evaluations(run: ReportedRun) -> list[tuple[Path, dict[str, Any]]]:
    found = []
    for path in sorted(run.folder.glob("*.json")):
        try:
            document = read_json(path)
            if all(isinstance(metric["value"], int | float) for metric in document["metrics"]) and "model" in document:
                found.append((path, document))
        except (CheckpointError, KeyError, TypeError):  # another kind of file
            continue
    return found


def _is_of(run: ReportedRun, document: Mapping[str, Any]) -> bool:
    return document.get("model") == run.records[run.recipe.generator_stages[0]].output


def _evaluation_row(metric: Mapping[str, Any]) -> list[str]:
    floor = metric.get("floor")
    counts = metric.get("counts") or {}
    return [
        str(metric.get("group", "")),
        str(metric.get("name", "")).replace("_", " "),
        f"{metric['value']:.4g}",
        _NONE if not isinstance(floor, int | float) else f"{floor:.4g}",
        str(metric.get("space", "")),
        ", ".join(f"{count:,} {name}" for name, count in counts.items() if isinstance(count, int)),
    ]


def making_section(runs: Sequence[ReportedRun]) -> Section:
    """Returns the last section: times, sizes and versions, and the command that repeats each run."""
    stages = list(dict.fromkeys(stage for run in runs for stage in run.stages))
    headings = ["stage"]
    for run in runs:
        of = f", {run.name}" if len(runs) > 1 else ""
        headings += [f"time{of}", f"model{of}", f"folder{of}"]
    rows = []
    for stage in stages:
        row = [stage_title(stage)]
        for run in runs:
            folder = run.folder / stage
            row += [_text(run.seconds(stage)), _size(folder / "model"), _size(folder)]
        rows.append(row)
    blocks: list[Block] = [
        _metrics_table(runs),
        Table(
            headings, rows, "Times are over all sessions. The folder of a training also has the state to resume from."
        ),
        _environment_table(runs),
        Text(["To repeat the run:" if len(runs) == 1 else "To repeat the runs:"]),
    ]
    commands = [repeating_command(run.recipe, run.folder, dict(_first(run))) for run in runs]
    return Section("Measurements, times, sizes, versions", "making", [*blocks, Command("\n".join(commands))])


def _metrics_table(runs: Sequence[ReportedRun]) -> Table:
    """Returns all measurements of all complete stages."""
    found = {
        (stage, name): None
        for run in runs
        for stage in run.stages
        if run.has(stage)
        for name in run.records[stage].metrics
    }
    rows = [
        [stage_title(stage), name.replace("_", " "), *(_measured(run, stage, name) for run in runs)]
        for stage, name in found
    ]
    caption = "Metrics that begin with val are of validation images, those with train of training images."
    return Table(["stage", "metric", *(run.name for run in runs)], rows, caption, 2, f"All {len(rows)} measurements")


def _measured(run: ReportedRun, stage: str, name: str) -> str:
    value = run.records[stage].metrics.get(name) if run.has(stage) else None
    return _NONE if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _environment_table(runs: Sequence[ReportedRun]) -> Table:
    environments = [{"vqgen of this page": __version__, **_first(run)} for run in runs]
    names = list(dict.fromkeys(name for environment in environments for name in environment))
    rows = [[name, *(str(environment.get(name, _NONE)) for environment in environments)] for name in names]
    caption = "The environment in which the first stage began. In another one results may differ by rounding."
    return Table(["", *(run.name for run in runs)], rows, caption, 1 + len(runs))


def _first(run: ReportedRun) -> Mapping[str, Any]:
    return next(iter(run.records.values())).environment


def _text(seconds: float | None) -> str:
    return _NONE if seconds is None else duration(seconds)


def _size(path: Path) -> str:
    """Returns the size of all files below a folder, in words."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:  # another process has just replaced it
            continue
    return scaled(total, "B") if total else _NONE
