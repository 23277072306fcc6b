"""The residual classifier: a small network that labels images.

Its features also measure the distance between samples and real images.

Legend: `b` batch, `c` channels, `H W` image, `h w` grid of a stage, `i o` channels in and out of a block,
`d` dimensions of the features.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import ClassifierConfig
from vqgen.models.image_classifier import ImageClassifier

LARGEST_GRID = 32
"""Largest side of the first stage's grid. Larger images are halved before it."""

_GROUPS = 8
"""Groups of each norm; they divide the channels of every stage."""


class Classifier(ImageClassifier):
    """Labels images with residual stages and a mean over the grid.

        image --> stem --> stage --> stage --> stage --> mean over the grid --> features --> dropout --> logits

    Each stage after the first has half the grid and twice the channels of the one before. The norm is a group norm, not
    a batch norm: the features of an image do not depend on the other images of the batch, and several processes need to
    agree on gradients only.

    Args:
        config: Sizes of the layers.

    Source: residual blocks in their pre-activation form, He et al. 2016, arXiv 1603.05027; group norm, Wu and He 2018,
    arXiv 1803.08494.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        stem: list[nn.Module] = []
        side = config.image_size
        channels = config.image_channels
        while side > LARGEST_GRID:
            # At stride 2 a kernel of 4 covers inner pixels equally often; one of 3 would favour every second row.
            stem += [nn.Conv2d(channels, config.channels, kernel_size=4, stride=2, padding=1), nn.ReLU()]
            side //= 2
            channels = config.channels
        stem.append(nn.Conv2d(channels, config.channels, kernel_size=3, padding=1))
        widths = [config.channels, *(config.channels * 2**stage for stage in range(config.stages))]
        blocks = [
            PreActivationBlock(
                in_channels=widths[stage] if block == 0 else widths[stage + 1],
                channels=widths[stage + 1],
                # The first stage keeps the grid: the stem has brought it to a size that the network can afford.
                stride=2 if stage > 0 and block == 0 else 1,
            )
            for stage in range(config.stages)
            for block in range(config.blocks)
        ]
        self.body = nn.Sequential(*stem, *blocks, nn.GroupNorm(_GROUPS, widths[-1]), nn.ReLU())
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(widths[-1], config.num_classes)

    def features(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d"]:
        """Computes the mean of the last stage over the grid, for images with pixels in [-1, 1]."""
        return self.body(images).mean(dim=(2, 3))

    def feature_maps(self, images: Float[Tensor, "b c H W"]) -> list[Float[Tensor, "b _c _h _w"]]:
        """Returns the output of every halving, of every block but the last one, and of the last activation."""
        maps: list[Tensor] = []
        for part in self.body:
            images = part(images)
            if isinstance(part, (nn.ReLU, PreActivationBlock)):
                maps.append(images)
        del maps[-2]  # of the last block: the norm and the activation after it change neither grid nor channels
        return maps


class PreActivationBlock(nn.Module):
    """Adds two convolutions to its input, each after a norm and a ReLU.

    If the shape changes, the input is projected by a 1 x 1 convolution before the sum.

    Args:
        in_channels: Channels of the input, a multiple of 8.
        channels: Channels of the output, a multiple of 8.
        stride: 1, or 2 to halve the grid.
    """

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first_norm = nn.GroupNorm(_GROUPS, in_channels)
        self.first = nn.Conv2d(in_channels, channels, kernel_size=3, stride=stride, padding=1)
        self.second_norm = nn.GroupNorm(_GROUPS, channels)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        is_changed = stride > 1 or in_channels != channels
        self.shortcut = nn.Conv2d(in_channels, channels, kernel_size=1, stride=stride) if is_changed else nn.Identity()

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _h _w"]:
        """Computes shortcut(x) + conv(relu(norm(conv(relu(norm(x))))))."""
        active = F.relu(self.first_norm(features))
        # The shortcut starts at the raw input: no activation stands in the way of its gradient.
        return self.shortcut(features) + self.second(F.relu(self.second_norm(self.first(active))))
