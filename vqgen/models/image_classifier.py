"""The interface of all classifiers: features of an image, dropout, and a last layer that labels it.

Legend: `b` batch, `c` channels, `H W` image, `h w` grid of a depth, `d` dimensions of the features, `y` labels.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.config import ClassifierConfig


class ImageClassifier(nn.Module, ABC):
    """Labels images.

    Attributes:
        config: Kind and sizes of the layers.
        dropout: Dropout between the features and the last layer.
        head: The last layer: from the features to the logits.
    """

    config: ClassifierConfig
    dropout: nn.Dropout
    head: nn.Linear

    @abstractmethod
    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Computes the features of images with pixels in [-1, 1]: the layer before the last one."""

    @abstractmethod
    def feature_maps(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Computes the features of several depths, from the image to the last layer, for pixels in [-1, 1]."""

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b y"]:
        """Computes the logits of all labels for images with pixels in [-1, 1]."""
        return self.head(self.dropout(self.features(images)))
