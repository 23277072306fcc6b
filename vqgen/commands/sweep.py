"""`vqgen sweep`: draw the trade-off of quality and diversity over guidance, temperature or rejection."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_evaluation_arguments,
    add_output_argument,
    add_sampling_arguments,
    generation_request,
    judge_options,
)
from vqgen.commands.outputs import check_files

if TYPE_CHECKING:
    from vqgen.evaluation.accuracy_score import ScoredImages
    from vqgen.evaluation.judge.judge import Judge, Samples
    from vqgen.evaluation.metric import Findings
    from vqgen.pipeline.request import GenerationRequest

VALUES = {
    "guidance-scale": [1.0, 1.25, 1.5, 2.0, 3.0],
    "autoguidance-scale": [1.0, 1.25, 1.5, 2.0],
    "temperature": [1.1, 1.0, 0.9, 0.8, 0.6],
    "keep": [1.0, 0.75, 0.5, 0.25, 0.1],
}
"""Parameter that can be varied -> its default values."""

_COLUMNS = ("frechet_distance", "precision", "recall", "sample_accuracy", "copies")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    add_output_argument(parser)
    parser.add_argument(
        "--vary", choices=list(VALUES), default="guidance-scale", help="parameter to vary (default: guidance-scale)"
    )
    parser.add_argument(
        "--values", type=float, nargs="+", metavar="V", help="values of the parameter, each for all levels"
    )
    parser.add_argument("--no-score", action="store_true", help="compute no accuracy score, which trains classifiers")
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.data.no_data import mark_output
    from vqgen.evaluation.judge.build import OF_SPACE, build_judge, groups_without_labels
    from vqgen.evaluation.judge.settings import held_out_notes, left_out_notes, provenance, sampling_text
    from vqgen.pipeline import open_pipeline
    from vqgen.reports.plots import plot_trade_off
    from vqgen.storage.files import write_json

    picture, document_file = (Path(arguments.output) / f"trade-off{suffix}" for suffix in (".png", ".json"))
    check_files([picture, document_file], arguments.overwrite)
    request = generation_request(arguments)
    values = arguments.values or VALUES[arguments.vary]
    requests = [(value, _varied(request, arguments.vary, value)) for value in values]
    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    # A wrong value is refused here, not after the values before it have been judged.
    for each in [request, *(varied for _, varied in requests)]:
        pipe.check_request(each)
    left_out = groups_without_labels(pipe, has_inception=bool(arguments.inception_weights))
    with_score = not arguments.no_score and "score" not in left_out
    judge = build_judge(
        pipe,
        arguments.checkpoint,
        judge_options(arguments),
        needs_space=not set(OF_SPACE) & left_out.keys(),
        needs_score=with_score,
        without_score="--no-score",
    )
    points, limits, problems = _measure(judge, requests, arguments.vary, with_score=with_score)
    left_out |= problems
    mark_output(picture.parent)
    picture.unlink(missing_ok=True)  # an old one would not belong to the new numbers, if none is drawn
    has_picture = plot_trade_off(points, limits, arguments.vary, picture)
    document = provenance(judge, arguments.checkpoint, request)
    document |= {"varied": arguments.vary, "points": points, "real_images": limits, "left_out": left_out}
    write_json(document_file, document)
    shown = picture if has_picture else f"{document_file}, and no picture, for lack of two metrics to draw"
    print(f"{shown}: apart from {arguments.vary}, {sampling_text(request)}")
    for note in [*held_out_notes(judge), *left_out_notes(left_out)]:
        print(f"  {note}")
    return 0


def _measure(
    judge: "Judge", requests: "Sequence[tuple[float, GenerationRequest]]", vary: str, *, with_score: bool
) -> tuple[list[dict[str, float]], dict[str, float], dict[str, str]]:
    """Judges the samples of each request, and prints the table line by line.

    Args:
        judge: The judge.
        requests: Values of the varied parameter, each with its request.
        vary: Name of the varied parameter.
        with_score: Compute the accuracy score too.

    Returns:
        The value and the metrics of each request; the metrics of real images, the best that samples can reach; and the
        reason of each metric that is left out.
    """
    from vqgen.evaluation.judge.judge import draw

    print("  ".join([vary, *_COLUMNS]))
    points: list[dict[str, float]] = []
    limits: dict[str, float] = {}
    left_out: dict[str, str] = {}
    sets: list[ScoredImages] = []
    for value, request in requests:
        samples = draw(judge.pipe, request)
        sets.append(judge.scored_samples(samples))
        metrics = _judge(judge, samples)
        points.append({"value": value} | {metric.name: metric.value for metric in metrics})
        left_out |= metrics.left_out
        limits |= {metric.name: metric.floor for metric in metrics if metric.floor is not None}
        print(_line(vary, points[-1], _COLUMNS), flush=True)
    limits = {name: limits[name] for name in ("precision", "recall") if name in limits}
    if with_score:
        of_real, problems = _add_scores(judge, [*sets, judge.scored_real_images(samples)], points, vary)
        limits |= of_real
        left_out |= problems
    return points, limits, left_out


def _add_scores(
    judge: "Judge", sets: "Sequence[ScoredImages]", points: list[dict[str, float]], vary: str
) -> tuple[dict[str, float], dict[str, str]]:
    """Adds the accuracy score to each point, and prints a second table: the classifiers train side by side.

    Args:
        judge: The judge.
        sets: The samples of each point, and real images.
        points: The points, which receive their scores.
        vary: Name of the varied parameter.

    Returns:
        The score of the real images by its name, if there is one, and the reason of each score that is left out.
    """
    left_out: dict[str, str] = {}
    columns = ("cas", "cas_deviation") if judge.score_seeds > 1 else ("cas",)
    print("  ".join([vary, *columns]))
    with closing(judge.accuracy_scores(sets)) as scores:
        for point, score in zip(points, scores, strict=False):  # the last score is that of the real images
            point |= {metric.name: metric.value for metric in score}
            left_out |= score.left_out
            print(_line(vary, point, columns), flush=True)
        of_real = next(scores)
    limit = {"cas": of_real.metrics[0].value} if of_real.metrics else {}
    return limit, left_out | dict(of_real.left_out)


def _varied(request: "GenerationRequest", vary: str, value: float) -> "GenerationRequest":
    """Returns the request with one parameter of `VALUES` set to a value, for all levels."""
    name = vary.replace("-", "_")
    if name == "keep":
        return replace(request, keep=value)
    return replace(request, params=replace(request.params, **{name: [value]}))


def _line(vary: str, point: dict[str, float], columns: Sequence[str]) -> str:
    """Returns the line of a table for one value. Lines are printed one by one, because each takes minutes."""
    cells = [f"{point['value']:<{len(vary)}g}"]
    cells += [
        f"{point[column]:>{len(column)}.4g}" if column in point else f"{'-':>{len(column)}}" for column in columns
    ]
    return "  ".join(cells)


def _judge(judge: "Judge", samples: "Samples") -> "Findings":
    found = judge.memorisation(samples)[0]
    if judge.space is not None:
        found = judge.distribution(samples) + judge.classifier_metrics(samples) + found
    return found if samples.codes is None else found + judge.code_entropy(samples)
