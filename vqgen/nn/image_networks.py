"""The encoder and the decoder of the baselines, which map between an image and one vector.

Legend: `b` batch, `c` channels, `H W` image, `d` dimensions of the latent vector, `o` outputs of the encoder.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import AutoencoderConfig
from vqgen.nn.resizing import decoder_network, encoder_network


class ImageEncoder(nn.Module):
    """An encoder that turns an image, and its label for a conditioned model, into a vector.

        image --> halved to a small grid --+--> hidden layer --> vector
        label as a one-hot vector ---------+

    Args:
        config: Sizes of all layers.
        outputs: Elements of the vector.
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
        """Encodes images.

        Args:
            images: Pixels in [-1, 1].
            labels: Label indices. -1 means no label.
        """
        features = self.body(images).flatten(1)
        return self.output(F.relu(self.hidden(with_labels(features, labels, self.num_classes))))


class ImageDecoder(nn.Module):
    """A decoder that turns a latent vector, and a label for a conditioned model, into an image.

    Args:
        config: Sizes of all layers.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.num_classes = config.label_features
        self.grid = config.grid
        self.hidden = nn.Linear(config.latent_size + self.num_classes, config.hidden)
        self.features = nn.Linear(config.hidden, config.channels * config.grid**2)
        residual = (config.residual_channels, config.residual_layers)
        c = config.channels
        self.body = decoder_network(c, c, config.image_channels, config.downsample, *residual)

    def forward(self, latents: Float[Tensor, "b d"], labels: Int64[Tensor, " b"]) -> Float[Tensor, "b c H W"]:
        """Decodes latents to pixels, which are not bounded.

        Args:
            latents: One vector per image.
            labels: Label indices. -1 means no label.
        """
        hidden = F.relu(self.hidden(with_labels(latents, labels, self.num_classes)))
        return self.body(F.relu(self.features(hidden)).unflatten(1, (-1, self.grid, self.grid)))


def with_labels(
    vectors: Float[Tensor, "b n"], labels: Int64[Tensor, " b"], num_classes: int
) -> Float[Tensor, "b n_and_classes"]:
    """Appends the label of each vector, one-hot. Label -1 appends only zeros.

    Args:
        vectors: One vector per image.
        labels: Label indices in [-1, num_classes).
        num_classes: Number of labels. 0 appends nothing, for a model without labels.
    """
    if not num_classes:
        return vectors
    # One column more, for -1, which is then cut off: `one_hot` refuses negative indices.
    chosen = F.one_hot(labels + 1, num_classes + 1)[:, 1:]
    return torch.cat([vectors, chosen.to(vectors.dtype)], dim=1)
