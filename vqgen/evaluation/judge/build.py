"""The construction of a judge for a pipeline: its real images, its space of features, the classifiers of its score."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vqgen.arguments import as_count, as_seed
from vqgen.config import ClassifierSection
from vqgen.errors import CheckpointError, ConfigError
from vqgen.evaluation.accuracy_score import AccuracyScorer
from vqgen.evaluation.features import ClassifierSpace, FeatureSpace
from vqgen.evaluation.judge.judge import Judge
from vqgen.evaluation.judge.real_images import RealImages, feature_origin, open_real_images, recipe_of
from vqgen.evaluation.score_training import LabelledImages, ScoreConfig, train_classifier
from vqgen.evaluation.stored_features import check_stored_features
from vqgen.models.checkpoint import save_model
from vqgen.pipeline import open_pipeline
from vqgen.pipeline.base import AnyPipeline
from vqgen.runtime.launch import join_processes


@dataclass(frozen=True)
class JudgeOptions:
    """The options of a judgement, which all commands that judge share.

    Attributes:
        data_root: Folder of the real images; None for the folder in the recipe.
        real_images: Real images of a split to read, at most, at least 1.
        reference: The real images whose distribution samples should have.
        inception_weights: File of the published weights of Inception; None compares features of a classifier.
        classifier: Checkpoint whose classifier judges; None for the pipeline's own.
        reference_features: File where the features of the reference images are stored; None computes them.
        classifier_steps: Training steps of the classifiers of the score, at least 1; None for those of the recipe.
        score_seeds: Classifiers to train for each accuracy score, at least 1.
        seed: Seed of halves, choices and classifiers.
        quiet: Show no progress bars.
    """

    data_root: str | None = None
    real_images: int = 60_000
    reference: Literal["held-out", "train"] = "held-out"
    inception_weights: Path | None = None
    classifier: str | None = None
    reference_features: Path | None = None
    classifier_steps: int | None = None
    score_seeds: int = 1
    seed: int = 0
    quiet: bool = False


OF_SPACE = ("distribution", "classifier-metrics")
"""The groups of metrics that compare features."""


def groups_without_labels(pipe: AnyPipeline, *, has_inception: bool) -> dict[str, str]:
    """Returns each group of metrics that images without labels lack -> the reason; empty for a model with labels.

    Args:
        pipe: The pipeline to judge.
        has_inception: True if the user gives the weights of Inception, whose features need no labels.
    """
    if len(pipe.label_map):
        return {}
    reasons = {"score": "the images have no labels, so no classifier can be trained on samples"}
    if not has_inception:
        text = "the images have no labels, so there is no classifier whose features could be compared; "
        reasons |= dict.fromkeys(OF_SPACE, text + "--inception-weights FILE names a network")
    return reasons


def build_judge(
    pipe: AnyPipeline,
    checkpoint: str,
    options: JudgeOptions,
    *,
    needs_space: bool,
    needs_score: bool,
    without_score: str,
) -> Judge:
    """Builds a judge, complete before the first sample is drawn.

    Args:
        pipe: The pipeline to judge.
        checkpoint: Its name, for messages.
        options: The options of the judgement.
        needs_space: True if features will be compared.
        needs_score: True if classifiers will be trained for the classification accuracy score.
        without_score: The command's options that leave out the metrics that need labels, for messages.

    Raises:
        ConfigError: A metric needs labels and the model has none, or a number is out of its range.
        CheckpointError: A checkpoint cannot be used.
        DataError: The real images are missing, or are not those of the training.
    """
    # Before the images are read, which takes long.
    score_seeds = as_count("--score-seeds", options.score_seeds)
    as_seed("--judging-seed", options.seed)
    _check_labels(pipe, checkpoint, options, needs_space, needs_score, without_score)
    real = open_real_images(pipe, options.data_root, most=options.real_images, splits=["train", "validation", "test"])
    # Validation images chose the best weights, so test images are the better judges.
    held_out = real.get("test", real["validation"])
    # On the CPU, because only its classifier will be used and moved to the device.
    judging = open_pipeline(options.classifier, device="cpu") if options.classifier else None
    section = _section_of_score(pipe, judging, options.classifier_steps)
    reference = real["train"] if options.reference == "train" else held_out
    if needs_space:
        _check_stored_features(options, reference)  # before a classifier is trained
    scorer = None
    if needs_score or needs_space:  # a space may need a classifier trained on the spot
        join_processes(str(pipe.compute.device), pipe.compute.dtype)  # a wrong launch is refused before the work
        scorer = _scorer(pipe, section, held_out, options, score_seeds)
    space = _space(pipe, judging, options, real["train"], scorer) if needs_space else None
    if space is not None:
        _check_stored_features(options, reference, space)  # before samples are drawn
    return Judge(
        pipe=pipe,
        train=real["train"],
        held_out=held_out,
        seed=options.seed,
        reference=reference,
        space=space,
        section=section,
        scorer=scorer,
        features_file=options.reference_features,
        score_seeds=score_seeds,
    )


def _scorer(
    pipe: AnyPipeline, section: ClassifierSection, held_out: RealImages, options: JudgeOptions, num_seeds: int
) -> AccuracyScorer | None:
    """Returns the trainer of the score's classifiers; None for images without labels, which teach nothing."""
    if not len(pipe.label_map):
        return None
    config = ScoreConfig(
        classifier=section.config(pipe.parts.data, len(pipe.label_map)),
        section=section,
        data=pipe.parts.data,
        compute=pipe.compute,
        seed=options.seed,
        num_seeds=num_seeds,
        quiet=options.quiet,
    )
    return AccuracyScorer(config, LabelledImages(held_out.images, held_out.labels).labelled(), held_out.split)


