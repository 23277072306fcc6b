"""The costs of the networks of a VQ-VAE, by its architecture; see `vqgen.planning.costs`.

The classes follow `vqgen.models.vqvae_networks`. Levels count from 0, coarse to fine.

Legend: `c` channels, `n` positions of a grid. A `factor` is the side of the image divided by the side of a grid.
"""

from abc import ABC, abstractmethod
from itertools import accumulate, pairwise

from vqgen.config import VQVAEConfig
from vqgen.planning.layer_costs import Cost, decoder_cost, encoder_cost, layer_cost, upsampler_cost


class NetworkCosts(ABC):
    """Counts a forward pass of each network.

    Args:
        config: The VQ-VAE.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        self.config = config
        self.grids = [(config.image_size // factor) ** 2 for factor in config.downsample]
        self.mapped = list(accumulate(config.latent_dims))
        """Channels of each level's decoder input: the maps of all levels up to it."""

    @abstractmethod
    def encoder(self, index: int) -> Cost:
        """Counts the encoder of a level."""

    @abstractmethod
    def expander(self, index: int) -> Cost:
        """Counts the expander of a level."""

    @abstractmethod
    def upsampler(self, index: int) -> Cost:
        """Counts the upsampler of a level."""

    @abstractmethod
    def decoder(self) -> Cost:
        """Counts the decoder."""

    def to_latents(self, index: int) -> Cost:
        """Counts the layer before the quantizer of a level."""
        channels = self.config.channels_of(self.config.downsample[index])
        return layer_cost(channels if index == 0 else 2 * channels, self.config.latent_dims[index], self.grids[index])

    def finer(self, index: int) -> int:
        """Returns the factor of the next finer grid; 1 for the image."""
        return [*self.config.downsample, 1][index + 1]


class PaperCosts(NetworkCosts):
    """Counts the networks of the paper."""

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__(config)
        self._ratios = [coarse // fine for coarse, fine in pairwise([*config.downsample, 1])]

    def encoder(self, index: int) -> Cost:
        """Counts the encoder of a level."""
        is_finest = index == len(self.grids) - 1
        inputs = self.config.image_channels if is_finest else self.config.channels
        return encoder_cost(self.config, inputs, self.grids[index], self._ratios[index])

    def expander(self, index: int) -> Cost:
        """Counts the expander of a level."""
        return self._decoder(index, self.config.channels)

    def upsampler(self, index: int) -> Cost:
        """Counts the upsampler of a level."""
        mapped = self.mapped[index]
        widths = (mapped, self.config.channels, mapped)
        return upsampler_cost(*widths, self.grids[index], self._ratios[index], self.config.upsampling)

    def decoder(self) -> Cost:
        """Counts the decoder."""
        return self._decoder(len(self.grids) - 1, self.config.image_channels)

    def _decoder(self, index: int, outputs: int) -> Cost:
        grids = (self.grids[index], self._ratios[index])
        return decoder_cost(self.config, self.mapped[index], outputs, *grids, self.config.upsampling)


class ResidualCosts(NetworkCosts):
    """Counts networks of pre-activation residual blocks."""

    def encoder(self, index: int) -> Cost:
        """Counts the encoder of a level."""
        factor = self.finer(index)
        channels = self.config.image_channels if factor == 1 else self.config.channels_of(factor)
        cost = Cost()
        while factor < self.config.downsample[index]:
            inputs = channels * self._positions(factor)
            if factor > self.finer(index):
                cost += Cost(kept=inputs)  # by SiLU
            factor *= 2
            following = self.config.channels_of(factor)
            cost += layer_cost(channels, following, self._positions(factor), taps=16, kept=inputs)
            channels = following
        return cost + self._blocks(factor, self.config.residual_layers) + _activation(channels, self._positions(factor))

    def expander(self, index: int) -> Cost:
        """Counts the expander of a level."""
        return self._growing(index, self.config.channels_of(self.finer(index)), self.config.residual_layers)

    def upsampler(self, index: int) -> Cost:
        """Counts the upsampler of a level."""
        return self._growing(index, self.mapped[index], layers=0)

    def decoder(self) -> Cost:
        """Counts the decoder."""
        return self._growing(len(self.grids) - 1, self.config.image_channels, self.config.residual_layers)

    def _growing(self, index: int, outputs: int, layers: int) -> Cost:
        factor = self.config.downsample[index]
        channels = self.config.channels_of(factor)
        cost = layer_cost(self.mapped[index], channels, self.grids[index], taps=9) + self._blocks(factor, layers)
        cost += Cost(kept=(channels + 2) * self.grids[index])  # by the norm
        while factor > self.finer(index):
            n = self._positions(factor)
            factor //= 2
            following = outputs if factor == self.finer(index) else self.config.channels_of(factor)
            cost += Cost(kept=channels * n)  # by SiLU
            cost += upsampler_cost(channels, 0, following, n, 2, self.config.upsampling)
            channels = following
        return cost

    def _positions(self, factor: int) -> int:
        return (self.config.image_size // factor) ** 2

    def _blocks(self, factor: int, layers: int) -> Cost:
        n = self._positions(factor)
        c = self.config.channels_of(factor)
        inner = self.config.residual_channels_of(factor)
        block = _activation(c, n) + layer_cost(c, inner, n, taps=9)
        block += _activation(inner, n) + layer_cost(inner, c, n, taps=9)
        has_attention = self.config.attention_heads and factor == self.config.downsample[0]
        return block * layers + (self._attention(c, n) if has_attention else Cost())

    def _attention(self, c: int, n: int) -> Cost:
        # As in a prior: two products among all pairs; the fused kernel keeps queries, keys, values and one normaliser
        # for each head and position.
        products = Cost(2 * 2 * c * n * n, kept=(3 * c + self.config.attention_heads) * n)
        return Cost(kept=(c + 2) * n) + layer_cost(c, 3 * c, n) + products + layer_cost(c, c, n)


def network_costs(config: VQVAEConfig) -> NetworkCosts:
    """Returns the costs of a VQ-VAE's networks."""
    return (PaperCosts if config.architecture == "paper" else ResidualCosts)(config)


def _activation(c: int, n: int) -> Cost:
    """Counts a norm and SiLU: the norm keeps its input, its mean and its deviation, and SiLU the output of the norm."""
    return Cost(kept=(2 * c + 2) * n)


def analysis_cost(config: VQVAEConfig) -> Cost:
    """Counts the shortcuts from the image to the latents of all levels; nothing if there are none."""
    if not config.shortcuts:
        return Cost()
    pixels = config.image_channels * config.image_size**2
    cost = Cost()
    for index, d in enumerate(config.latent_dims):
        cost += Cost(flops=2 * d * pixels)
        if index:
            # What the coarser maps draw is computed again for each level, and what is left of the image is kept.
            cost += Cost(flops=synthesis_cost(config, index).flops, kept=pixels)
    return cost


def synthesis_cost(config: VQVAEConfig, levels: int) -> Cost:
    """Counts the shortcuts from the maps of the first levels to the image; nothing if there are none."""
    if not config.shortcuts:
        return Cost()
    pixels = config.image_channels * config.image_size**2
    return Cost(flops=sum(2 * d * pixels for d in config.latent_dims[:levels]))
