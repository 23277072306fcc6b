"""The cost of the losses of the first stage, beside its model: the network of features, and the discriminator."""

import math
from dataclasses import dataclass

from torch import nn

from vqgen.config import AnyRecipe, BaselineRecipe, LossSettings, TrainConfig
from vqgen.models.classifiers import build_classifier
from vqgen.models.without_weights import without_weights
from vqgen.nn.patch_discriminator import NORM_GROUPS, make_discriminator
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.costs import classifier_costs, vqvae_costs
from vqgen.planning.estimates import size_of, tensors_of
from vqgen.planning.layer_costs import Cost, layer_cost

_FEATURE_PASSES = 3
"""Passes of the network of features in a step: over originals, over reconstructions, and back to their pixels."""

_DISCRIMINATOR_PASSES = 7
"""Passes of the discriminator in a step: over both kinds of images, back to the pixels of the reconstructions for the
decoder, and back to weights and features for its own loss of both kinds."""

_PENALTY_PASSES = 6
"""Passes of a step with the penalty of the gradient: forward, its gradient, and the derivative of both."""

_ALEXNET = ((3, 64, 11, 4, 2), (64, 192, 5, 1, 2), (192, 384, 3, 1, 1), (384, 256, 3, 1, 1), (256, 256, 3, 1, 1))
"""Channels in and out, kernel, stride and padding of AlexNet's convolutions; the first two follow a pooling."""

_ALEXNET_WEIGHTS = 2_469_696
"""Weights of these convolutions, and their biases."""


@dataclass(frozen=True)
class LossCosts:
    """The costs that the losses add to a stage; all are 0 for the plain loss.

    Attributes:
        step_flops: FLOPs of a training step, with the adversary.
        total_flops: FLOPs of the whole training, with its validations.
        numbers: Floats that a training step holds.
        tensors: Weight tensors of the discriminator.
    """

    step_flops: int = 0
    total_flops: int = 0
    numbers: int = 0
    tensors: int = 0


def loss_costs(recipe: AnyRecipe, train: TrainConfig, steps: int | None, validated: int) -> LossCosts:
    """Counts the losses of the first stage of a recipe.

    Args:
        recipe: The recipe.
        train: The training of the stage.
        steps: Its steps; None if their number is not known.
        validated: Images of all validations.
    """
    losses = recipe.losses
    features = feature_cost(recipe)
    held = _feature_weights(recipe)
    kept = features.kept
    step_flops = _FEATURE_PASSES * train.batch_size * features.flops
    total_flops = (steps or 0) * step_flops + 2 * validated * features.flops
    tensors = 0
    if losses.has_adversary:
        cost = discriminator_cost(losses, recipe.data.channels, recipe.data.image_size)
        network = without_weights(lambda: make_discriminator(losses, recipe.data.channels))
        penalties = _PENALTY_PASSES / losses.r1_every if losses.r1_weight else 0
        contested = math.ceil((_DISCRIMINATOR_PASSES + penalties) * train.batch_size * cost.flops)
        step_flops += contested
        total_flops += max(0, (steps or 0) - losses.start(steps or 0)) * contested
        held += 4 * size_of(network)  # weights, gradients and two moments
        kept += 2 * cost.kept
        tensors = tensors_of(network)
    numbers = held + math.ceil(train.batch_size / train.micro_batches) * kept
    return LossCosts(step_flops, total_flops, numbers, tensors)


def slowdown(recipe: AnyRecipe, train: TrainConfig) -> float:
    """Returns the operations of an average step of the first stage, as a multiple of those without other losses.

    Args:
        recipe: The recipe.
        train: The training of the stage.
    """
    if isinstance(recipe, BaselineRecipe):
        plain = baseline_costs(recipe.autoencoder_config(1)).train_flops
    else:
        plain = vqvae_costs(recipe.vqvae_config()).train_flops
    added = loss_costs(recipe, train, train.steps, 0).total_flops / train.steps
    return 1 + added / (train.batch_size * plain)


def feature_cost(recipe: AnyRecipe) -> Cost:
    """Counts a pass of the network of features over one image.

    The classifier of another checkpoint is counted as that of the recipe.
    """
    losses = recipe.losses
    if losses.perceptual == "none":
        return Cost()
    if losses.perceptual == "lpips":
        return _alexnet_cost(recipe.data.image_size)
    return classifier_costs(recipe.classifier_config(1))  # with its last layer, which is next to nothing


def _alexnet_cost(side: int) -> Cost:
    cost = Cost()
    for index, (i, o, kernel, stride, padding) in enumerate(_ALEXNET):
        if index in (1, 2):
            side = (side - 3) // 2 + 1
        before = side
        side = (side + 2 * padding - kernel) // stride + 1
        cost += layer_cost(i, o, side**2, taps=kernel**2, kept=i * before**2)
    return cost


def _feature_weights(recipe: AnyRecipe) -> int:
    if recipe.losses.perceptual == "none":
        return 0
    if recipe.losses.perceptual == "lpips":
        return _ALEXNET_WEIGHTS
    return size_of(without_weights(lambda: build_classifier(recipe.classifier_config(1))))


def discriminator_cost(losses: LossSettings, channels: int, side: int) -> Cost:
    """Counts a pass of the discriminator over one image.

    Args:
        losses: The losses, with an adversary.
        channels: Channels of the image.
        side: Side of the image, in pixels.
    """
    network = without_weights(lambda: make_discriminator(losses, channels))
    convolutions = [layer for layer in network.body if isinstance(layer, nn.Conv2d)]
    has_norm = losses.discriminator_norm == "group"
    cost = Cost()
    for index, layer in enumerate(convolutions):
        before = side
        side = side // 2 if layer.stride == (2, 2) else side
        i, o = layer.in_channels, layer.out_channels
        cost += layer_cost(i, o, side**2, taps=math.prod(layer.kernel_size), kept=i * before**2)
        if layer is not convolutions[-1]:
            # The activation keeps its input. A norm before it keeps its own, and two numbers for each group.
            normed = o * side**2 + 2 * NORM_GROUPS if has_norm and index else 0
            cost += Cost(kept=o * side**2 + normed)
    return cost
