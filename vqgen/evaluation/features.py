"""Features: a network's view of images, as points of a space where two sets of images can be compared.

Legend: `n` images, `d` dimensions of the space, `y` labels, `c H W` image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from vqgen.data import model_pixels
from vqgen.errors import DataError
from vqgen.models.image_classifier import ImageClassifier
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed

_BATCH_SIZE = 100


@dataclass(frozen=True)
class Features:
    """Images as points of a space.

    Attributes:
        values: One row for each image.
        space: Name of the space: the network and the hash of its weights. Distances across spaces have no meaning.
        log_probabilities: The network's log p(label | image), one row for each image.
    """

    values: Float64[Tensor, "n d"]
    space: str
    log_probabilities: Float64[Tensor, "n y"]

    def __len__(self) -> int:
        return len(self.values)

    def subset(self, indices: Int64[Tensor, " chosen"]) -> "Features":
        """Returns the features of the images at `indices`."""
        return Features(self.values[indices], self.space, self.log_probabilities[indices])


@runtime_checkable
class FeatureSpace(Protocol):
    """A network that turns images into features."""

    @property
    def name(self) -> str:
        """The name of the space, with the hash of the network's weights."""
        ...

    @property
    def dtype(self) -> str:
        """The dtype of the network's computation."""
        ...

    def __call__(self, images: UInt8[Tensor, "n c H W"]) -> Features:
        """Computes the features of images, on the CPU."""
        ...


class ClassifierSpace:
    """The space of the penultimate layer of one of our own classifiers.

    It is computed in float64 or else in float32, never in bfloat16 or float16.

    Args:
        classifier: The network, in evaluation mode, on the device of `compute`.
        sha256: Hash of its weights.
        compute: Device and dtype.
    """

    def __init__(self, classifier: ImageClassifier, sha256: str, compute: Compute) -> None:
        self.classifier = classifier
        self.compute = compute
        # Not the dtype of `compute`: a measuring instrument is not rounded to 8 bits. In bfloat16 labels share logits,
        # and rounding moves images into and out of the balls of precision and recall.
        self.dtype = str(compute.float_dtype).removeprefix("torch.")
        self.name = f"classifier {sha256[:12]}"

    def __call__(self, images: UInt8[Tensor, "n c H W"]) -> Features:
        """Computes the features of images, on the CPU."""

        def evaluate(batch: Tensor) -> tuple[Tensor, Tensor]:
            pixels = model_pixels(batch, self.compute.device, self.compute.float_dtype)
            # Not `forward`, which returns no features. This way the body runs once for both results.
            features = self.classifier.features(pixels)
            return features, self.classifier.head(features)

        return features_of(images, evaluate, self.name)


@torch.no_grad()
def features_of(
    images: UInt8[Tensor, "n c H W"], evaluate: Callable[[Tensor], tuple[Tensor, Tensor]], space: str
) -> Features:
    """Runs a network over images, batch by batch.

    Args:
        images: The images.
        evaluate: A function of a batch that returns its features and the logits of its labels.
        space: Name of the space.
    """
    results = [evaluate(batch) for batch in images.split(_BATCH_SIZE)]
    # Metrics subtract large sums of features: they need float64, whatever the dtype of the network.
    values, logits = (torch.cat([part.double().cpu() for part in parts]) for parts in zip(*results, strict=True))
    return Features(values, space, logits.log_softmax(dim=1))


def check_same_space(one: Features, other: Features) -> None:
    """Refuses features that cannot be compared.

    Raises:
        DataError: They are from different spaces.
    """
    if one.space != other.space:
        raise DataError(
            f"features: should be of one space, found {one.space!r} and {other.space!r}; "
            "compute both with the same network and weights"
        )


def halves(count: int, seed: int) -> tuple[Int64[Tensor, " half"], Int64[Tensor, " half"]]:
    """Splits `count` images at random into two halves of equal size, the basis of every noise floor.

    Both halves come from one distribution. A distance between them, or a difference between their metrics, is only
    noise: it shows the smallest value that still means something.

    Args:
        count: Number of images; if it is odd, one image is left out.
        seed: Seed of the split.

    Returns:
        The indices of each half.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(derive_seed(seed, "halves")))
    # Equally large, because many metrics depend on the number of images.
    return order[: count // 2], order[count // 2 : 2 * (count // 2)]
