"""`vqgen compare`: judge several runs alike; one table, and one picture of their samples side by side."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import add_compute_arguments, add_evaluation_arguments, add_sampling_arguments

if TYPE_CHECKING:
    from vqgen.commands.compared_runs import Contender
    from vqgen.evaluation.figures import Figure
    from vqgen.evaluation.judge.judge import Judge, Samples

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
"""Figure -> what it is called in the table, in the table's order; the deviation is that over several seeds."""


@dataclass(frozen=True)
class Judgement:
    """What was found of one run.

    Attributes:
        contender: The run.
        samples: Its samples.
        values: Figure -> value; None where the run has no such figure.
        floors: Figure -> the same metric between two halves of the real images, where there is one.
    """

    contender: "Contender"
    samples: "Samples"
    values: Mapping[str, float | None]
    floors: Mapping[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders, pipeline folders or Hub names; two or more"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file too")
    parser.add_argument("-o", "--output", metavar="DIR", help="write samples side by side into this folder")
    parser.add_argument("--no-score", action="store_true", help="compute no accuracy score, which trains classifiers")
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.compared_runs import open_contenders
    from vqgen.evaluation.judge.making import make_judge

    contenders = open_contenders(arguments)
    of_first = argparse.Namespace(**vars(arguments), checkpoint=contenders[0].checkpoint)
    judge = make_judge(of_first, needs_space=True, trains=not arguments.no_score, pipe=contenders[0].pipe)
    judgements = [_judge(judge, contender, arguments) for contender in contenders]
    real = {} if arguments.no_score else _of_real_images(judge, judgements[0].samples)
    print(comparison_table(judgements))
    for note in _notes(judge, real, arguments):
        print(f"  {note}")
    if arguments.output:
        print(f"  samples side by side: {_save_picture(judgements, arguments)}")
    if arguments.json:
        _write_json(Path(arguments.json), judge, judgements, real, arguments)
    return 0


def _judge(judge: "Judge", contender: "Contender", arguments: argparse.Namespace) -> Judgement:
    """Samples are judged by the one judge, for all runs the same; what needs the run's models by its like."""
    from vqgen.commands.compared_runs import judge_of

    print(f"{contender.name} ...", flush=True)
    own = judge_of(judge, contender, arguments)
    samples, speed = _timed_samples(contender, arguments)
    figures = own.rate() + own.reconstruction(None) + own.memorisation(samples)[0]
    figures += judge.distribution(samples) + judge.naming(samples)
    figures += [] if arguments.no_score else judge.accuracy_score(samples)
    found: dict[str, float | None] = {figure.name: figure.value for figure in figures}
    found |= {"parameters": contender.parameters, "training_seconds": contender.training_seconds}
    found |= {"samples_per_second": speed}
    values = {name: found.get(name) for name in _ROWS if name != "cas_deviation" or judge.score_seeds > 1}
    return Judgement(contender, samples, values, _floors(figures))


def _floors(figures: "Sequence[Figure]") -> dict[str, float]:
    return {figure.name: figure.floor for figure in figures if figure.name in _ROWS and figure.floor is not None}


def _timed_samples(contender: "Contender", arguments: argparse.Namespace) -> "tuple[Samples, float]":
    """Samples, and how many of them came in a second; what only a first request costs is not counted."""
    from vqgen.evaluation.judge.making import draw

    draw(contender.pipe, arguments, images_per_label=1)
    since = time.perf_counter()
    samples = draw(contender.pipe, arguments)
    return samples, len(samples.images) / (time.perf_counter() - since)


def _of_real_images(judge: "Judge", samples: "Samples") -> dict[str, float]:
    """The accuracy score of as many real images as there are samples, and its floor: what a run could reach."""
    score, *of_several = judge.accuracy_score_of_real(samples)
    found = {"images": score.counts["trained on"], "cas": score.value}
    if of_several:
        found["cas_deviation"] = of_several[0].value
    return found if score.floor is None else found | {"cas_floor": score.floor}


def comparison_table(judgements: Sequence[Judgement]) -> str:
    """A table with a line for each figure and a column for each run; the noise floor is the largest of the runs'."""
    rows = [("", *(judgement.contender.name for judgement in judgements), "floor")]
    for name, title in _ROWS.items():
        if name not in judgements[0].values:
            continue
        floors = [judgement.floors[name] for judgement in judgements if name in judgement.floors]
        cells = [_cell(name, judgement.values[name]) for judgement in judgements]
        rows.append((title, *cells, f"{max(floors):.4g}" if floors else "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(line) for line in lines)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "-"
    if name == "parameters":
        return f"{value:,}"
    if name == "training_seconds":
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes} min {seconds:02d} s" if minutes else f"{value:.3g} s"
    return f"{value:.4g}"


def _notes(judge: "Judge", real: Mapping[str, float], arguments: argparse.Namespace) -> list[str]:
    """What the figures rest on."""
    from vqgen.commands.evaluate import sampling_text

    assert judge.space is not None
    notes = [
        "floor: the same between two halves of the real images, or the difference between the halves",
        f"space: {judge.space.name}, for all runs; reference: {len(judge.reference):,} {judge.reference.split} images",
        f"samples: {sampling_text(arguments)}; seed of judging {judge.seed}",
    ]
    if real:
        floor = f" (floor {real['cas_floor']:.4g})" if "cas_floor" in real else ""
        several = f"mean of {judge.score_seeds} seeds, " if judge.score_seeds > 1 else ""
        notes.append(
            f"cas: {several}{judge.section.train.steps} steps each, tested on {len(judge.held_out):,} "
            f"{judge.held_out.split} images; of {real['images']:,} real training images {real['cas']:.4g}{floor}"
        )
    notes.append("training time: as each run recorded it, without classifier and samples; samples/s: on this machine")
    return notes


def _save_picture(judgements: Sequence[Judgement], arguments: argparse.Namespace) -> Path:
    from vqgen.reports.pictures import save_side_by_side

    path = Path(arguments.output) / "samples.png"
    blocks = {judgement.contender.name: judgement.samples.images for judgement in judgements}
    names = judgements[0].contender.pipe.label_map.names
    save_side_by_side(blocks, names, arguments.images_per_label, path)
    return path


def _write_json(
    path: Path,
    judge: "Judge",
    judgements: Sequence[Judgement],
    real: Mapping[str, float],
    arguments: argparse.Namespace,
) -> None:
    from vqgen.commands.evaluate import judging_settings
    from vqgen.storage.files import write_json

    runs: list[dict[str, Any]] = [
        {
            "name": judgement.contender.name,
            "checkpoint": str(judgement.contender.checkpoint),
            "figures": dict(judgement.values),
            "floors": dict(judgement.floors),
        }
        for judgement in judgements
    ]
    held_out = {judge.held_out.split: len(judge.held_out), "samples": len(judgements[0].samples.images)}
    settings = judging_settings(judge, arguments) | {"counts": held_out}
    write_json(path, settings | {"runs": runs, "real_images": dict(real)})