def _section_of_score(pipe: AnyPipeline, judging: AnyPipeline | None, steps: int | None) -> ClassifierSection:
    """Returns the classifier of the score and its training.

    They come from the recipe of the checkpoint that judges, so that several checkpoints are judged alike.
    """
    has_recipe = judging if judging is not None and "recipe.toml" in judging.parts.texts else pipe
    section = recipe_of(has_recipe).classifier_or_default
    return section if steps is None else section.with_steps(as_count("--classifier-steps", steps))


def _check_labels(
    pipe: AnyPipeline,
    checkpoint: str,
    options: JudgeOptions,
    needs_space: bool,
    needs_score: bool,
    without_score: str,
) -> None:
    """Refuses metrics that need labels if the model has none, or cannot be asked for images of a label."""
    if needs_score and not pipe.takes_labels and len(pipe.label_map):
        raise ConfigError(
            f"checkpoint {checkpoint}: cannot generate images of a given label, so no classifier can be trained on "
            "its samples; leave the score out (evaluate --only ..., sweep --no-score)"
        )
    if len(pipe.label_map):
        return
    if needs_score:
        raise ConfigError(
            f"checkpoint {checkpoint}: has no labels, so no classifier can be trained on its samples; "
            f"leave the score out: {without_score}"
        )
    if needs_space and not options.inception_weights:
        raise ConfigError(
            f"checkpoint {checkpoint}: has no labels, so there is no classifier whose features could be compared; give "
            "--inception-weights FILE" + (f", or judge {without_score}" if "only" in without_score else "")
        )


def _space(
    pipe: AnyPipeline,
    judging: AnyPipeline | None,
    options: JudgeOptions,
    train: RealImages,
    scorer: AccuracyScorer | None,
) -> FeatureSpace:
    """Returns Inception if its weights are given; else a classifier: the one named, the pipeline's, or a new one."""
    if options.inception_weights:
        from vqgen.evaluation.inception import InceptionSpace

        return InceptionSpace(options.inception_weights, pipe.compute)
    if judging is not None:
        assert options.classifier is not None
        return _other_classifier(pipe, judging, options.classifier)
    parts = pipe.parts
    if parts.classifier is not None:
        return ClassifierSpace(parts.classifier, parts.classifier_hash, pipe.compute)
    assert scorer is not None
    print(f"{parts.name} has no classifier; training one on {len(train):,} real images", flush=True)
    shown = LabelledImages(train.images, train.labels).labelled()
    classifier = train_classifier(scorer.config, shown, scorer.test if len(scorer.test) else shown, options.seed)
    # It is saved only for its hash, which names the space: features from other weights are refused.
    with tempfile.TemporaryDirectory() as folder:
        return ClassifierSpace(classifier, save_model(classifier, Path(folder) / "classifier"), pipe.compute)


def _check_stored_features(options: JudgeOptions, reference: RealImages, space: FeatureSpace | None = None) -> None:
    """Refuses a file of features of other images or, once the space is known, of another space."""
    path = options.reference_features
    if path is None or not path.exists():
        return
    check_stored_features(path, feature_origin(reference, space))


def _other_classifier(pipe: AnyPipeline, judging: AnyPipeline, name: str) -> FeatureSpace:
    """Returns the space of another checkpoint's classifier, so that several checkpoints are judged alike."""
    parts = judging.parts
    if parts.classifier is None:
        raise CheckpointError(
            f"--classifier {name}: should have a classifier, found none; `vqgen train-classifier` adds one to a run"
        )
    own = pipe.parts.data
    found = parts.classifier.config
    # Names and not only their number: the metrics compare labels by index.
    sizes_differ = (found.image_size, found.image_channels) != (own.image_size, own.channels)
    if sizes_differ or not parts.label_map.is_like(pipe.label_map):
        raise CheckpointError(
            f"--classifier {name}: should judge images of {own.image_size} x {own.image_size} pixels with "
            f"{own.channels} channels and the same labels, found {found.image_size} x {found.image_size} pixels, "
            f"{found.image_channels} channels, labels {', '.join(parts.label_map.names[:4])}, ...; "
            "name a checkpoint of the same images"
        )
    return ClassifierSpace(pipe.compute.place(parts.classifier).eval(), parts.classifier_hash, pipe.compute)
