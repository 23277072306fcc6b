"""The training of a classifier on labelled images of any kind: real images, reconstructions or samples.

Legend: `b` batch, `c` channels, `H W` image.
"""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from vqgen.config import ClassifierConfig, ClassifierSection, DataConfig
from vqgen.data import (
    ArrayReader,
    ImageSet,
    TrainingOrder,
    model_pixels,
    training_batches,
)
from vqgen.models.classifiers import build_classifier
from vqgen.models.image_classifier import ImageClassifier
from vqgen.runtime.collective import all_reduce_sum
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.training.image_objective import ImageObjective
from vqgen.training.objective import Session
from vqgen.training.trainer import Trainer


class ClassifierObjective(ImageObjective):
    """The cross-entropy of a classifier's labels."""

    model: ImageClassifier
    monitor = "cross_entropy"
    validation_batch = 100

    def forward(self, images: Tensor, labels: Tensor, positions: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the mean cross-entropy of one micro-batch of uint8 images, in nats."""
        logits = self.model(self._pixels(images)).float()
        return F.cross_entropy(logits, labels), {"accuracy": (logits.argmax(dim=1) == labels).float().mean()}

    def validate(self) -> dict[str, float]:
        """Computes cross-entropy in nats and accuracy over the whole validation set."""
        device = self.model.head.weight.device
        # Sums and a count, not means: shares of processes, and last batches, differ in size.
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for batch in self._batches():
            labels = batch.labels.to(device)
            with self._compute.autocast():
                logits = self.model(self._pixels(batch.images))
            entropy = F.cross_entropy(logits.double(), labels, reduction="sum")
            right = (logits.argmax(dim=1) == labels).sum()
            sums += torch.stack([entropy, right.double(), entropy.new_tensor(float(len(labels)))])
        entropy, right, count = all_reduce_sum(sums).tolist()
        return {"cross_entropy": entropy / count, "accuracy": right / count}

    def _pixels(self, images: Tensor) -> Tensor:
        weight = self.model.head.weight
        return model_pixels(images, weight.device, weight.dtype)


def train_on(
    train: ImageSet,
    validation: ImageSet,
    config: ClassifierConfig,
    section: ClassifierSection,
    data: DataConfig,
    order: TrainingOrder,
    session: Session,
    compute: Compute,
) -> tuple[ImageClassifier, dict[str, float]]:
    """Trains a classifier on labelled images.

    Args:
        train: Images to train on; `order` was made for their number.
        validation: Images that choose the best weights.
        config: The classifier.
        section: The settings of its training.
        data: The transform and augmentation of the images.
        order: The images of each step.
        session: Processes, seed and folder.
        compute: Device and dtype of the computation.

    Returns:
        The classifier with its best weights, and the metrics of the validation that chose them.
    """
    seed = derive_seed(session.seed, session.stage)
    rank = session.accelerator.process_index
    world_size = session.accelerator.num_processes
    batches = training_batches(train, data, order, augment=section.augment, rank=rank, world_size=world_size, seed=seed)
    torch.manual_seed(derive_seed(seed, "init"))  # the same weights in every process
    objective = ClassifierObjective(build_classifier(config), validation, data, compute, rank, world_size)
    metrics = Trainer(objective, batches, section.train, order.num_steps, session).train()
    return objective.model, metrics


def as_image_set(images: UInt8[Tensor, "b c H W"], labels: Tensor) -> ImageSet:
    """Wraps labelled images in memory as a set to train on. A transform to their own size leaves them unchanged."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    names = tuple(f"{index:06d}" for index in range(len(images)))
    return ImageSet(names, labels.numpy(), ArrayReader(pixels[..., 0] if pixels.shape[-1] == 1 else pixels))
