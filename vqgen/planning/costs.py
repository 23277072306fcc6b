"""The cost of a model, from its configuration alone: FLOPs, sampling steps, and the memory of a training step.

All costs are for one image. A multiplication and an addition are two FLOPs. Only matrix products are counted: norms,
activations and sums are small beside them. Memory is counted in floats of any dtype: the tensors that autograd saves
for the backward pass, as tests measure them.

Legend: `c` channels, `n` positions of a grid.
"""

from dataclasses import dataclass

import numpy as np

from vqgen.config import ClassifierConfig, PixelCNNConfig, VQVAEConfig
from vqgen.models.classifier import LARGEST_GRID
from vqgen.order import CausalOrder
from vqgen.planning.layer_costs import (
    BACKWARD,
    Cost,
    layer_cost,
    residual_stack_cost,
    total,
)
from vqgen.planning.network_costs import analysis_cost, network_costs, synthesis_cost

# the prior


@dataclass(frozen=True)
class PriorCosts:
    """The cost of a forward pass of a PixelCNN, by its parts.

    Attributes:
        convolutions: The masked convolutions, with the first one.
        gates: The rest of the gated blocks: norms, label, coarser codes, projection.
        attentions: The causal attentions, with their projections.
        output: The pointwise blocks before the logits.
        logits: The last norm, the last layer and the loss.
        condition: The stack over the coarser codes. Also a sampler computes it once per image.
    """

    convolutions: Cost
    gates: Cost
    attentions: Cost
    output: Cost
    logits: Cost
    condition: Cost

    @property
    def total(self) -> Cost:
        """The cost of the whole pass."""
        return total([self.convolutions, self.gates, self.attentions, self.output, self.logits, self.condition])


def prior_costs(config: PixelCNNConfig, *, dense: bool = False) -> PriorCosts:
    """Counts a forward pass of a PixelCNN over the whole grid.

    Args:
        config: The prior.
        dense: True counts the operations of an accelerator: whole kernels, cropped to rows and columns with an open
            tap, and attention among all positions. (On a CPU, masked convolutions multiply the open taps alone.)
            False counts the operations that the order needs: open taps and visible pairs. A cached sampler does as
            much for a whole sample, because it computes each position once in every layer.
    """
    order = _order(config)
    c = config.channels
    n = order.num_positions
    first, later = (_Kernel.of(order, config.kernel_size, strict=strict) for strict in (True, False))
    block_kernel = later.cost(order, c, 2 * c, dense=dense)
    dropped = c * n if config.dropout else 0  # dropout keeps its mask, as floats on a CPU
    # Kept besides the inputs of the layers: the input of the norm with its mean and deviation, tanh and sigmoid.
    gate = layer_cost(c, c, n) + layer_cost(c, 2 * c, 1, kept=0) + Cost(kept=(3 * c + 2) * n + dropped)
    if config.is_conditioned:
        gate += layer_cost(c, 2 * c, n, kept=0)  # all blocks read the same condition; its stack counts it
    return PriorCosts(
        convolutions=first.cost(order, c, c, dense=dense) + block_kernel * config.layers,
        gates=gate * config.layers,
        attentions=_attention(config, order, dense=dense) * attention_count(config),
        output=_pointwise(config, n) * config.output_layers,
        # The norm keeps its input, its mean and its deviation; the loss keeps the log probabilities.
        logits=layer_cost(c, config.codebook_size, n) + Cost(kept=(c + 2 + config.codebook_size) * n),
        condition=_condition(config, n) if config.is_conditioned else Cost(),
    )


def attention_count(config: PixelCNNConfig) -> int:
    """Returns the number of attentions of a prior: one after every `attention_every` blocks."""
    return config.layers // config.attention_every if config.attention_every else 0


def _order(config: PixelCNNConfig) -> CausalOrder:
    return CausalOrder(config.height, config.width, config.slope)


