"""`vqgen evaluate`: judge a checkpoint: reconstructions, codes, likelihood, samples."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqgen.commands.arguments import (
    add_checkpoint_argument,
    add_compute_arguments,
    add_evaluation_arguments,
    add_sampling_arguments,
    sampling_options,
)
from vqgen.errors import ConfigError

if TYPE_CHECKING:
    from vqgen.evaluation.figures import Figure
    from vqgen.evaluation.judge.judge import Judge, Samples
    from vqgen.pipeline.base import ImagePipeline

GROUPS = {
    "reconstruction": "errors of reconstructed held-out images",
    "codes": "usage and perplexity of the codebooks",
    "likelihood": "nats per code of each level, bits per pixel; of a VAE its bounds in nats per image",
    "variety": "entropy of the codes of samples and of real images, given position and label",
    "distribution": "Frechet and kernel distance, precision, recall, density, coverage",
    "naming": "inception score, and how many samples a classifier of real images names right",
    "score": "classification accuracy score: trained on samples, tested on real images",
    "memorisation": "nearest training images",
}

OF_SAMPLES = ("variety", "distribution", "naming", "score", "memorisation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    add_checkpoint_argument(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(GROUPS),
        metavar="GROUP",
        help=f"judge only these: {', '.join(GROUPS)} (default: all)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file too")
    parser.add_argument("--pictures", metavar="DIR", help="write samples beside their nearest training images")
    parser.add_argument("--lpips-weights", metavar="FILE", help="torchvision's AlexNet weights (default: torch's own)")
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    add_compute_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from vqgen.evaluation.figures import figures_table
    from vqgen.evaluation.judge.making import draw, make_judge
    from vqgen.pipeline import open_pipeline

    pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    groups = _groups(pipe, arguments.only)
    needs_space = bool({"distribution", "naming"} & set(groups))
    judge = make_judge(arguments, needs_space=needs_space, trains="score" in groups, pipe=pipe)
    samples = draw(judge.pipe, arguments) if set(OF_SAMPLES) & set(groups) else None
    figures = [figure for group in groups for figure in _judge(judge, group, samples, arguments)]
    print(figures_table(figures))
    for note in _notes(judge, arguments, samples):
        print(f"  {note}")
    if arguments.json:
        _write_json(Path(arguments.json), judge, figures, arguments)
    return 0


def _groups(pipe: "ImagePipeline", only: list[str] | None) -> list[str]:
    """The groups to judge: those asked for, or all that say something of this model.

    Raises:
        ConfigError: One was asked for that says nothing of it.
    """
    from vqgen.pipeline import BaselinePipeline

    foreign: set[str] = set()
    if isinstance(pipe, BaselinePipeline):
        foreign |= {"codes", "variety"} if pipe.has_bound else {"codes", "variety", "likelihood"}
        if len(pipe.label_map) and not pipe.takes_labels:
            foreign.add("score")
    asked = foreign & set(only or [])
    if asked:
        raise ConfigError(
            f"--only: should name what says something of {pipe.parts.name!r}, found {', '.join(sorted(asked))}; "
            f"there is {', '.join(group for group in GROUPS if group not in foreign)}"
        )
    return only or [group for group in GROUPS if group not in foreign]


def _judge(judge: "Judge", group: str, samples: "Samples | None", arguments: argparse.Namespace) -> "list[Figure]":
    if group == "reconstruction":
        return judge.reconstruction(_lpips(arguments.lpips_weights))
    if group == "codes":
        return judge.codes()
    if group == "likelihood":
        return judge.likelihood()
    assert samples is not None
    if group == "variety":
        return judge.variety(samples)
    if group == "distribution":
        return judge.distribution(samples)
    if group == "naming":
        return judge.naming(samples)
    if group == "score":
        scores = (judge.accuracy_score, judge.accuracy_score_of_real, judge.accuracy_score_of_reconstructions)
        return [figure for score in scores for figure in score(samples)]
    figures, indices = judge.memorisation(samples)
    if arguments.pictures:
        from vqgen.reports.pictures import save_neighbours

        save_neighbours(samples.images, judge.train.images[indices], Path(arguments.pictures) / "neighbours.png")
    return figures


def _lpips(path: str | None) -> Any:
    """LPIPS, where its weights are at hand."""
    from vqgen.evaluation.reconstruction import find_lpips_weights, load_lpips

    if path is not None and not Path(path).is_file():
        raise ConfigError(f"--lpips-weights {path}: there is no such file")
    weights = Path(path) if path else find_lpips_weights()
    return None if weights is None else load_lpips(weights)


def _notes(judge: "Judge", arguments: argparse.Namespace, samples: "Samples | None") -> list[str]:
    """What the figures rest on, and what was left out."""
    from vqgen.evaluation.pixel_errors import ms_ssim_weights
    from vqgen.evaluation.reconstruction import LPIPS_FILE, find_lpips_weights

    notes = ["floor: the same between two halves of the real images, or the difference between the halves"]
    if samples is not None:
        notes.append(f"samples: {sampling_text(arguments)}; seed of judging {judge.seed}")
    scales = len(ms_ssim_weights(judge.held_out.images.shape[-1]))
    if scales < 5:
        notes.append(f"ms_ssim: {scales} of its 5 scales fit into the images" if scales else "ssim: images too small")
    if not arguments.lpips_weights and find_lpips_weights() is None:
        notes.append(f"lpips: left out, {LPIPS_FILE} is not in torch's cache; --lpips-weights FILE names it")
    return notes


def sampling_text(arguments: argparse.Namespace) -> str:
    """How samples were drawn, in words."""

    def joined(values: list[float]) -> str:
        return "/".join(f"{value:g}" for value in values)

    parts = [
        f"{arguments.images_per_label} a label, seed {arguments.seed}",
        f"temperature {joined(arguments.temperature)}",
    ]
    if arguments.top_k is not None:
        parts.append(f"top-k {arguments.top_k}")
    if arguments.top_p is not None:
        parts.append(f"top-p {arguments.top_p:g}")
    guided = any(scale != 1 for scale in arguments.guidance_scale)
    parts.append(f"guidance {joined(arguments.guidance_scale)}" if guided else "no guidance")
    if any(scale != 1 for scale in arguments.autoguidance_scale):
        parts.append(f"autoguidance {joined(arguments.autoguidance_scale)}")
    parts.append(f"the surest {arguments.keep:.0%}" if arguments.keep < 1 else "none rejected")
    return ", ".join(parts)


def _write_json(path: Path, judge: "Judge", figures: "list[Figure]", arguments: argparse.Namespace) -> None:
    from vqgen.storage.files import write_json

    write_json(path, {**provenance(judge, arguments), "figures": [asdict(figure) for figure in figures]})


def provenance(judge: "Judge", arguments: argparse.Namespace) -> dict[str, Any]:
    """What is needed to compute the figures again."""
    of_checkpoint = {"checkpoint": str(arguments.checkpoint), "model": judge.pipe.model_hash}
    return of_checkpoint | judging_settings(judge, arguments)


def judging_settings(judge: "Judge", arguments: argparse.Namespace) -> dict[str, Any]:
    """How was judged, whatever was."""
    from vqgen import __version__

    return {
        "vqgen": __version__,
        "device": str(judge.pipe.compute.device),
        "dtype": judge.pipe.compute.dtype,
        "space": judge.space.name if judge.space else None,
        "reference": judge.reference.split,
        "seed_of_judging": judge.seed,
        "score_seeds": judge.score_seeds,
        "sampling": {
            "images_per_label": arguments.images_per_label,
            "seed": arguments.seed,
            **sampling_options(arguments),
            "keep": arguments.keep,
        },
        "classifier": judge.section.model_dump(mode="json"),
    }
