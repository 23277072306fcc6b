"""`vqgen sweep`: draw the trade-off of quality and diversity over guidance, temperature or rejection."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_evaluation_arguments,
    add_output_argument,
    add_sampling_arguments,
)

if TYPE_CHECKING:
    from vqgen.evaluation.figures import Figure
    from vqgen.evaluation.judge.judge import Judge, Samples

VALUES = {
    "guidance-scale": [1.0, 1.25, 1.5, 2.0, 3.0],
    "autoguidance-scale": [1.0, 1.25, 1.5, 2.0],
    "temperature": [1.1, 1.0, 0.9, 0.8, 0.6],
    "keep": [1.0, 0.75, 0.5, 0.25, 0.1],
}
"""What can be varied, and the values taken when none are given."""

_COLUMNS = ("frechet_distance", "precision", "recall", "sample_accuracy", "cas", "copies")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    add_output_argument(parser)
    parser.add_argument(
        "--vary", choices=list(VALUES), default="guidance-scale", help="what to vary (default: guidance-scale)"
    )
    parser.add_argument("--values", type=float, nargs="+", metavar="V", help="its values, for all levels")
    parser.add_argument("--no-score", action="store_true", help="compute no accuracy score, which trains classifiers")
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.evaluate import provenance, sampling_text
    from vqgen.evaluation.judge.judge import Samples
    from vqgen.evaluation.judge.making import draw, make_judge
    from vqgen.reports.pictures import plot_trade_off
    from vqgen.storage.files import write_json

    name, folder = arguments.vary.replace("-", "_"), Path(arguments.output)
    values = arguments.values or VALUES[arguments.vary]
    judge = make_judge(arguments, needs_space=True, trains=not arguments.no_score)
    _check_values(judge, name, values)
    points, limits, samples = [], {}, Samples(judge.train.images[:0], judge.train.labels[:0])
    print("  ".join([arguments.vary, *_COLUMNS]))
    for value in values:
        change: dict[str, Any] = {name: value if name == "keep" else [value]}
        samples = draw(judge.pipe, arguments, **change)
        figures = _judge(judge, samples, scores=not arguments.no_score)
        point = {"value": value} | {figure.name: figure.value for figure in figures}
        limits |= {figure.name: figure.floor for figure in figures if figure.floor is not None}
        points.append(point)
        cells = [f"{value:<{len(arguments.vary)}g}"]
        cells += [f"{point[column]:>{len(column)}.4g}" if column in point else "-" for column in _COLUMNS]
        print("  ".join(cells), flush=True)
    limits = {key: limits[key] for key in ("precision", "recall") if key in limits}
    if not arguments.no_score:
        limits["cas"] = judge.accuracy_score_of_real(samples)[0].value
    plot_trade_off(points, limits, arguments.vary, folder / "trade-off.png")
    document = provenance(judge, arguments) | {"varied": arguments.vary, "points": points, "real_images": limits}
    write_json(folder / "trade-off.json", document)
    print(f"{folder / 'trade-off.png'}: apart from {arguments.vary} {sampling_text(arguments)}")
    return 0


def _judge(judge: "Judge", samples: "Samples", *, scores: bool) -> "list[Figure]":
    figures = judge.distribution(samples) + judge.naming(samples) + judge.memorisation(samples)[0]
    figures += [] if samples.codes is None else judge.variety(samples)
    return figures + (judge.accuracy_score(samples) if scores else [])


def _check_values(judge: "Judge", name: str, values: list[float]) -> None:
    """Refuses a value before the first one has been sampled."""
    for value in values:
        if name == "keep":
            judge.pipe.candidates(1, value)
        else:
            judge.pipe.check_sampling(**{name: [value]})  # pyright: ignore[reportArgumentType]  # a name of VALUES
