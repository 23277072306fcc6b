"""Classification accuracy score: can a classifier that has seen nothing but samples name real images?"""

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
"""Seed of a classifier -> the images that it is shown, and their labels."""


class AccuracyScorer:
    """Trains one and the same kind of classifier on sets of images, and tests it on real ones.

    The weights after the last step are kept: none are chosen by the test images.

    Args:
        config: The classifier.
        section: How to train it.
        data: The images' transform and augmentation.
        test_images: Real images to name.
        test_labels: Their labels.
        accelerator: The process that trains.
        compute: Number format of the computation.
        seed: Seed of weights, order and augmentation, the same for every set.
        num_seeds: How many classifiers to train on a set, with the seeds from `seed` on; its score is their mean.
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
        self.config, self.data = config, data
        self.test_images, self.test_labels = test_images, test_labels
        self.test = as_image_set(test_images, test_labels)
        self.accelerator, self.compute, self.quiet = accelerator, compute, quiet
        self.seed, self.seeds = seed, range(seed, seed + num_seeds)
        steps = section.train.steps
        train = section.train.model_copy(
            update={"validate_every": steps, "save_every": steps, "epochs": None, "patience": 0, "tracker": "none"}
        )
        self.section = section.model_copy(update={"train": train})

    def metrics(self, name: str, shown: ImagesOfSeed, split: str) -> list[Metric]:
        """The classification accuracy score of a set of images: the share of the test images named right.

        Args:
            name: What the metric is called; the deviation over several seeds is `NAME_deviation`.
            shown: Seed -> images to train the classifier of this seed on, and their labels.
            split: What the test images are called.

        Raises:
            DataError: There is no image.
        """
        trained_on, named = 0, []
        for seed in self.seeds:
            images, labels = shown(seed)
            classifier = self.train(images, labels, seed=seed)
            named.append(ClassifierSpace(classifier, "", self.compute)(self.test_images).log_probabilities)
            trained_on = len(images)  # the same for every seed

        def score(chosen: Tensor) -> dict[str, float]:
            found = spread([accuracy(each[chosen], self.test_labels[chosen]) for each in named])
            deviation = {f"{name}_deviation": found.deviation} if len(named) > 1 else {}
            return {name: found.mean} | deviation

        several = f", {len(named)} seeds" if len(named) > 1 else ""
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
            seed: Seed of the classifier; None is that of the scorer.

        Raises:
            DataError: There is no image.
        """
        check_count("classification accuracy score", len(images), 1)
        train, seed = self.section.train, self.seed if seed is None else seed
        order = TrainingOrder(len(images), train.batch_size, derive_seed(seed, "score"), train.steps * train.batch_size)
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
                self.test,  # looked at once, after the last step: nothing is chosen by it
                self.config,
                self.section,
                self.data,
                order,
                session,
                self.compute,
            )
        return self.compute.place(model).eval()


def as_many_per_label(labels: Int64[Tensor, " n"], wanted: Int64[Tensor, " m"], seed: int) -> Int64[Tensor, " chosen"]:
    """Chooses at random as many images of each label as `wanted` has, or all where there are fewer.

    Returns:
        Indices into `labels`, in rising order.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(derive_seed(seed, "subset")))
    counts = wanted[wanted >= 0].bincount(minlength=1)
    chosen = [order[labels[order] == label][: int(count)] for label, count in enumerate(counts.tolist()) if count]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)