@dataclass(frozen=True)
class _Kernel:
    """The shape of a masked kernel.

    Attributes:
        taps: Open taps.
        height: Rows from the first to the last one with an open tap.
        width: Columns from the first to the last one with an open tap.
    """

    taps: int
    height: int
    width: int

    @staticmethod
    def of(order: CausalOrder, kernel_size: int, *, strict: bool) -> "_Kernel":
        mask = order.kernel_mask(kernel_size, strict=strict)
        rows, columns = np.nonzero(mask)
        return _Kernel(int(mask.sum()), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)

    def padded(self, order: CausalOrder) -> int:
        """Counts the positions of the grid with the border of zeros that the kernel reads."""
        return (order.height + self.height - 1) * (order.width + self.width - 1)

    def cost(self, order: CausalOrder, inputs: int, outputs: int, *, dense: bool) -> Cost:
        taps = self.height * self.width if dense else self.taps
        # The dense kernel is built at each step, and the convolution keeps it. The padded input is a tensor of its own.
        kernel = Cost(once=inputs * outputs * self.height * self.width)
        return layer_cost(inputs, outputs, order.num_positions, taps=taps, kept=inputs * self.padded(order)) + kernel


def _attention(config: PixelCNNConfig, order: CausalOrder, *, dense: bool) -> Cost:
    c = config.channels
    n = order.num_positions
    pairs = n * n if dense else _visible_pairs(order)
    # Two products: queries by keys, then weights by values. The fused kernel keeps queries, keys, values and one
    # normaliser for each head and position, never the weights of all pairs. The mask is kept as floats.
    products = Cost(2 * 2 * c * pairs, kept=(3 * c + config.attention_heads) * n, once=n * n)
    return layer_cost(c, 3 * c, n) + products + layer_cost(c, c, n) + Cost(kept=(c + 2) * n)


def _visible_pairs(order: CausalOrder) -> int:
    """Counts the pairs of a feature and a feature that it may attend to: of its own time or earlier."""
    # The features of one step all see the same prefix: everything up to the end of their step.
    counts = np.diff(order.offsets)
    return int((counts * order.offsets[1:]).sum())


def _pointwise(config: PixelCNNConfig, n: int) -> Cost:
    c = config.channels
    dropped = 4 * c * n if config.dropout else 0
    # Kept besides the inputs of the layers: the input of the norm with its mean and deviation, the input of gelu.
    return layer_cost(c, 4 * c, n) + layer_cost(4 * c, c, n) + Cost(kept=(5 * c + 2) * n + dropped)


