"""Small sets of images and classifiers, for tests of the accuracy score."""

import torch
from torch import Tensor

from vqgen.config import ClassifierSection, DataConfig, TrainConfig
from vqgen.evaluation.score_training import LabelledImages, ScoreConfig, StoredTraining, train_classifier
from vqgen.runtime.compute import Compute

DATA = DataConfig(source="digits", image_size=8, channels=1)
SECTION = ClassifierSection(
    channels=8, stages=2, train=TrainConfig(steps=40, batch_size=16, learning_rate=5e-3, patience=1, validate_every=1)
)


def score_config(**changes) -> ScoreConfig:
    """Returns classifiers of two labels that learn `stripes` in 40 steps. Given fields replace their own."""
    settings = {
        "classifier": SECTION.config(DATA, 2), "section": SECTION, "data": DATA, "compute": Compute.resolve("cpu"),
        "seed": 0,
    }  # fmt: skip
    return ScoreConfig(**(settings | changes))


def stripes(b: int) -> LabelledImages:
    """Returns noisy pictures, bright above for label 0 and below for label 1."""
    labels = torch.arange(b) % 2
    images = torch.randint(100, (b, 1, 8, 8), dtype=torch.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 150
    return LabelledImages(images, labels)


def weights(shown: LabelledImages, test: LabelledImages, seed: int = 0) -> dict[str, Tensor]:
    """Returns the weights of a classifier that was trained on images."""
    return train_classifier(score_config(), shown, test, seed).state_dict()


def stored_weights(training: StoredTraining) -> dict[str, Tensor]:
    """Returns the weights of a classifier that was trained on images in files, for a process of its own."""
    return weights(LabelledImages.load(training.train), LabelledImages.load(training.test), training.seed)
