"""The classification accuracy score: the accuracy on real images of a classifier that was trained on samples only.

Legend: `n` images to train on, `m` test images, `c` channels, `H W` image.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.config import ClassifierConfig, ClassifierSection, DataConfig
from vqgen.data import TrainingOrder
from vqgen.evaluation.distribution import check_count, spread
from vqgen.evaluation.features import ClassifierSpace, halves
from vqgen.evaluation.metric import Metric, difference, metrics_with_floor
from vqgen.evaluation.scores import accuracy
from vqgen.models.image_classifier import ImageClassifier
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.training.classifier import as_image_set, train_on
from vqgen.training.objective import Session

ImagesOfSeed = Callable[[int], tuple[UInt8[Tensor, "n c H W"], Int64[Tensor, " n"]]]
"""A function from the seed of a classifier to its training images and their labels."""


class AccuracyScorer:
    """Trains classifiers of one kind on sets of images, and tests them on real images.

    It takes the weights after the last step: the test images choose nothing.

    Args:
        config: The classifier.
        section: The settings of its training.
        data: The transform and augmentation of the images.
        test_images: Real images to classify.
        test_labels: Their labels.
        accelerator: The process that trains.
        compute: Device and dtype.
        seed: Seed of weights, order and augmentation, the same for every set.
        num_seeds: Classifiers to train on each set, with the seeds `seed`, `seed` + 1, ...; the score is their mean.
        quiet: Show no progress bars.

    Source: Ravuri and Vinyals 2019, arXiv 1905.10887; VQ-VAE-2, arXiv 1906.00446, section 4.2.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        section: ClassifierSection,
        data: DataConfig,
        test_images: UInt8[Tensor, "m c H W"],
        test_labels: Int64[Tensor, " m"],
        accelerator: Accelerator,
        compute: Compute,
        seed: int,
        *,
        num_seeds: int = 1,
        quiet: bool = True,
    ) -> None:
        self.config = config
        self.data = data
        self.test_images = test_images
        self.test_labels = test_labels
        self.test = as_image_set(test_images, test_labels)
        self.accelerator = accelerator
        self.compute = compute
        self.quiet = quiet
        self.seed = seed
        self.seeds = range(seed, seed + num_seeds)
        # The loop keeps the best weights of all validations. With a single one, after the last step, it has no choice.
        steps = section.train.steps
        train = section.train.model_copy(
            update={"validate_every": steps, "save_every": steps, "epochs": None, "patience": 0, "tracker": "none"}
        )
        self.section = section.model_copy(update={"train": train})

    def metrics(self, name: str, shown: ImagesOfSeed, split: str) -> list[Metric]:
        """Computes the classification accuracy score of a set of images: the share of test images classified right.

        Args:
            name: Name of the metric; its deviation over several seeds is called `NAME_deviation`.
            shown: A function from a seed to the training images of the classifier of this seed, and their labels.
            split: Name of the split of the test images.

        Raises:
            DataError: There is no image.
        """
        trained_on = 0
        predictions = []
        for seed in self.seeds:
            images, labels = shown(seed)
            classifier = self.train(images, labels, seed=seed)
            predictions.append(ClassifierSpace(classifier, "", self.compute)(self.test_images).log_probabilities)
            trained_on = len(images)  # the same for every seed

        # The noise floor halves the test images only, so it needs no further training.
        def score(chosen: Tensor) -> dict[str, float]:
            found = spread([accuracy(each[chosen], self.test_labels[chosen]) for each in predictions])
            deviation = {f"{name}_deviation": found.deviation} if len(predictions) > 1 else {}
            return {name: found.mean} | deviation

        several = f", {len(predictions)} seeds" if len(predictions) > 1 else ""
        return metrics_with_floor(
            "accuracy score",
            f"{self.section.train.steps} steps{several}",
            {"trained on": trained_on, split: len(self.test_labels)},
            score(torch.arange(len(self.test_labels))),
            lambda: difference(score, halves(len(self.test_labels), self.seed)),
        )

    def train(
        self, images: UInt8[Tensor, "n c H W"], labels: Int64[Tensor, " n"], *, seed: int | None = None
    ) -> ImageClassifier:
        """Trains a classifier on `images` and nothing else.

        Args:
            images: Images to train on.
            labels: Their labels.
            seed: Seed of the classifier; None for the scorer's own.

        Raises:
            DataError: There is no image.
        """
        check_count("classification accuracy score", len(images), 1)
        train = self.section.train
        seed = self.seed if seed is None else seed
        order = TrainingOrder(len(images), train.batch_size, derive_seed(seed, "score"), train.steps * train.batch_size)
        # The trainer writes checkpoints, which nobody needs after the score.
        with tempfile.TemporaryDirectory() as folder:
            session = Session(
                stage="score",
                seed=seed,
                accelerator=self.accelerator,
                folder=Path(folder),
                double=self.compute.dtype == "float64",
                quiet=self.quiet,
            )
            model, _ = train_on(
                as_image_set(images, labels),
                self.test,
                self.config,
                self.section,
                self.data,
                order,
                session,
                self.compute,
            )
        return self.compute.place(model).eval()


def as_many_per_label(labels: Int64[Tensor, " n"], wanted: Int64[Tensor, " m"], seed: int) -> Int64[Tensor, " chosen"]:
    """Chooses images at random, of each label as many as `wanted` has, or all if there are fewer.

    Args:
        labels: Labels of the images to choose from.
        wanted: Labels whose counts decide; -1 is ignored.
        seed: Seed of the choice.

    Returns:
        Indices into `labels`, in ascending order.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed(seed, "subset")))
    counts = wanted[wanted >= 0].bincount(minlength=1)
    # One permutation serves all labels: the images of a label stand in it in random order.
    chosen = [order[labels[order] == label][: int(count)] for label, count in enumerate(counts.tolist()) if count]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)
