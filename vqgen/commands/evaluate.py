"""`vqgen evaluate`: judge a checkpoint: reconstructions, likelihood, samples against real images."""

import argparse
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_evaluation_arguments,
    add_overwrite_argument,
    add_sampling_arguments,
    generation_request,
    judge_options,
)
from vqgen.commands.outputs import check_files
from vqgen.commands.perceptual import add_lpips_argument, lpips_or_reason
from vqgen.errors import ConfigError, VQGenWarning

if TYPE_CHECKING:
    from vqgen.commands.quick_look import QuickLook
    from vqgen.evaluation.judge.judge import Judge, Samples
    from vqgen.evaluation.metric import Findings
    from vqgen.pipeline.base import AnyPipeline
    from vqgen.pipeline.request import GenerationRequest

GROUPS = {
    "reconstruction": "errors of reconstructed held-out images",
    "codes": "usage and perplexity of the codebooks",
    "likelihood": "nats per code of each level, bits per pixel; for a VAE its bounds in nats per image",
    "code-entropy": "entropy of the codes of samples and of real images, given position and label",
    "distribution": "Frechet and kernel distance, precision, recall, density, coverage",
    "classifier-metrics": "inception score, and the share of samples whose label a classifier recognises",
    "score": "accuracy of a classifier that was trained on samples, on real images",
    "memorisation": "nearest training images",
}

OLD_GROUPS = {"variety": "code-entropy", "naming": "classifier-metrics"}
"""Old name of a group -> its present name."""

OF_SAMPLES = ("code-entropy", "distribution", "classifier-metrics", "score", "memorisation")
"""The groups that measure samples. Without them no sample is drawn."""

_FULL = {"images_per_label": 100, "real_images": 60_000}
"""Option -> its default, without --quick."""

_PICTURE = "neighbours.png"

_WITHOUT_SCORE = "--only reconstruction codes likelihood memorisation"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*GROUPS, *OLD_GROUPS],
        metavar="GROUP",
        help=f"groups of metrics to compute: {', '.join(GROUPS)} (default: all that apply)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the metrics to this file too")
    add_overwrite_argument(parser)
    parser.add_argument(
        "--pictures", metavar="DIR", help="write a picture of samples beside their nearest training images"
    )
    add_lpips_argument(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a first look in seconds: few samples and real images, and no group that trains classifiers or compares "
        "with all training images; --images-per-label and --real-images overrule its numbers",
    )
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=_FULL["images_per_label"])
    add_compute_arguments(parser)
    parser.set_defaults(**dict.fromkeys(_FULL))  # so that --quick knows which numbers the user gave


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.commands.quick_look import choose_quick_look
    from vqgen.evaluation.judge.build import OF_SPACE, build_judge, groups_without_labels
    from vqgen.evaluation.judge.judge import draw
    from vqgen.evaluation.metric import Findings, metric_rows
    from vqgen.pipeline import open_pipeline
    from vqgen.reports.tables import format_table

    picture = Path(arguments.pictures) / _PICTURE if arguments.pictures else None
    check_files([arguments.json, picture], arguments.overwrite)
    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    groups = _groups(pipe, arguments.only)
    quick = choose_quick_look(pipe, groups, arguments) if arguments.quick else None
    left_out = {} if quick is None else dict(quick.left_out)
    groups = groups if quick is None else quick.groups
    if not arguments.only:  # a group that the user asks for is computed or refused
        left_out |= groups_without_labels(pipe, has_inception=bool(arguments.inception_weights))
        groups = [group for group in groups if group not in left_out]
    arguments = _with_numbers(arguments, quick)
    request = generation_request(arguments)
    pipe.check_request(request)
    lpips, without = lpips_or_reason(arguments.lpips_weights) if "reconstruction" in groups else (None, {})
    judge = build_judge(
        pipe,
        arguments.checkpoint,
        judge_options(arguments),
        needs_space=bool(set(OF_SPACE) & set(groups)),
        needs_score="score" in groups,
        without_score=_WITHOUT_SCORE,
    )
    samples = draw(pipe, request) if set(OF_SAMPLES) & set(groups) else None
    judged = [_judge(judge, group, samples, lpips, picture) for group in groups]
    found = sum([Findings(left_out=without), *judged, Findings(left_out=left_out)], Findings())
    if quick is not None:
        print(quick.notice)
    print(format_table(metric_rows(found.metrics), left=(0, 1, 4, 5)))
    for note in _notes(judge, request, samples, found.left_out):
        print(f"  {note}")
    if arguments.json:
        _write_json(Path(arguments.json), judge, found, arguments, request)
    return 0


