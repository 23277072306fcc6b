"""Classification accuracy score: can a classifier that has seen nothing but samples name real images?"""

import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from jaxtyping import Int64, UInt8
from torch import Tensor

from vqgen.compute import Compute
from vqgen.config import ClassifierConfig, ClassifierSection, DataConfig
from vqgen.data import ImageSet, TrainingOrder
from vqgen.evaluation.distribution import check_count
from vqgen.evaluation.training import as_image_set, train_on
from vqgen.models.image_classifier import ImageClassifier
from vqgen.objective import Session
from vqgen.randomness import derive_seed


class AccuracyScorer:
    """Trains one and the same classifier on sets of images, and tests it on real ones.

    The weights after the last step are kept: none are chosen by the test images.

    Args:
        config: The classifier.
        section: How to train it.
        data: The images' transform and augmentation.
        test: Real images to name.
        accelerator: The process that trains.
        compute: Number format of the computation.
        seed: Seed of weights, order and augmentation, the same for every set.

    Source: Ravuri and Vinyals 2019, arXiv 1905.10887; VQ-VAE-2, arXiv 1906.00446, section 4.2.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        section: ClassifierSection,
        data: DataConfig,
        test: ImageSet,
        accelerator: Accelerator,
        compute: Compute,
        seed: int,
    ) -> None:
        self.config, self.data, self.test = config, data, test
        self.accelerator, self.compute, self.seed = accelerator, compute, seed
        steps = section.train.steps
        train = section.train.model_copy(
            update={"validate_every": steps, "save_every": steps, "epochs": None, "patience": 0, "tracker": "none"}
        )
        self.section = section.model_copy(update={"train": train})

    def train(
        self, images: UInt8[Tensor, "n c H W"], labels: Int64[Tensor, " n"], *, quiet: bool = True
    ) -> ImageClassifier:
        """Trains the classifier on `images`; its accuracy on the test images is their score.

        Args:
            images: Images to train on.
            labels: Their labels.
            quiet: Show no progress bar.

        Raises:
            DataError: There is no image.
        """
        check_count("classification accuracy score", len(images), 1)
        train = self.section.train
        order = TrainingOrder(
            len(images), train.batch_size, derive_seed(self.seed, "score"), train.steps * train.batch_size
        )
        with tempfile.TemporaryDirectory() as folder:
            session = Session(
                stage="score",
                seed=self.seed,
                accelerator=self.accelerator,
                folder=Path(folder),
                double=self.compute.dtype == "float64",
                quiet=quiet,
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
