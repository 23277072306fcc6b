"""The runs that `vqgen compare` puts side by side: opened, named, refused where they cannot be compared."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import generation_request
from vqgen.errors import ConfigError, DataError

if TYPE_CHECKING:
    from vqgen.evaluation.judge.build import JudgeOptions
    from vqgen.evaluation.judge.judge import Judge
    from vqgen.evaluation.judge.real_images import RealImages
    from vqgen.pipeline.base import AnyPipeline
    from vqgen.pipeline.request import GenerationRequest


@dataclass(frozen=True)
class ComparedRun:
    """A run that is compared.

    Attributes:
        name: What it is called in the table and in the picture.
        checkpoint: Where it is, as the user said it.
        pipe: Its models.
    """

    name: str
    checkpoint: str
    pipe: "AnyPipeline"

    @property
    def training_seconds(self) -> float | None:
        """Seconds that the stages of the generator took, as their records have it; None if a record has no time."""
        from vqgen.evaluation.judge.real_images import recipe_of
        from vqgen.pipeline.folder import locate_pipeline
        from vqgen.stages.records import read_record

        folder = locate_pipeline(self.checkpoint).parent
        stages = recipe_of(self.pipe).generator_stages
        records = [read_record(folder / stage) for stage in stages]
        seconds = [record.seconds for record in records if record is not None and record.seconds is not None]
        return sum(seconds) if len(seconds) == len(stages) else None


def open_runs(arguments: argparse.Namespace) -> list[ComparedRun]:
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
    request = generation_request(arguments)
    opened = [
        ComparedRun(name, run, open_pipeline(run, device=arguments.device, dtype=arguments.dtype))
        for name, run in zip(names, arguments.runs, strict=True)
    ]
    for run in opened:
        _check_generates(run, request, with_score=not arguments.no_score)
        _check_alike(opened[0], run)
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


def judge_of(judge: "Judge", run: ComparedRun, options: "JudgeOptions") -> "Judge":
    """Returns the same judge for another run, with the images that this run was trained on.

    Args:
        judge: The judge of the first run.
        run: The run to judge.
        options: The options that the judge was built with.

    Raises:
        DataError: Its held-out images are not those of the judge, so that it may have been trained on some of them.
    """
    from vqgen.evaluation.judge.real_images import open_real_images, recipe_of

    if run.pipe is judge.pipe:
        return judge
    splits = ["train", judge.held_out.split]
    seed = recipe_of(judge.pipe).seed
    real = open_real_images(run.pipe, options.data_root, most=options.real_images, splits=splits, seed=seed)
    _check_held_out(judge.held_out, real.get(judge.held_out.split), run)
    return replace(judge, pipe=run.pipe, train=real["train"])


def _check_generates(run: ComparedRun, request: "GenerationRequest", *, with_score: bool) -> None:
    pipe = run.pipe
    if len(pipe.label_map) and not pipe.takes_labels and with_score:
        raise ConfigError(
            f"run {run.checkpoint}: cannot be asked for images of a label, so no classifier can be trained on "
            "its samples; leave the score out (--no-score)"
        )
    pipe.check_generates()
    pipe.check_request(request)


def _check_alike(first: ComparedRun, other: ComparedRun) -> None:
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
    one, two = (run.pipe.parts.split for run in (first, other))
    held_out = "test" if "test" in one else "validation"
    if one and two and one[held_out] != two.get(held_out):
        raise DataError(
            f"run {other.checkpoint}: should have the same {held_out} images as {first.checkpoint}, found others, "
            "so it was trained on some of them; train both with the same seed and data.validation_fraction"
        )


def _images_of(pipe: "AnyPipeline") -> dict[str, str]:
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


def _check_held_out(expected: "RealImages", found: "RealImages | None", run: ComparedRun) -> None:
    """What the names and numbers of the splits cannot tell: that folders hold the same pictures."""
    if found is None or not (expected.images.equal(found.images) and expected.labels.equal(found.labels)):
        raise DataError(
            f"run {run.checkpoint}: should have the same {expected.split} images as the first run, found others; "
            "--data-root names the folder that holds the images of all runs"
        )
