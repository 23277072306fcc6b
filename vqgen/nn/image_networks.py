"""Between an image and one vector: the encoder and the decoder of the baselines.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `o` outputs of the encoder.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.nn.resizing import decoder_network, encoder_network


class ImageEncoder(nn.Module):
    """Turns an image, and its label where that is told, into a vector.

        image --> halved to a small grid --+--> hidden layer --> vector
        label, one of all -----------------+

    Args:
        config: Sizes of everything.
        outputs: Numbers to return for each image.
    """

    def __init__(self, config: AutoencoderConfig, outputs: int) -> None:
        super().__init__()
        self.num_classes = config.label_features
        residual = (config.residual_channels, config.residual_layers)
        self.body = encoder_network(config.image_channels, config.channels, config.downsample, *residual)
        features = config.channels * config.grid**2
        self.hidden = nn.Linear(features + self.num_classes, config.hidden)
        self.output = nn.Linear(config.hidden, outputs)

    def forward(self, images: Float[Tensor, "b c H W"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b o"]:
        """Encodes images with pixels in [-1, 1]; label -1 is none."""
        features = self.body(images).flatten(1)
        return self.output(F.relu(self.hidden(with_labels(features, labels, self.num_classes))))


class ImageDecoder(nn.Module):
    """Turns a latent vector, and a label where that is told, into an image; its numbers are not bounded.

    Args:
        config: Sizes of everything.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.num_classes, self.grid = config.label_features, config.grid
        self.hidden = nn.Linear(config.latent_size + self.num_classes, config.hidden)
        self.features = nn.Linear(config.hidden, config.channels * config.grid**2)
        residual = (config.residual_channels, config.residual_layers)
        c = config.channels
        self.body = decoder_network(c, c, config.image_channels, config.downsample, *residual)

    def forward(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Decodes latents; label -1 is none."""
        hidden = F.relu(self.hidden(with_labels(latents, labels, self.num_classes)))
        return self.body(F.relu(self.features(hidden)).unflatten(1, (-1, self.grid, self.grid)))


def with_labels(
    vectors: Float[Tensor, "b n"], labels: Int64[Tensor, " b"], num_classes: int
) -> Float[Tensor, "b n_and_classes"]:
    """Appends 1 for an image's label and 0 for the others; for label -1 only zeros."""
    if not num_classes:
        return vectors
    chosen = F.one_hot(labels + 1, num_classes + 1)[:, 1:]
    return torch.cat([vectors, chosen.to(vectors.dtype)], dim=1)
