"""Perceptual losses: differences of the features that a frozen network has of two images.

Legend: `b` batch, `c` channels, `H W` image, `h w` grid of a depth.
Source: LPIPS, Zhang et al. 2018, arXiv 1801.03924, equation 1.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vqgen.models.image_classifier import ImageClassifier

_TINY = 1e-8
"""Added to the squared length of features, as torchmetrics does: features of length zero stay zero."""


class PerceptualDistance(nn.Module):
    """The difference of two images in a frozen network. Gradients reach the images only.

    A subclass defines `features` and, if they have weights, `combined`.
    """

    def features(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Computes the features of several depths."""
        raise TypeError(f"{type(self).__name__} should define features")

    def combined(self, differences: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, ""]:
        """Returns the mean over depths and positions of the sum over channels."""
        return torch.stack([each.sum(dim=1).mean() for each in differences]).mean()

    def forward(self, reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Float[Tensor, ""]:
        """Computes the mean difference over the images: squared, between features of length 1 at each position.

        Args:
            reconstruction: Pixels in about [-1, 1].
            images: The originals, in [-1, 1]. They get no gradient.
        """
        with torch.no_grad():
            wanted = [_unit(each) for each in self.features(images)]
        found = [_unit(each) for each in self.features(reconstruction)]
        return self.combined([(one - other).square() for one, other in zip(found, wanted, strict=True)])

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stays in evaluation mode, in which no feature is dropped."""
        return super().train(False)


class ClassifierDistance(PerceptualDistance):
    """The difference of the features of a classifier, at all of its depths.

    All depths and channels have the same weight. LPIPS fits weights to judgements of people, which need a data set.

    Args:
        classifier: The classifier. Its weights are frozen.
    """

    def __init__(self, classifier: ImageClassifier) -> None:
        super().__init__()
        self.network = classifier.requires_grad_(False)
        self.train()

    def features(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Computes the features of all depths of the classifier."""
        return self.network.feature_maps(images)


class LPIPSDistance(PerceptualDistance):
    """LPIPS. Its parts are torchmetrics'; features are compared in float32 under autocast, too.

    Args:
        network: From `lpips_network`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.train()

    def features(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Computes the features of AlexNet; a grey image has the same value in all three colours."""
        colours = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return list(self.network.net(self.network.scaling_layer(colours)))

    def combined(self, differences: list[Float[Tensor, "b _c _h _w"]]) -> Float[Tensor, ""]:
        """Returns the sum over depths of the mean over positions of the weighted sum over channels."""
        # The last part is the convolution; a dropout before it has no effect in evaluation mode.
        weights = [layer.model[-1].weight.flatten() for layer in self.network.lins]
        pairs = zip(differences, weights, strict=True)
        return torch.stack([(each * weight[:, None, None]).sum(dim=1).mean() for each, weight in pairs]).sum()


def _unit(features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Scales the features of each position to length 1."""
    # Differences of nearly equal features would be rounding errors in bfloat16, whose steps are 2^-8.
    features = features.float() if features.element_size() < 4 else features
    return features * (features.square().sum(dim=1, keepdim=True) + _TINY).rsqrt()
