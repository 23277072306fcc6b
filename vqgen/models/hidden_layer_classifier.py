"""The smallest classifier: one hidden layer over the pixels, with dropout.

Legend: `b` batch, `c` channels, `H W` image, `d` units of the hidden layer.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import ClassifierConfig
from vqgen.models.image_classifier import ImageClassifier


class HiddenLayerClassifier(ImageClassifier):
    """Labels images with one hidden layer.

        pixels --> hidden layer --> features --> dropout --> logits

    Args:
        config: Sizes of the layers.

    Source: dropout, Srivastava et al. 2014, Journal of Machine Learning Research 15.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(config.image_channels * config.image_size**2, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden, config.num_classes)

    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Computes the units of the hidden layer for images with pixels in [-1, 1]."""
        return F.relu(self.hidden(images.flatten(1)))

    def feature_maps(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Returns the hidden layer, which is the only depth, as a grid of one position."""
        return [self.features(images)[:, :, None, None]]
