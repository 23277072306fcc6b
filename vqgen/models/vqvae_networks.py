"""The networks of a VQ-VAE, by its architecture: see `VQVAE` for their places."""

from abc import ABC, abstractmethod
from itertools import accumulate, pairwise

from torch import nn

from vqgen.config import VQVAEConfig
from vqgen.nn.residual_networks import growing_network, shrinking_network
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler


class VQVAENetworks(ABC):
    """Builds the networks, level by level. Levels count from 0, coarse to fine.

    Args:
        config: The VQ-VAE.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        self.config = config

    @abstractmethod
    def encoder(self, index: int) -> nn.Module:
        """Builds the encoder of a level, from the features of the next finer level; the finest one sees the image."""

    @abstractmethod
    def expander(self, index: int) -> nn.Module:
        """Builds the network from a level's decoder input to features of the next finer grid."""

    @abstractmethod
    def upsampler(self, index: int) -> nn.Module:
        """Builds the network from a level's decoder input to the same on the next finer grid."""

    @abstractmethod
    def decoder(self) -> nn.Module:
        """Builds the network from the decoder input of the finest level to the image."""

    def to_latents(self, index: int) -> nn.Module:
        """Builds the layer from a level's features to its latents."""
        channels = self.config.channels_of(self.config.downsample[index])
        # The coarsest level has its own features alone. Below it, those of the expander stand beside them.
        return nn.Conv2d(channels if index == 0 else 2 * channels, self.config.latent_dims[index], kernel_size=1)

    def finer(self, index: int) -> int:
        """Returns the downsampling of the next finer grid; 1 for the image."""
        return [*self.config.downsample, 1][index + 1]

    def mapped(self, index: int) -> int:
        """Returns the channels of a level's decoder input: it holds the maps of this level and of all coarser ones."""
        return list(accumulate(self.config.latent_dims))[index]


class PaperNetworks(VQVAENetworks):
    """Builds the networks of the paper: ReLU, no norms, residual blocks of a 3 x 3 and a 1 x 1 convolution.

    Source: arXiv 1906.00446, section 3.1. Deviation: the expanders.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config)
        self._ratios = [coarse // fine for coarse, fine in pairwise([*config.downsample, 1])]
        self._residual = (config.residual_channels, config.residual_layers)

    def encoder(self, index: int) -> nn.Module:
        """Builds an encoder: see the base."""
        c = self.config.channels
        inputs = self.config.image_channels if index == len(self._ratios) - 1 else c
        return encoder_network(inputs, c, self._ratios[index], *self._residual)

    def expander(self, index: int) -> nn.Module:
        """Builds an expander: see the base."""
        return self._decoder(index, self.config.channels)

    def upsampler(self, index: int) -> nn.Module:
        """Builds an upsampler: see the base."""
        mapped = self.mapped(index)
        return upsampler(mapped, self.config.channels, mapped, self._ratios[index], self.config.upsampling)

    def decoder(self) -> nn.Module:
        """Builds the decoder: see the base."""
        return self._decoder(len(self._ratios) - 1, self.config.image_channels)

    def _decoder(self, index: int, outputs: int) -> nn.Module:
        widths = (self.mapped(index), self.config.channels, outputs)
        return decoder_network(*widths, self._ratios[index], *self._residual, self.config.upsampling)


class ResidualNetworks(VQVAENetworks):
    """Builds networks of pre-activation residual blocks: see `vqgen.nn.residual_networks`."""

    def encoder(self, index: int) -> nn.Module:
        """Builds an encoder: see the base."""
        return shrinking_network(self.config, self.finer(index), self.config.downsample[index])

    def expander(self, index: int) -> nn.Module:
        """Builds an expander: see the base."""
        return self._growing(index, self.config.channels_of(self.finer(index)))

    def upsampler(self, index: int) -> nn.Module:
        """Builds an upsampler: see the base. As in the paper it has no residual blocks."""
        return self._growing(index, self.mapped(index), layers=0)

    def decoder(self) -> nn.Module:
        """Builds the decoder: see the base."""
        return self._growing(len(self.config.downsample) - 1, self.config.image_channels)

    def _growing(self, index: int, outputs: int, *, layers: int | None = None) -> nn.Module:
        grids = (self.config.downsample[index], self.finer(index))
        return growing_network(self.config, self.mapped(index), outputs, *grids, layers=layers)


def networks_of(config: VQVAEConfig) -> VQVAENetworks:
    """Returns the builder of a VQ-VAE's networks."""
    return (PaperNetworks if config.architecture == "paper" else ResidualNetworks)(config)
