"""From the words of a command line to a judge and to samples, for the commands that judge."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vqgen.commands.arguments import sampling_options
from vqgen.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from vqgen.config import ClassifierSection
    from vqgen.evaluation.features import FeatureSpace
    from vqgen.evaluation.judge.judge import Judge, Samples
    from vqgen.pipeline.base import ImagePipeline
    from vqgen.runtime.compute import Compute


def make_judge(
    arguments: argparse.Namespace, *, needs_space: bool, trains: bool, pipe: "ImagePipeline | None" = None
) -> "Judge":
    """Opens a checkpoint and its real images.

    Args:
        arguments: With what `add_evaluation_arguments` and `add_compute_arguments` declare.
        needs_space: Whether features will be compared.
        trains: Whether classifiers will be trained for the classification accuracy score.
        pipe: The checkpoint, where it is open already.

    Raises:
        ConfigError: Something needs labels, and the model has none; or a number is out of its range.
        CheckpointError: The checkpoint cannot be used.
        DataError: The real images are missing, or others than those of the training.
    """
    from vqgen.evaluation.judge.judge import Judge
    from vqgen.evaluation.judge.real_images import open_real_images
    from vqgen.pipeline import open_pipeline
    from vqgen.runtime.compute import Compute
    from vqgen.runtime.processes import make_accelerator

    compute = Compute.resolve(arguments.device, arguments.dtype)
    if pipe is None:
        pipe = open_pipeline(arguments.checkpoint, device=arguments.device, dtype=arguments.dtype)
    pipe.candidates(arguments.images_per_label, arguments.keep)
    pipe.check_sampling(**sampling_options(arguments))
    _check_labels(pipe, arguments, needs_space, trains)
    real = open_real_images(
        pipe, arguments.data_root, most=arguments.real_images, splits=["train", "validation", "test"]
    )
    held_out = real.get("test", real["validation"])
    judging = open_pipeline(arguments.classifier, device="cpu") if arguments.classifier else None
    judge = Judge(
        pipe,
        real["train"],
        held_out,
        arguments.judging_seed,
        real["train"] if arguments.reference == "train" else held_out,
        None,
        _section_of_score(pipe, judging, arguments.classifier_steps),
        accelerator=make_accelerator(compute) if trains or needs_space else None,
        features_file=Path(arguments.reference_features) if arguments.reference_features else None,
        score_seeds=_at_least_1("--score-seeds", arguments.score_seeds),
        quiet=arguments.quiet,
    )
    if needs_space:
        judge.space = _space(judge, judging, arguments, compute)
    return judge


def draw(pipe: "ImagePipeline", arguments: argparse.Namespace, **changes: object) -> "Samples":
    """Samples every label of a pipeline as the command line says; `changes` replace single arguments."""
    import torch

    from vqgen.data import to_tensor
    from vqgen.evaluation.judge.judge import Samples
    from vqgen.pipeline import GenerationOutput

    wanted = argparse.Namespace(**(vars(arguments) | changes))
    output = pipe(
        None,
        wanted.images_per_label,
        seed=wanted.seed,
        keep=wanted.keep,
        batch_size=wanted.batch_size,
        **sampling_options(wanted),
    )
    labels = torch.tensor([-1 if label is None else label for label in output.labels])
    codes = output.codes if isinstance(output, GenerationOutput) else None
    return Samples(torch.stack([to_tensor(image) for image in output.images]), labels, codes)


def _section_of_score(pipe: "ImagePipeline", judging: "ImagePipeline | None", steps: int | None) -> "ClassifierSection":
    """The classifiers of the score: those of the recipe of the checkpoint that judges, so that several are alike."""
    from vqgen.evaluation.judge.real_images import recipe_of

    has_recipe = judging if judging is not None and "recipe.toml" in judging.parts.texts else pipe
    section = recipe_of(has_recipe).classifier_or_default
    return section if steps is None else section.with_steps(_at_least_1("--classifier-steps", steps))


def _check_labels(pipe: "ImagePipeline", arguments: argparse.Namespace, needs_space: bool, trains: bool) -> None:
    if trains and not pipe.takes_labels and len(pipe.label_map):
        raise ConfigError(
            f"checkpoint {arguments.checkpoint}: cannot be asked for images of a label, so no classifier can be "
            "trained on its samples; leave the score out (evaluate --only ..., sweep --no-score)"
        )
    if len(pipe.label_map):
        return
    if trains:
        raise ConfigError(
            f"checkpoint {arguments.checkpoint}: has no labels, so no classifier can be trained on its samples; "
            f"leave the score out: {_without_score(arguments)}"
        )
    if needs_space and not arguments.inception_weights:
        raise ConfigError(
            f"checkpoint {arguments.checkpoint}: has no labels, so no classifier to compare features by; give "
            "--inception-weights FILE" + (f", or judge {_without_score(arguments)}" if "only" in arguments else "")
        )


def _without_score(arguments: argparse.Namespace) -> str:
    """The option that leaves the score out, in the words of the command."""
    return "--only reconstruction codes likelihood memorisation" if "only" in arguments else "--no-score"


def _space(
    judge: "Judge", judging: "ImagePipeline | None", arguments: argparse.Namespace, compute: "Compute"
) -> "FeatureSpace":
    """Inception where its weights are given; else a classifier: the one named, the checkpoint's, or one trained now."""
    from vqgen.evaluation.features import ClassifierSpace

    if arguments.inception_weights:
        from vqgen.evaluation.inception import InceptionSpace

        return InceptionSpace(Path(arguments.inception_weights), compute)
    if judging is not None:
        return _other_classifier(judge, judging, arguments.classifier, compute)
    parts = judge.pipe.parts
    if parts.classifier is not None:
        return ClassifierSpace(parts.classifier, parts.classifier_hash, compute)
    print(f"{parts.name} has no classifier; training one on {len(judge.train):,} real images", flush=True)
    return _trained_classifier(judge, compute)


def _trained_classifier(judge: "Judge", compute: "Compute") -> "FeatureSpace":
    import tempfile

    from vqgen.evaluation.features import ClassifierSpace
    from vqgen.models.checkpoint import save_model

    classifier = judge.train_classifier(judge.train.images, judge.train.labels)
    with tempfile.TemporaryDirectory() as folder:
        return ClassifierSpace(classifier, save_model(classifier, Path(folder) / "classifier"), compute)


def _other_classifier(judge: "Judge", judging: "ImagePipeline", name: str, compute: "Compute") -> "FeatureSpace":
    """The classifier of another checkpoint, so that several are judged alike."""
    from vqgen.evaluation.features import ClassifierSpace

    parts = judging.parts
    if parts.classifier is None:
        raise CheckpointError(f"--classifier {name}: has no classifier; `vqgen train-classifier` adds one to a run")
    own, found = judge.pipe.parts.data, parts.classifier.config
    wanted = (own.image_size, own.channels, judge.pipe.label_map.names)
    if (found.image_size, found.image_channels, parts.label_map.names) != wanted:
        raise CheckpointError(
            f"--classifier {name}: should be of images of {own.image_size} pixels with {own.channels} channels and the "
            f"same labels, found {found.image_size} pixels, {found.image_channels} channels, "
            f"labels {', '.join(parts.label_map.names[:4])}, ..."
        )
    return ClassifierSpace(compute.place(parts.classifier).eval(), parts.classifier_hash, compute)


def _at_least_1(option: str, found: int) -> int:
    if found < 1:
        raise ConfigError(f"{option}: should be at least 1, found {found}")
    return found
