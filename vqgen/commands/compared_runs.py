"""The runs that `vqgen compare` judges: opens and names them, and refuses runs that cannot be compared."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import generation_request
from vqgen.errors import ConfigError, DataError
from vqgen.storage.names import comparable, shown

if TYPE_CHECKING:
    from vqgen.evaluation.judge.build import JudgeOptions
    from vqgen.evaluation.judge.judge import Judge
    from vqgen.evaluation.judge.real_images import RealImages
    from vqgen.pipeline.base import AnyPipeline
    from vqgen.pipeline.request import GenerationRequest


@dataclass(frozen=True)
class ComparedRun:
    """A run to compare.

    Attributes:
        name: Its name in the table and in the picture.
        checkpoint: Its path or name, as given by the user.
        pipe: Its models.
    """

    name: str
    checkpoint: str
    pipe: "AnyPipeline"

    @property
    def training_seconds(self) -> float | None:
        """Seconds of training of the generator, from the records of its stages; None if a record has no time."""
        from vqgen.evaluation.judge.real_images import recipe_of
        from vqgen.pipeline.locating import locate_pipeline
        from vqgen.stages.records import read_record

        folder = locate_pipeline(self.checkpoint).parent
        stages = recipe_of(self.pipe).generator_stages
        records = [read_record(folder / stage) for stage in stages]
        seconds = [record.seconds for record in records if record is not None and record.seconds is not None]
        return sum(seconds) if len(seconds) == len(stages) else None


def open_runs(arguments: argparse.Namespace) -> list[ComparedRun]:
    """Opens the runs, and refuses runs that cannot be compared before it computes anything.

    Args:
        arguments: The parsed words of `vqgen compare`.

    Raises:
        ConfigError: There are fewer than two runs, one is given twice, or a number is out of its range.
        CheckpointError: A run cannot be opened, or cannot generate.
        DataError: The runs were trained on different images.
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
    """Returns the shortest ends of the paths that tell the runs apart.

    Raises:
        ConfigError: There are fewer than two runs, or one is given twice.
    """
    if len(runs) < 2:
        raise ConfigError(f"RUN: should be at least two to compare, found {len(runs)}; `vqgen evaluate` judges one")
    # Resolved, so that one run under two spellings counts as given twice. A name on the Hub is not a path here.
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
        DataError: The held-out images of the run are not the ones of the judge, so it may have been trained on them.
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
            f"run {run.checkpoint}: should generate images of a label, found an unconditional model, so its samples "
            "cannot train a classifier; leave the score out (--no-score)"
        )
    pipe.check_generates()
    pipe.check_request(request)


def _check_alike(first: ComparedRun, other: ComparedRun) -> None:
    """Refuses a run of another source, size or label map, or with other held-out images.

    Raises:
        DataError: The runs differ.
    """
    found = _images_of(other.pipe)
    for name, expected in _images_of(first.pipe).items():
        if found[name] != expected:
            raise DataError(
                f"run {other.checkpoint}: should be of the same images as {first.checkpoint}, found {name} "
                f"{found[name]} instead of {expected}; compare runs of one kind of images at a time"
            )
    names = first.pipe.label_map.names
    other_names = other.pipe.label_map.names
    if not first.pipe.label_map.is_like(other.pipe.label_map):  # the text above shows the first labels only
        place = next(place for place, name in enumerate(names) if comparable(other_names[place]) != comparable(name))
        raise DataError(
            f"run {other.checkpoint}: should be of the same images as {first.checkpoint}, found label {place} "
            f"{other_names[place]!r} instead of {names[place]!r}; compare runs of one kind of images at a time"
        )
    split = first.pipe.parts.split
    other_split = other.pipe.parts.split
    # Test images are held out whatever the seed. Validation images are drawn with it.
    held_out = "test" if "test" in split else "validation"
    if split and other_split and split[held_out] != other_split.get(held_out):
        raise DataError(
            f"run {other.checkpoint}: should have the same {held_out} images as {first.checkpoint}, found other ones, "
            "so it was trained on some of them; train both with the same seed and data.validation_fraction"
        )


def _images_of(pipe: "AnyPipeline") -> dict[str, str]:
    """Returns the kind of images of a pipeline, in words."""
    data = pipe.parts.data
    return {
        "source": data.source,
        "image size": f"{data.image_size} x {data.image_size}",
        "channels": str(data.channels),
        "labels": _shown(pipe.label_map.names),
    }


def _shown(labels: Sequence[str]) -> str:
    more = f", ... ({len(labels)})" if len(labels) > 4 else ""
    return ", ".join(map(shown, map(comparable, labels[:4]))) + more if labels else "none"


def _check_held_out(expected: "RealImages", found: "RealImages | None", run: ComparedRun) -> None:
    """Refuses a run whose held-out images are other pictures.

    The splits have indices only. Two folders with the same indices can hold different pictures.

    Raises:
        DataError: The pictures or their labels differ.
    """
    if found is None or not (expected.images.equal(found.images) and expected.labels.equal(found.labels)):
        raise DataError(
            f"run {run.checkpoint}: should have the same {expected.split} images as the first run, found other ones; "
            "name the folder that holds the images of all runs with --data-root"
        )