def _with_numbers(arguments: argparse.Namespace, quick: "QuickLook | None") -> argparse.Namespace:
    """Returns the arguments with a number for each option of `_FULL`."""
    if quick is not None:
        return argparse.Namespace(
            **vars(arguments) | {"images_per_label": quick.images_per_label, "real_images": quick.real_images}
        )
    given = {name: getattr(arguments, name) for name in _FULL if getattr(arguments, name) is not None}
    return argparse.Namespace(**vars(arguments) | _FULL | given)


def _groups(pipe: "AnyPipeline", only: list[str] | None) -> list[str]:
    """Returns the groups of metrics to compute.

    Args:
        pipe: The pipeline.
        only: The groups of --only; None for all groups that apply to the model.

    Raises:
        ConfigError: A group of --only does not apply to the model.
    """
    foreign = pipe.foreign_metrics()
    asked = [_present_name(group) for group in only or []]
    wrong = sorted(foreign & set(asked))
    if wrong:
        raise ConfigError(
            f"--only: should name groups that apply to {pipe.parts.name!r}, found {', '.join(wrong)}; "
            f"there are {', '.join(group for group in GROUPS if group not in foreign)}"
        )
    return asked or [group for group in GROUPS if group not in foreign]


def _present_name(group: str) -> str:
    if group not in OLD_GROUPS:
        return group
    text = f"--only {group} is now called {OLD_GROUPS[group]}; the old name will go"
    warnings.warn(text, VQGenWarning, stacklevel=2)
    return OLD_GROUPS[group]


def _judge(judge: "Judge", group: str, samples: "Samples | None", lpips: Any, picture: Path | None) -> "Findings":
    """Computes the metrics of a group."""
    from vqgen.evaluation.metric import Findings

    if group == "reconstruction":
        return judge.reconstruction(lpips)
    if group == "codes":
        return judge.codes()
    if group == "likelihood":
        return judge.likelihood()
    assert samples is not None
    if group == "code-entropy":
        return judge.code_entropy(samples)
    if group == "distribution":
        return judge.distribution(samples)
    if group == "classifier-metrics":
        return judge.classifier_metrics(samples)
    if group == "score":
        sets = (judge.scored_samples, judge.scored_real_images, judge.scored_reconstructions)
        return sum(judge.accuracy_scores([scored(samples) for scored in sets]), Findings())
    found, indices = judge.memorisation(samples)
    if picture is not None:
        from vqgen.data.no_data import mark_output
        from vqgen.reports.grids import save_neighbours

        mark_output(picture.parent)
        save_neighbours(samples.images, judge.train.images[indices], picture)
    return found


def _notes(
    judge: "Judge",
    request: "GenerationRequest",
    samples: "Samples | None",
    left_out: Mapping[str, str],
) -> list[str]:
    """Returns the notes below the table: the samples and the seed behind the metrics, and metrics that are left out."""
    from vqgen.evaluation.judge.settings import FLOOR_NOTE, held_out_notes, left_out_notes, sampling_text
    from vqgen.evaluation.pixel_errors import ms_ssim_weights

    notes = [FLOOR_NOTE, *held_out_notes(judge)]
    if samples is not None:
        notes.append(f"samples: {sampling_text(request)}; seed of judging {judge.seed}")
    scales = len(ms_ssim_weights(judge.held_out.images.shape[-1]))
    if 0 < scales < 5:
        notes.append(f"ms_ssim: {scales} of its 5 scales fit into the images")
    return [*notes, *left_out_notes(left_out)]


def _write_json(
    path: Path, judge: "Judge", found: "Findings", arguments: argparse.Namespace, request: "GenerationRequest"
) -> None:
    from vqgen.evaluation.judge.settings import provenance
    from vqgen.storage.files import write_json

    document = provenance(judge, arguments.checkpoint, request) | {"quick": arguments.quick}
    document |= {"metrics": [asdict(metric) for metric in found], "left_out": dict(found.left_out)}
    write_json(path, document)
