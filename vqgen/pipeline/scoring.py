"""The score by which samples are chosen: p(label | image) by the classifier of real images.

Legend: `b` images, `c` channels, `H W` image.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from vqgen.data import model_pixels
from vqgen.models.image_classifier import ImageClassifier
from vqgen.pipeline.request import labels_as_tensor
from vqgen.runtime.compute import Compute
from vqgen.sampling.rejection import label_probability

_IMAGES_AT_A_TIME = 100
"""Images that the classifier sees at a time."""


@torch.no_grad()
def score_images(
    classifier: ImageClassifier, images: UInt8[Tensor, "b c H W"], labels: Sequence[int | None], compute: Compute
) -> Float64[Tensor, " b"]:
    """Computes p(label | image). The label of an image without one is its likeliest label.

    Args:
        classifier: The classifier, in evaluation mode, on the device of `compute`.
        images: The images, on the CPU.
        labels: Index of each image's label; None for an image without one.
        compute: Device and dtype.

    Returns:
        The probabilities, on the CPU.
    """
    logits = []
    for batch in images.split(_IMAGES_AT_A_TIME):
        with compute.autocast():
            # In float64, so that the order of two images hardly depends on rounding.
            logits.append(classifier(model_pixels(batch, compute.device, compute.float_dtype)).double().cpu())
    return label_probability(torch.cat(logits).log_softmax(dim=1), labels_as_tensor(labels))
