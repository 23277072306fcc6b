"""`vqgen compare`: judge several runs by the same measure: one table, one picture of their samples."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_compute_arguments,
    add_evaluation_arguments,
    add_overwrite_argument,
    add_sampling_arguments,
    generation_request,
    judge_options,
)
from vqgen.commands.outputs import check_files

if TYPE_CHECKING:
    from vqgen.commands.compared_runs import ComparedRun
    from vqgen.evaluation.judge.build import JudgeOptions
    from vqgen.evaluation.judge.judge import Judge, Samples
    from vqgen.evaluation.metric import Findings
    from vqgen.pipeline.request import GenerationRequest

_ROWS = {
    "parameters": "parameters",
    "training_seconds": "training time",
    "raw_bpp": "rate, raw bpp",
    "bpp": "rate, expected bpp",
    "mse": "mse",
    "frechet_distance": "frechet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "sample_accuracy": "sample accuracy",
    "cas": "cas",
    "cas_deviation": "cas, deviation",
    "copies": "copies",
    "samples_per_second": "samples/s",
}
"""Metric -> its title in the table, in the order of the rows. The deviation is over several judging seeds."""

_PICTURE = "samples.png"
"""Name of the picture of all samples."""


@dataclass(frozen=True)
class Judgement:
    """The metrics of one run.

    Attributes:
        run: The run.
        samples: The samples of the run.
        values: Metric -> value; None if the run has no such metric.
        floors: Metric -> the same metric between two halves of the real images; metrics without a floor are absent.
        left_out: Metric or group that could not be computed -> the reason.
    """

    run: "ComparedRun"
    samples: "Samples"
    values: Mapping[str, int | float | None]
    floors: Mapping[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, pipeline folders, or hf:user/name; two or more"
    )
    parser.add_argument("--json", metavar="FILE", help="write the metrics to this file too")
    parser.add_argument("-o", "--output", metavar="DIR", help="write a picture of all samples into this folder")
    add_overwrite_argument(parser)
    parser.add_argument("--no-score", action="store_true", help="compute no accuracy score, which trains classifiers")
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.compared_runs import open_runs
    from vqgen.evaluation.judge.build import OF_SPACE, build_judge, groups_without_labels

    picture = Path(arguments.output) / _PICTURE if arguments.output else None
    check_files([arguments.json, picture], arguments.overwrite)
    runs = open_runs(arguments)
    options = judge_options(arguments)
    request = generation_request(arguments)
    left_out = groups_without_labels(runs[0].pipe, has_inception=options.inception_weights is not None)
    with_score = not arguments.no_score and "score" not in left_out
    judge = build_judge(
        runs[0].pipe,
        runs[0].checkpoint,
        options,
        needs_space=not set(OF_SPACE) & left_out.keys(),
        needs_score=with_score,
        without_score="--no-score",
    )
    judgements = [_judge(judge, each, request, options) for each in runs]
    real: dict[str, float] = {}
    if with_score:
        # After the last samples, so that no training slows down the sampling, whose speed is in the table.
        judgements, real = _with_scores(judge, judgements)
    print(comparison_table(judgements))
    left_out |= {name: reason for each in judgements for name, reason in each.left_out.items()}
    for note in _notes(judge, real, request, left_out):
        print(f"  {note}")
    if picture is not None:
        _save_picture(judgements, request, picture)
        print(f"  samples side by side: {picture}")
    if arguments.json:
        _write_json(Path(arguments.json), judge, judgements, real, request, left_out)
    return 0


def _judge(judge: "Judge", run: "ComparedRun", request: "GenerationRequest", options: "JudgeOptions") -> Judgement:
    """Judges a run, but for its accuracy score.

    One judge measures the samples of all runs, so that they share features and real images. A copy of it that has the
    training images of this run measures the models and looks for copies.
    """
    from vqgen.commands.compared_runs import judge_of

    print(f"{run.name} ...", flush=True)
    own = judge_of(judge, run, options)
    samples, speed = _timed_samples(run, request)
    metrics = own.rate() + own.reconstruction(None) + own.memorisation(samples)[0]
    if judge.space is not None:
        metrics += judge.distribution(samples) + judge.classifier_metrics(samples)
    found: dict[str, int | float | None] = {metric.name: metric.value for metric in metrics}
    found |= {"parameters": run.pipe.num_parameters, "training_seconds": run.training_seconds}
    found |= {"samples_per_second": speed}
    values = {name: found.get(name) for name in _ROWS if name != "cas_deviation" or judge.score_seeds > 1}
    left_out = {name: reason for name, reason in metrics.left_out.items() if name in _ROWS}
    return Judgement(run, samples, values, _floors(metrics), left_out)


def _with_scores(judge: "Judge", judgements: Sequence[Judgement]) -> tuple[list[Judgement], dict[str, float]]:
    """Adds the accuracy score of each run, and returns the score of real images too. All classifiers train at once."""
    sets = [judge.scored_samples(judgement.samples) for judgement in judgements]
    *scores, of_real = judge.accuracy_scores([*sets, judge.scored_real_images(judgements[0].samples)])
    scored = [
        replace(
            judgement,
            values={**judgement.values, **{metric.name: metric.value for metric in score}},
            floors={**judgement.floors, **_floors(score)},
            left_out={**judgement.left_out, **score.left_out},
        )
        for judgement, score in zip(judgements, scores, strict=True)
    ]
    return scored, _of_real_images(of_real)


def _floors(metrics: "Findings") -> dict[str, float]:
    return {metric.name: metric.floor for metric in metrics if metric.name in _ROWS and metric.floor is not None}


def _timed_samples(run: "ComparedRun", request: "GenerationRequest") -> "tuple[Samples, float]":
    """Draws samples, and measures the number of samples per second.

    A first request of one image per label compiles and allocates; its time does not count.
    """
    from vqgen.evaluation.judge.judge import draw

    draw(run.pipe, replace(request, images_per_label=1))
    since = time.perf_counter()
    samples = draw(run.pipe, request)
    return samples, len(samples.images) / (time.perf_counter() - since)


def _of_real_images(found: "Findings") -> dict[str, float]:
    """Returns the accuracy score of as many real images as there are samples, and its floor: the aim of every run."""
    if not found.metrics:
        return {}
    score, *of_several = found.metrics
    values = {"images": score.counts["trained on"], "cas": score.value}
    if of_several:
        values["cas_deviation"] = of_several[0].value
    return values if score.floor is None else values | {"cas_floor": score.floor}


def comparison_table(judgements: Sequence[Judgement]) -> str:
    """Returns a table with a row for each metric and a column for each run. The last column is the largest floor."""
    from vqgen.reports.tables import format_table

    rows = [("", *(judgement.run.name for judgement in judgements), "floor")]
    for name, title in _ROWS.items():
        if name not in judgements[0].values:
            continue
        floors = [judgement.floors[name] for judgement in judgements if name in judgement.floors]
        cells = [_cell(name, judgement.values[name]) for judgement in judgements]
        rows.append((title, *cells, f"{max(floors):.4g}" if floors else "-"))
    return format_table(rows)


def _cell(name: str, value: int | float | None) -> str:
    if value is None:
        return "-"
    if name == "parameters":
        return f"{value:,}"
    if name == "training_seconds":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds:02d} s" if minutes else f"{value:.3g} s"
    return f"{value:.4g}"


def _notes(
    judge: "Judge", real: Mapping[str, float], request: "GenerationRequest", left_out: Mapping[str, str]
) -> list[str]:
    """Returns the notes below the table: the features, images and seeds behind the metrics, and what is left out."""
    from vqgen.evaluation.judge.settings import FLOOR_NOTE, held_out_notes, left_out_notes, sampling_text

    space = "" if judge.space is None else f"space: {judge.space.name}, for all runs; "
    notes = [
        FLOOR_NOTE,
        f"{space}reference: {len(judge.reference):,} {judge.reference.split} images",
        *held_out_notes(judge),
        f"samples: {sampling_text(request)}; seed of judging {judge.seed}",
    ]
    if real:
        floor = f" (floor {real['cas_floor']:.4g})" if "cas_floor" in real else ""
        several = f"mean of {judge.score_seeds} seeds, " if judge.score_seeds > 1 else ""
        notes.append(
            f"cas: {several}{judge.section.train.length_text} each, tested on {len(judge.held_out):,} "
            f"{judge.held_out.split} images; of {real['images']:,} real training images {real['cas']:.4g}{floor}"
        )
    notes.append(
        "training time: from the records of the run, without classifier and samples; samples/s: on this machine"
    )
    return [*notes, *left_out_notes(left_out)]


def _save_picture(judgements: Sequence[Judgement], request: "GenerationRequest", path: Path) -> None:
    from vqgen.data.no_data import mark_output
    from vqgen.reports.grids import save_side_by_side

    mark_output(path.parent)
    blocks = {judgement.run.name: judgement.samples.images for judgement in judgements}
    names = judgements[0].run.pipe.label_map.names
    save_side_by_side(blocks, names, request.images_per_label, path)


def _write_json(
    path: Path,
    judge: "Judge",
    judgements: Sequence[Judgement],
    real: Mapping[str, float],
    request: "GenerationRequest",
    left_out: Mapping[str, str],
) -> None:
    from vqgen.evaluation.judge.settings import judging_settings
    from vqgen.storage.files import write_json

    runs: list[dict[str, Any]] = [
        {
            "name": judgement.run.name,
            "checkpoint": str(judgement.run.checkpoint),
            "metrics": dict(judgement.values),
            "floors": dict(judgement.floors),
            "left_out": dict(judgement.left_out),
        }
        for judgement in judgements
    ]
    held_out = {judge.held_out.split: len(judge.held_out), "samples": len(judgements[0].samples.images)}
    settings = judging_settings(judge, request) | {"counts": held_out}
    write_json(path, settings | {"runs": runs, "real_images": dict(real), "left_out": dict(left_out)})
