"""What a baseline costs, from its configuration alone; see `vqgen.planning.costs`."""

from dataclasses import dataclass

from vqgen.config import AutoencoderConfig
from vqgen.planning.costs import BACKWARD, Cost, decoder_cost, encoder_cost, layer_cost


@dataclass(frozen=True)
class BaselineCosts:
    """A forward pass of a baseline, by its parts.

    Attributes:
        encoder: From the image to the parameters of its latents.
        decoder: From latents to the image, and the loss.
        draws: Latents that a training step decodes for each image.
    """

    encoder: Cost
    decoder: Cost
    draws: int

    @property
    def total(self) -> Cost:
        """The whole pass of a training step."""
        return self.encoder + self.decoder * self.draws

    @property
    def train_flops(self) -> int:
        """Operations of a training step, forward and backward."""
        return (1 + BACKWARD) * self.total.flops


def baseline_costs(config: AutoencoderConfig) -> BaselineCosts:
    """Counts a forward pass of a baseline."""
    classes, hidden, n = config.label_features, config.hidden, config.grid**2
    features, outputs = config.channels * n, config.latent_size * (2 if config.kind == "vae" else 1)
    encoder = encoder_cost(config, config.image_channels, n, config.downsample)
    encoder += layer_cost(features + classes, hidden, 1) + layer_cost(hidden, outputs, 1)
    decoder = layer_cost(config.latent_size + classes, hidden, 1) + layer_cost(hidden, features, 1)
    decoder += decoder_cost(config, config.channels, config.image_channels, n, config.downsample)
    # the loss keeps its output and, of several draws, the image again beside each
    kept = config.image_channels * config.image_size**2 * (1 if config.kind == "autoencoder" else 2)
    return BaselineCosts(encoder, decoder + Cost(kept=kept), config.monte_carlo_samples)
