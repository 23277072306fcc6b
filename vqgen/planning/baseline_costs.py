"""The cost of a baseline, from its configuration alone; see `vqgen.planning.costs`."""

from dataclasses import dataclass

from vqgen.config import AutoencoderConfig
from vqgen.planning.layer_costs import BACKWARD, Cost, decoder_cost, encoder_cost, layer_cost


@dataclass(frozen=True)
class BaselineCosts:
    """The cost of a forward pass of a baseline, by its parts.

    Attributes:
        encoder: From the image to the parameters of its latents.
        decoder: From one vector of latents to the image, and the loss.
        draws: Vectors of latents that a training step decodes for each image.
    """

    encoder: Cost
    decoder: Cost
    draws: int

    @property
    def total(self) -> Cost:
        """The cost of the whole forward pass of a training step."""
        return self.encoder + self.decoder * self.draws

    @property
    def train_flops(self) -> int:
        """FLOPs of a training step for each image, forward and backward."""
        return (1 + BACKWARD) * self.total.flops


def baseline_costs(config: AutoencoderConfig) -> BaselineCosts:
    """Counts a forward pass of a baseline."""
    labels = config.label_features
    hidden = config.hidden
    n = config.grid**2
    features = config.channels * n
    outputs = config.latent_size * (2 if config.kind == "vae" else 1)  # a VAE has a mean and a variance
    encoder = encoder_cost(config, config.image_channels, n, config.downsample)
    encoder += layer_cost(features + labels, hidden, 1) + layer_cost(hidden, outputs, 1)
    decoder = layer_cost(config.latent_size + labels, hidden, 1) + layer_cost(hidden, features, 1)
    decoder += decoder_cost(config, config.channels, config.image_channels, n, config.downsample)
    # The loss keeps the decoder's output. A variational model also has a copy of the image for each draw.
    kept = config.image_channels * config.image_size**2 * (1 if config.kind == "autoencoder" else 2)
    return BaselineCosts(encoder, decoder + Cost(kept=kept), config.monte_carlo_samples)
