"""What all classifiers are: features of an image, dropout, and a last layer that names it.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the features, `y` labels.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from vqgen.config import ClassifierConfig


class ImageClassifier(nn.Module, ABC):
    """Names images.

    Attributes:
        config: Sizes of everything.
        dropout: Between features and last layer.
        head: The last layer.
    """

    config: ClassifierConfig
    dropout: nn.Dropout
    head: nn.Linear

    @abstractmethod
    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Computes the penultimate layer of images with pixels in [-1, 1]."""

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b y"]:
        """Computes the logits of every label for images with pixels in [-1, 1]."""
        return self.head(self.dropout(self.features(images)))
