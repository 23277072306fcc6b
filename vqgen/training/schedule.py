"""The steps of a stage: their number, the images of each, and the steps at which a prior changes its training."""

import math

from vqgen.config import PriorSettings, TrainConfig
from vqgen.data import TrainingOrder
from vqgen.runtime.randomness import derive_seed


def training_order(train: TrainConfig, num_images: int, seed: int, world_size: int) -> TrainingOrder:
    """Builds the order of a stage's training images.

    Args:
        train: Steps or epochs, and the batch size.
        num_images: Number of training images.
        seed: The stage's seed.
        world_size: Number of processes that share each batch.
    """
    return TrainingOrder(
        num_images, train.batch_size, derive_seed(seed, "order"), total_images(train, num_images, world_size)
    )


def total_images(train: TrainConfig, num_images: int, world_size: int) -> int:
    """Counts the images of all steps of a training, repeated ones too.

    With `epochs` the last batch holds the remaining images, unless there are fewer of them than processes.

    Args:
        train: Steps or epochs, and the batch size.
        num_images: Number of training images.
        world_size: Number of processes that share each batch.
    """
    total = train.steps * train.batch_size
    if train.epochs is not None:
        total = math.ceil(train.epochs * num_images)
        # Every process needs an image in every step: without a backward pass it would miss the exchange of gradients.
        rest = total % train.batch_size
        if total > rest and rest < world_size:
            total -= rest
    return max(total, world_size)


def input_dropout_steps(config: PriorSettings, num_steps: int) -> int:
    """Counts the first steps of a prior's training, which drop codes from its input."""
    return math.ceil(config.input_dropout_share * num_steps)


def guide_step(guide_share: float, num_steps: int) -> int | None:
    """Counts the steps of a prior's training before its weights are kept as its guide; None without a guide."""
    return math.ceil(guide_share * num_steps) if guide_share else None


def contrasted_steps(config: PriorSettings, num_steps: int) -> int:
    """Counts the last steps of a prior's training, which contrast the labels of images with wrong labels."""
    return math.ceil(config.label_contrast_share * num_steps) if config.label_contrast else 0
