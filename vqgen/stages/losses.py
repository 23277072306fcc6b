"""The losses of the first stage of a run: their inputs, the checks before anything trains, and their parts."""

import torch

from vqgen.config import BaselineRecipe
from vqgen.errors import ConfigError, DataError
from vqgen.models.checkpoint import load_model
from vqgen.models.classifiers import CLASSIFIERS
from vqgen.models.lpips import lpips_network
from vqgen.runtime.randomness import derive_seed
from vqgen.stages.bookkeeping import require_stage
from vqgen.stages.context import RunContext
from vqgen.stages.feature_source import lpips_file, outside_classifier, outside_inputs
from vqgen.stages.records import StageRecord
from vqgen.training.adversary import Adversary
from vqgen.training.image_losses import ImageLosses
from vqgen.training.perceptual import ClassifierDistance, LPIPSDistance, PerceptualDistance
from vqgen.training.schedule import training_order


def loss_inputs(context: RunContext) -> dict[str, str]:
    """Returns the inputs of the first stage beside its images: name -> SHA-256 of the network of a perceptual loss.

    Raises:
        CheckpointError: The classifier of the run is needed and not complete, or a checkpoint has none.
        ConfigError: The weights of LPIPS are not on this machine.
    """
    if context.recipe.losses.uses_own_classifier:
        return {"classifier": require_stage(context, "classifier").output}
    return outside_inputs(context)


def check_losses(context: RunContext) -> None:
    """Refuses losses of the first stage that cannot be computed. The main process calls it before anything trains.

    Raises:
        ConfigError: The adversary would start after the end or needs another dtype, or a network does not fit.
        CheckpointError: A network of features is missing or damaged.
        DataError: The classifier of the run has no labels to learn.
    """
    losses = context.recipe.losses
    path = f"{context.first_stage}.losses"
    if losses.has_adversary:
        _check_adversary(context, path)
    if losses.uses_own_classifier and not len(context.images.label_map):
        raise DataError(
            f'{path}.perceptual: "classifier" needs images with labels for the classifier of the run, found none; name '
            f"another one with --{path}.classifier CHECKPOINT, or compare the features of LPIPS"
        )
    if losses.perceptual == "lpips":
        lpips_network(lpips_file(losses, context.first_stage))
    elif losses.classifier is not None:
        outside_classifier(context)


def _check_adversary(context: RunContext, path: str) -> None:
    if context.compute.dtype == "float16":
        raise ConfigError(
            f"dtype: should be bfloat16, float32 or float64 with {path}.adversarial, whose two gradients would need a "
            "scale each, found float16"
        )
    train = context.recipe.trainings[0]
    num_steps = training_order(train, len(context.images.train), 0, context.world_size).num_steps
    start = context.recipe.losses.start(num_steps)
    if start >= num_steps:
        raise ConfigError(
            f"{path}.adversarial_start: should be below the {num_steps:,} steps of the training, or the discriminator "
            f"would start after the end, found {start:,}"
        )


def first_steps(context: RunContext, record: StageRecord) -> int | None:
    """Returns the steps of the first stage before it got more of them; None if it has those with which it began.

    They bound the steps without quantization, and those without an adversary that starts in the middle. A longer
    training would otherwise stop to quantize, or lose its adversary, in its middle.
    """
    if record.first_length is None:
        return None
    train = record.first_length.applied(context.recipe.trainings[0])
    # The seed of the order does not matter here.
    return training_order(train, len(context.images.train), context.recipe.seed, context.world_size).num_steps


def build_losses(context: RunContext, num_steps: int) -> ImageLosses | None:
    """Builds the losses of the first stage, with the same first weights in every process.

    Args:
        context: The run.
        num_steps: Steps of the training, as it began.

    Returns:
        The losses; None for the squared difference of pixels alone, or a model's own likelihood alone.

    Raises:
        CheckpointError: A network of features is missing or damaged.
        ConfigError: The weights of LPIPS are not on this machine.
    """
    recipe = context.recipe
    losses = recipe.losses
    if losses.is_plain:
        return None
    adversary = None
    if losses.has_adversary:
        torch.manual_seed(derive_seed(recipe.seed, context.first_stage, "discriminator"))
        adversary = Adversary(losses, recipe.data.channels)
    has_likelihood = isinstance(recipe, BaselineRecipe) and recipe.autoencoder.kind != "autoencoder"
    start = losses.start(num_steps)
    return ImageLosses(losses, _perceptual(context), adversary, start=start, with_pixels=not has_likelihood)


def _perceptual(context: RunContext) -> PerceptualDistance | None:
    losses = context.recipe.losses
    if losses.perceptual == "none":
        return None
    if losses.perceptual == "lpips":
        return LPIPSDistance(lpips_network(lpips_file(losses, context.first_stage)))
    if losses.classifier is not None:
        return ClassifierDistance(outside_classifier(context))
    kind = CLASSIFIERS[context.recipe.classifier_or_default.kind]
    return ClassifierDistance(load_model(context.folder / "classifier" / "model", kind))
