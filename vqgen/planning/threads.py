"""The threads of each stage on a CPU, from its recipe alone: see `vqgen.runtime.threads`."""

from collections.abc import Callable
from typing import cast

from torch import nn

from vqgen.config import AnyRecipe, BaselineRecipe, Level, Recipe, TrainConfig
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.models.without_weights import without_weights
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.costs import classifier_costs, prior_costs, sampling_steps, vqvae_costs
from vqgen.runtime.threads import layers_of, threads_for_work

EXTRACTION_BATCH = 64
"""Images that the extraction of codes encodes at a time."""

_LABELS = 1
"""Labels of the models that are counted here: their number hardly changes the work."""


def stage_threads(recipe: AnyRecipe, stage: str) -> int:
    """Returns the threads of a stage: the number in the recipe, or as many as the work of the stage can use.

    Args:
        recipe: The recipe.
        stage: Name of the stage.

    Returns:
        At least 1; at most the threads that torch has now, unless the recipe asks for more.
    """
    if recipe.threads is not None:
        return recipe.threads
    flops, layers = _pass_of(recipe, stage)
    # A multiplication and an addition are two FLOPs.
    return threads_for_work(flops / 2 / max(1, layers))


def _pass_of(recipe: AnyRecipe, stage: str) -> tuple[float, int]:
    """Returns the FLOPs of a forward pass over a batch, and the layers that share them."""
    if stage == "classifier":
        config = recipe.classifier_config(_LABELS)
        train = recipe.classifier_or_default.train
        return _batch(train) * classifier_costs(config).flops, _layers(lambda: build_classifier(config))
    if isinstance(recipe, BaselineRecipe):
        config = recipe.autoencoder_config(_LABELS)
        layers = _layers(lambda: build_baseline(config))
        costs = baseline_costs(config)
        if stage == "samples":
            return recipe.generate.batch_size * costs.decoder.flops, layers
        return _batch(recipe.autoencoder.train) * costs.total.flops, layers
    if stage in ("vqvae", "codes"):
        config = recipe.vqvae_config()
        costs = vqvae_costs(config)
        layers = _layers(lambda: VQVAE(config))
        if stage == "codes":
            return EXTRACTION_BATCH * costs.encode.flops, layers
        return _batch(recipe.vqvae.train) * costs.total.flops, layers
    if stage == "samples":
        return max((_sampling_step(recipe, level) for level in recipe.levels), key=lambda each: each[0] / each[1])
    level = cast(Level, stage.removeprefix("prior-"))
    config = recipe.prior_config(level, _LABELS)
    return _batch(recipe.prior(level).train) * prior_costs(config).total.flops, _layers(lambda: PixelCNN(config))


def _sampling_step(recipe: Recipe, level: Level) -> tuple[float, int]:
    """Returns the FLOPs of an average step of the order, and the layers that share them."""
    config = recipe.prior_config(level, _LABELS)
    flops = recipe.generate.batch_size * prior_costs(config).total.flops / sampling_steps(config)
    return flops, _layers(lambda: PixelCNN(config))


def _batch(train: TrainConfig) -> float:
    return train.batch_size / train.micro_batches


def _layers(build: Callable[[], nn.Module]) -> int:
    return layers_of(without_weights(build))
