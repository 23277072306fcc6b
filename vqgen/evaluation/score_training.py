"""The training of one classifier of the accuracy score, in this process or in a process of its own.

Legend: `n` images to train on, `m` test images, `c` channels, `H W` image.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.config import ClassifierConfig, ClassifierSection, DataConfig
from vqgen.data import TrainingOrder
from vqgen.evaluation.enough import check_count
from vqgen.evaluation.features import ClassifierSpace
from vqgen.models.image_classifier import ImageClassifier
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.threads import exact_threads
from vqgen.storage.tensors import load_tensors, save_tensors

_THREADS = 1
"""Threads of a training. Rounding depends on them, so a training is the same in this process and in another one."""


@dataclass(frozen=True)
class LabelledImages:
    """Images in memory, each with its label.

    Attributes:
        images: The images.
        labels: Their labels.
    """

    images: UInt8[Tensor, "n c H W"]
    labels: Int64[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.images)

    def labelled(self) -> "LabelledImages":
        """Returns the images that have a label."""
        known = self.labels >= 0
        return self if bool(known.all()) else LabelledImages(self.images[known], self.labels[known])

    def save(self, path: Path) -> None:
        """Writes the images to a safetensors file; errors as in `save_tensors`."""
        save_tensors(path, {"images": self.images, "labels": self.labels})

    @staticmethod
    def load(path: Path) -> "LabelledImages":
        """Reads a file of `save`; errors as in `load_tensors`."""
        tensors, _ = load_tensors(path)
        return LabelledImages(tensors["images"], tensors["labels"])


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """The classifiers of the accuracy score, and their training.

    Attributes:
        classifier: The classifier.
        section: The settings of its training.
        data: The transform and augmentation of the images.
        compute: Device and dtype.
        seed: Seed of weights, order and augmentation, the same for every set of images.
        num_seeds: Classifiers to train on each set, with the seeds `seed`, `seed` + 1, ...; the score is their mean.
        quiet: Show no progress bars.
    """

    classifier: ClassifierConfig
    section: ClassifierSection
    data: DataConfig
    compute: Compute
    seed: int
    num_seeds: int = 1
    quiet: bool = True

    @property
    def seeds(self) -> range:
        """The seeds of the classifiers of each set."""
        return range(self.seed, self.seed + self.num_seeds)

    def section_without_choice(self, num_steps: int) -> ClassifierSection:
        """Returns settings of a training that takes the weights after the last step: the test images choose nothing.

        Args:
            num_steps: Steps of the training.
        """
        # The loop keeps the best weights of all validations. With a single one, after the last step, it has no choice.
        train = self.section.train.model_copy(
            update={"validate_every": num_steps, "save_every": num_steps, "patience": 0, "tracker": "none"}
        )
        return self.section.model_copy(update={"train": train})


@dataclass(frozen=True)
class StoredTraining:
    """A training whose images lie in files, so that it can be sent to another process.

    Attributes:
        config: The classifier and its training.
        train: File of the images to train on.
        test: File of the test images.
        seed: Seed of the classifier.
    """

    config: ScoreConfig
    train: Path
    test: Path
    seed: int


def predict_stored(training: StoredTraining) -> Int64[Tensor, " m"]:
    """Trains a classifier and returns the labels that it gives to the test images, as `predict`."""
    images = LabelledImages.load(training.train)
    test = LabelledImages.load(training.test)
    return predict(training.config, images, test, training.seed, training.train.parent)


def predict(
    config: ScoreConfig, train: LabelledImages, test: LabelledImages, seed: int, scratch: Path | None = None
) -> Int64[Tensor, " m"]:
    """Trains a classifier and returns the labels that it gives to the test images; as `train_classifier`."""
    classifier = train_classifier(config, train, test, seed, scratch)
    with exact_threads(_THREADS):
        return ClassifierSpace(classifier, "", config.compute)(test.images).log_probabilities.argmax(dim=1)


def train_classifier(
    config: ScoreConfig, train: LabelledImages, test: LabelledImages, seed: int, scratch: Path | None = None
) -> ImageClassifier:
    """Trains a classifier on `train` and nothing else, in one thread of torch.

    Epochs of the recipe are passes over `train`, as in every other training.

    Args:
        config: The classifier and its training.
        train: Images to train on.
        test: Images to validate on after the last step.
        seed: Seed of the classifier.
        scratch: Folder for temporary files; None for the system's.

    Raises:
        DataError: There is no image.
    """
    # Imported here, because a judge whose trainings run in processes of their own trains nothing itself, and Accelerate
    # takes seconds to load.
    from vqgen.runtime.processes import make_accelerator
    from vqgen.training.classifier import as_image_set, train_on
    from vqgen.training.objective import Session
    from vqgen.training.schedule import total_images

    check_count("classification accuracy score", len(train), 1)
    # The trainer writes checkpoints, which nobody needs after the score.
    # Accelerate moves to "cuda" without a number.
    with config.compute.as_current(), exact_threads(_THREADS), tempfile.TemporaryDirectory(dir=scratch) as folder:
        session = Session(
            stage="score",
            seed=seed,
            accelerator=make_accelerator(config.compute),
            folder=Path(folder),
            double=config.compute.dtype == "float64",
            quiet=config.quiet,
        )
        images = as_image_set(train.images, train.labels)
        of_test = as_image_set(test.images, test.labels)
        length = total_images(config.section.train, len(train), session.accelerator.num_processes)
        order = TrainingOrder(len(train), config.section.train.batch_size, derive_seed(seed, "score"), length)
        section = config.section_without_choice(order.num_steps)
        model, _ = train_on(images, of_test, config.classifier, section, config.data, order, session, config.compute)
    return config.compute.place(model).eval()
