"""How many steps a stage takes, and which images each step sees."""

import math

from vqgen.config import PriorSettings, TrainConfig
from vqgen.data import TrainingOrder
from vqgen.runtime.randomness import derive_seed


def training_order(train: TrainConfig, num_images: int, seed: int, world_size: int) -> TrainingOrder:
    """The order of a stage's training images.

    With `epochs` the last batch holds what is left; what would leave a process without an image is left out.

    Args:
        train: Steps or epochs, and the batch size.
        num_images: Training images.
        seed: The stage's seed.
        world_size: Processes that share each batch.
    """
    total = train.steps * train.batch_size
    if train.epochs is not None:
        total = math.ceil(train.epochs * num_images)
        rest = total % train.batch_size
        if total > rest and rest < world_size:
            total -= rest
    return TrainingOrder(num_images, train.batch_size, derive_seed(seed, "order"), max(total, world_size))


def input_dropout_steps(config: PriorSettings, num_steps: int) -> int:
    """Counts the steps of a prior's training, the first ones, that drop codes from its input."""
    return math.ceil(config.input_dropout_share * num_steps)


def guide_step(guide_share: float, num_steps: int) -> int | None:
    """After how many steps of a prior's training its weights are kept as its guide; None for no guide."""
    return math.ceil(guide_share * num_steps) if guide_share else None


def contrasted_steps(config: PriorSettings, num_steps: int) -> int:
    """How many steps of a prior's training, the last ones, tell the labels of images from wrong ones."""
    return math.ceil(config.label_contrast_share * num_steps) if config.label_contrast else 0