def _condition(config: PixelCNNConfig, n: int) -> Cost:
    c = config.channels
    coarse = config.coarser_height * config.coarser_width
    upsample = layer_cost(c, c, coarse, taps=n // coarse)
    # The norm keeps its input, its mean and its deviation.
    norm = Cost(kept=(c + 2) * coarse) if config.conditioning_norm else Cost()
    return residual_stack_cost(c, c, config.conditioning_layers, coarse) + norm + upsample + Cost(kept=c * n)


def sampling_steps(config: PixelCNNConfig) -> int:
    """Returns the number of network evaluations, one after the other, for a sample of this level."""
    return _order(config).num_steps


# the VQ-VAE


@dataclass(frozen=True)
class VQVAECosts:
    """The cost of a forward pass of a VQ-VAE, by its parts.

    Attributes:
        encoder: From the image to the latents of all levels.
        quantizers: The distances to all codebook entries, of every quantizer. They have no backward pass.
        upsampling: For each level but the finest, coarse to fine: its decoder input, upsampled to the next grid.
        decoder: From the decoder input of the finest level to the image, and the loss.
    """

    encoder: Cost
    quantizers: Cost
    upsampling: tuple[Cost, ...]
    decoder: Cost

    @property
    def encode(self) -> Cost:
        """The cost from the image to the codes. The last upsampling is left out: no level is conditioned on it."""
        return total([self.encoder, self.quantizers, *self.upsampling[:-1]])

    @property
    def decode(self) -> Cost:
        """The cost from the codes to the image."""
        return total([*self.upsampling, self.decoder])

    @property
    def total(self) -> Cost:
        """The cost of the whole pass."""
        return total([self.encoder, self.quantizers, *self.upsampling, self.decoder])

    @property
    def train_flops(self) -> int:
        """FLOPs of a training step for each image, forward and backward."""
        return self.total.flops + BACKWARD * (self.total.flops - self.quantizers.flops)


def vqvae_costs(config: VQVAEConfig) -> VQVAECosts:
    """Counts a forward pass of a VQ-VAE."""
    networks = network_costs(config)
    count = len(config.downsample)
    encoder = Cost()
    upsampling: list[Cost] = []
    for index, n in enumerate(networks.grids):
        encoder += networks.encoder(index) + networks.to_latents(index)
        encoder += Cost(kept=config.latent_dims[index] * n)  # the commitment keeps the latents
        if index < count - 1:
            encoder += networks.expander(index)
            # The expander and the upsampler read the same decoder input; the expander has counted it as kept.
            upsampling.append(networks.upsampler(index) + Cost(kept=-networks.mapped[index] * n))
    pixels = config.image_channels * config.image_size**2
    return VQVAECosts(
        encoder=encoder + analysis_cost(config),
        quantizers=total([_quantizer_cost(config, index, n) for index, n in enumerate(networks.grids)]),
        upsampling=tuple(upsampling),
        decoder=networks.decoder() + synthesis_cost(config, count) + Cost(kept=pixels),
    )


def _quantizer_cost(config: VQVAEConfig, index: int, n: int) -> Cost:
    """Counts the quantizers of a level with n positions."""
    kind = config.quantizer.kind_of(index)
    d = config.latent_dims[index]
    # The commitment also keeps the entries. At the coarsest level they are the decoder input itself, which the expander
    # or the decoder counts; at a finer level the decoder input is a copy of them.
    kept = d * n if index else 0
    if kind in ("fsq", "lfq"):
        return Cost(kept=kept)
    if kind == "cosine":
        kept += (d + 1) * n  # the latents before their lengths became 1, and the lengths
    depth = config.quantizer.depth_of(index)
    if kind == "simvq" or (kind == "cosine" and config.quantizer.codebook == "learned"):
        kept += depth * d * n  # the entries that the codebook loss moves
    if depth > 1:
        kept += 2 * depth * d * n  # for each quantizer what it takes, and its entries; the sum is a map of its own
    return Cost(2 * config.codebook_size * d * n * depth, kept=kept)


# the classifier


def classifier_costs(config: ClassifierConfig) -> Cost:
    """Counts a forward pass of a classifier. A training step keeps the inputs of its layers and norms."""
    if config.kind == "hidden-layer":
        dropped = Cost(kept=2 * config.hidden if config.dropout else 0)  # the mask, and the output of the ReLU
        first = layer_cost(config.image_channels * config.image_size**2, config.hidden, 1)
        return first + dropped + layer_cost(config.hidden, config.num_classes, 1)
    return _residual_classifier(config)


def _residual_classifier(config: ClassifierConfig) -> Cost:
    cost = Cost()
    side = config.image_size
    inputs = config.image_channels
    while side > LARGEST_GRID:
        side //= 2
        cost += layer_cost(inputs, config.channels, side**2, taps=16, kept=inputs * (2 * side) ** 2)
        inputs = config.channels
    cost += layer_cost(inputs, config.channels, side**2, taps=9)
    width = config.channels
    for stage in range(config.stages):
        for block in range(config.blocks):
            outputs = config.channels * 2**stage
            before = side**2
            if stage and block == 0:
                side = -(-side // 2)  # a strided convolution with padding rounds up
            # Twice the inputs: the norm keeps its own, and the convolution the output of the ReLU.
            cost += layer_cost(width, outputs, side**2, taps=9, kept=2 * width * before)
            cost += layer_cost(outputs, outputs, side**2, taps=9, kept=2 * outputs * side**2)
            if width != outputs or before != side**2:
                cost += layer_cost(width, outputs, side**2, kept=0)  # the shortcut reads the input of the norm
            width = outputs
    return cost + Cost(kept=2 * width * side**2) + layer_cost(width, config.num_classes, 1)
