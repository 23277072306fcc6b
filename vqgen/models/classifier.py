"""The classifier: a small residual network that names images, and whose features tell samples from real ones.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the features, `y` labels.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import ClassifierConfig
from vqgen.models.image_classifier import ImageClassifier

LARGEST_GRID = 32
"""Side of the first stage, at most: larger images are halved before it."""

_GROUPS = 8


class Classifier(ImageClassifier):
    """Names images: residual stages, each of half the grid and twice the channels, then the mean over the grid.

        image --> stem --> stage --> stage --> stage --> mean over the grid --> features --> dropout --> logits

    Group norm, not batch norm: an image's features do not depend on the images beside it, and several processes need
    not agree on anything but gradients.

    Args:
        config: Sizes of everything.

    Source: residual blocks in their pre-activation form, He et al. 2016, arXiv 1603.05027; group norm, Wu and He 2018,
    arXiv 1803.08494.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        stem: list[nn.Module] = []
        side, channels = config.image_size, config.image_channels
        while side > LARGEST_GRID:
            stem += [nn.Conv2d(channels, config.channels, kernel_size=4, stride=2, padding=1), nn.ReLU()]
            side, channels = side // 2, config.channels
        stem.append(nn.Conv2d(channels, config.channels, kernel_size=3, padding=1))
        widths = [config.channels, *(config.channels * 2**stage for stage in range(config.stages))]
        blocks = [
            PreActivationBlock(widths[stage] if block == 0 else widths[stage + 1], widths[stage + 1], stride)
            for stage in range(config.stages)
            for block in range(config.blocks)
            for stride in [2 if stage and block == 0 else 1]
        ]
        self.body = nn.Sequential(*stem, *blocks, nn.GroupNorm(_GROUPS, widths[-1]), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(widths[-1], config.num_classes)

    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Computes the penultimate layer of images with pixels in [-1, 1]."""
        return self.body(images).mean(dim=(2, 3))


class PreActivationBlock(nn.Module):
    """Adds two convolutions to its input, each after norm and ReLU; the input is projected where its shape changes.

    Args:
        in_channels: Channels of the input, a multiple of 8.
        channels: Channels of the output, a multiple of 8.
        stride: 2 halves the grid.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(_GROUPS, in_channels)
        self.first = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1)
        self.second_norm = nn.GroupNorm(_GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        is_changed = stride > 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride) if is_changed else nn.Identity()

    def forward(self, features: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Applies the block."""
        active = F.relu(self.first_norm(features))
        return self.shortcut(features) + self.second(F.relu(self.second_norm(self.first(active))))
