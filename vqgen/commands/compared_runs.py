"""The runs that `vqgen compare` puts side by side: opened, named, refused where they cannot be compared."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import sampling_options
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vqgen.evaluation.judge.judge import Judge
    from vqgen.evaluation.judge.real_images import RealImages
    from vqgen.pipeline.base import ImagePipeline

NOT_TRAINING = ("classifier", "samples")
"""Stages that are no part of training the generator: one judges, one uses it."""


@dataclass(frozen=True)
class Contender:
    """A run that is compared.

    Attributes:
        name: What it is called in the table and in the picture.
        checkpoint: Where it is, as the user said it.
        pipe: Its models.
    """

    name: str
    checkpoint: str
    pipe: "ImagePipeline"

    @property
    def parameters(self) -> int:
        """Trained numbers of the models; guides, earlier states of priors, and the classifier do not count."""
        from vqgen.pipeline import VQGenPipeline

        pipe, models = self.pipe, self.pipe.models
        if isinstance(pipe, VQGenPipeline):
            models = [pipe.vqvae, *pipe.parts.priors.values()]
        return sum(parameter.numel() for model in models for parameter in model.parameters())

    @property
    def training_seconds(self) -> float | None:
        """What its stages took, as their records have it; None where one does not say, or where there is no run."""
        from vqgen.evaluation.judge.real_images import recipe_of
        from vqgen.pipeline.folder import locate_pipeline
        from vqgen.stages.bookkeeping import read_record
        from vqgen.stages.run import stage_names

        folder = locate_pipeline(self.checkpoint).parent
        stages = [stage for stage in stage_names(recipe_of(self.pipe)) if stage not in NOT_TRAINING]
        records = [read_record(folder / stage) for stage in stages]
        seconds = [record.seconds for record in records if record is not None and record.seconds is not None]
        return sum(seconds) if len(seconds) == len(stages) else None


def open_contenders(arguments: argparse.Namespace) -> list[Contender]:
    """Opens the runs, and refuses what cannot be compared before anything is computed.

    Args:
        arguments: With `runs`, and what `add_sampling_arguments` and `add_compute_arguments` declare.

    Raises:
        ConfigError: There are fewer than two, one is given twice, or a number is out of its range.
        CheckpointError: One cannot be opened, or cannot generate.
        DataError: They are of different images.
    """
    from vqgen.pipeline import open_pipeline

    names = short_names(arguments.runs)
    opened = [
        Contender(name, run, open_pipeline(run, device=arguments.device, dtype=arguments.dtype))
        for name, run in zip(names, arguments.runs, strict=True)
    ]
    for contender in opened:
        _check_generates(contender, arguments)
        _check_alike(opened[0], contender)
    return opened


def short_names(runs: Sequence[str]) -> list[str]:
    """The last parts of the runs' paths, as many as it takes to tell them apart.

    Raises:
        ConfigError: There are fewer than two, or one is given twice.
    """
    if len(runs) < 2:
        raise ConfigError(f"RUN: should be at least two to compare, found {len(runs)}; `vqgen evaluate` judges one")
    paths = [Path(run).resolve() if Path(run).exists() else Path(run) for run in runs]
    parts = [path.parent.parts if path.name == "pipeline" else path.parts for path in paths]
    for first, one in enumerate(parts):
        if one in parts[:first]:
            raise ConfigError(f"RUN: each should be given once, found {runs[first]} twice")
    names = [["/".join(part[-length:]) for part in parts] for length in range(1, max(map(len, parts)) + 1)]
    return next(chosen for chosen in names if len(set(chosen)) == len(chosen))


def judge_of(judge: "Judge", contender: Contender, arguments: argparse.Namespace) -> "Judge":
    """The same judge before another run, with the images that this one was trained on.

    Raises:
        DataError: Its held-out images are not those of the judge, so that it may have been trained on some of them.
    """
    from dataclasses import replace

    from vqgen.evaluation.judge.real_images import open_real_images, recipe_of

    if contender.pipe is judge.pipe:
        return judge
    splits = ["train", judge.held_out.split]
    seed = recipe_of(judge.pipe).seed
    real = open_real_images(contender.pipe, arguments.data_root, most=arguments.real_images, splits=splits, seed=seed)
    _check_held_out(judge.held_out, real.get(judge.held_out.split), contender)
    return replace(judge, pipe=contender.pipe, train=real["train"])


def _check_generates(contender: Contender, arguments: argparse.Namespace) -> None:
    from vqgen.pipeline import VQGenPipeline

    pipe = contender.pipe
    if len(pipe.label_map) and not pipe.takes_labels and not arguments.no_score:
        raise ConfigError(
            f"run {contender.checkpoint}: cannot be asked for images of a label, so no classifier can be trained on "
            "its samples; leave the score out (--no-score)"
        )
    pipe.candidates(arguments.images_per_label, arguments.keep)
    if isinstance(pipe, VQGenPipeline):
        _ = pipe.priors  # all are there
    pipe.check_sampling(**sampling_options(arguments))


def _check_alike(first: Contender, other: Contender) -> None:
    """Images of the same source and form, with the same labels, and the same ones held out."""
    of_first, of_other = _images_of(first.pipe), _images_of(other.pipe)
    for what, expected in of_first.items():
        if of_other[what] != expected:
            raise DataError(
                f"run {other.checkpoint}: should be of the same images as {first.checkpoint}, found {what} "
                f"{of_other[what]} instead of {expected}; compare runs of one kind of images at a time"
            )
    names, other_names = first.pipe.label_map.names, other.pipe.label_map.names
    if names != other_names:  # after the first few
        place = next(place for place, name in enumerate(names) if other_names[place] != name)
        raise DataError(
            f"run {other.checkpoint}: should be of the same images as {first.checkpoint}, found label {place} "
            f"{other_names[place]!r} instead of {names[place]!r}; compare runs of one kind of images at a time"
        )
    one, two = (contender.pipe.parts.split for contender in (first, other))
    held_out = "test" if "test" in one else "validation"
    if one and two and one[held_out] != two.get(held_out):
        raise DataError(
            f"run {other.checkpoint}: should have the same {held_out} images as {first.checkpoint}, found others, "
            "so it was trained on some of them; train both with the same seed and data.validation_fraction"
        )


def _images_of(pipe: "ImagePipeline") -> dict[str, str]:
    data, labels = pipe.parts.data, pipe.label_map.names
    return {
        "source": data.source,
        "image size": f"{data.image_size} x {data.image_size}",
        "channels": str(data.channels),
        "labels": _shown(labels),
    }


def _shown(labels: Sequence[str]) -> str:
    more = f", ... ({len(labels)})" if len(labels) > 4 else ""
    return ", ".join(labels[:4]) + more if labels else "none"


def _check_held_out(expected: "RealImages", found: "RealImages | None", contender: Contender) -> None:
    """What the names and numbers of the splits cannot tell: that folders hold the same pictures."""
    if found is None or not (expected.images.equal(found.images) and expected.labels.equal(found.labels)):
        raise DataError(
            f"run {contender.checkpoint}: should have the same {expected.split} images as the first run, found others; "
            "--data-root names the folder that holds the images of all runs"
        )
