"""What a model costs, from its configuration alone: FLOPs, steps, and what training and sampling keep in memory.

Costs are of one image. A multiplication and an addition are two FLOPs; norms, activations and sums are not counted.
Memory is counted in floats, whatever their format.

Legend: `c` channels, `n` positions of a grid, `i o` channels in and out of a layer.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vqgen.config import AutoencoderConfig, ClassifierConfig, PixelCNNConfig, VQVAEConfig
from vqgen.models.classifier import LARGEST_GRID
from vqgen.order import CausalOrder

BACKWARD = 2
"""A backward pass costs so many forward passes: one product for the inputs' gradient, one for the weights'."""


@dataclass(frozen=True)
class Cost:
    """The forward pass of one image through a few layers.

    Attributes:
        flops: Operations.
        kept: Floats that a training step keeps of every image for the backward pass, each tensor once.
        once: Floats that it keeps whatever the batch: what is made of the weights.
    """

    flops: int = 0
    kept: int = 0
    once: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.flops + other.flops, self.kept + other.kept, self.once + other.once)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.flops * times, self.kept * times, self.once * times)


def total(parts: "list[Cost]") -> Cost:
    """The sum of several costs."""
    return sum(parts, start=Cost())


def layer_cost(inputs: int, outputs: int, positions: int, *, taps: int = 1, kept: int | None = None) -> Cost:
    """A convolution or linear layer: `taps` weights for each pair of channels at each of `positions`.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        positions: Where the kernel is placed: of the output, or of the input for a transposed convolution.
        taps: Entries of the kernel.
        kept: Floats of its input when those are not `inputs` at each of the positions.
    """
    return Cost(2 * inputs * outputs * taps * positions, inputs * positions if kept is None else kept)


# the prior


@dataclass(frozen=True)
class PriorCosts:
    """A forward pass of a PixelCNN, by its parts.

    Attributes:
        convolutions: Masked convolutions, the first one included.
        gates: What surrounds them in the gated blocks: label, coarser codes, projection.
        attentions: Causal attentions with their projections.
        output: The blocks of single positions before the logits.
        logits: The last layer, and the loss.
        condition: The stack over the coarser codes; once per image, also when sampling.
    """

    convolutions: Cost
    gates: Cost
    attentions: Cost
    output: Cost
    logits: Cost
    condition: Cost

    @property
    def total(self) -> Cost:
        """The whole pass."""
        return total([self.convolutions, self.gates, self.attentions, self.output, self.logits, self.condition])


def prior_costs(config: PixelCNNConfig, *, dense: bool = False) -> PriorCosts:
    """Counts a forward pass of a PixelCNN over the whole grid.

    Args:
        config: The prior.
        dense: What an accelerator executes: whole kernels, cropped to rows and columns with an open tap, and attention
            among all positions. (On a CPU masked convolutions multiply the open taps alone.)
            Otherwise what the order asks for: open taps and visible pairs; that is also what a cached sampler computes
            for a whole sample, each position once in every layer.
    """
    order = _order(config)
    c, n = config.channels, order.num_positions
    first, later = (_Kernel.of(order, config.kernel_size, strict=strict) for strict in (True, False))
    block_kernel = later.cost(order, c, 2 * c, dense=dense)
    dropped = c * n if config.dropout else 0  # the mask, as floats on a CPU
    # kept besides the layers' inputs: what the norm reads, with mean and deviation, and tanh and sigmoid
    gate = layer_cost(c, c, n) + layer_cost(c, 2 * c, 1, kept=0) + Cost(kept=(3 * c + 2) * n + dropped)
    if config.is_conditioned:
        gate += layer_cost(c, 2 * c, n, kept=0)
    return PriorCosts(
        convolutions=first.cost(order, c, c, dense=dense) + block_kernel * config.layers,
        gates=gate * config.layers,
        attentions=_attention(config, order, dense=dense) * attention_count(config),
        output=_pointwise(config, n) * config.output_layers,
        logits=layer_cost(c, config.codebook_size, n) + Cost(kept=(c + 2 + config.codebook_size) * n),
        condition=_condition(config, n) if config.is_conditioned else Cost(),
    )


def attention_count(config: PixelCNNConfig) -> int:
    """Attentions of a prior: one after every `attention_every` blocks."""
    return config.layers // config.attention_every if config.attention_every else 0


def _order(config: PixelCNNConfig) -> CausalOrder:
    return CausalOrder(config.height, config.width, config.slope)


@dataclass(frozen=True)
class _Kernel:
    """Shape of a masked convolution's kernel: its open taps, and the rows and columns that hold any."""

    taps: int
    height: int
    width: int

    @staticmethod
    def of(order: CausalOrder, kernel_size: int, *, strict: bool) -> "_Kernel":
        mask = order.kernel_mask(kernel_size, strict=strict)
        rows, columns = np.nonzero(mask)
        return _Kernel(int(mask.sum()), int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1)

    def padded(self, order: CausalOrder) -> int:
        """Positions of the grid with the border of zeros that the kernel reads."""
        return (order.height + self.height - 1) * (order.width + self.width - 1)

    def cost(self, order: CausalOrder, inputs: int, outputs: int, *, dense: bool) -> Cost:
        taps = self.height * self.width if dense else self.taps
        kernel = Cost(once=inputs * outputs * self.height * self.width)
        return layer_cost(inputs, outputs, order.num_positions, taps=taps, kept=inputs * self.padded(order)) + kernel


def _attention(config: PixelCNNConfig, order: CausalOrder, *, dense: bool) -> Cost:
    c, n = config.channels, order.num_positions
    pairs = n * n if dense else _visible_pairs(order)
    # queries x keys, then x values; the mask is kept as floats
    products = Cost(2 * 2 * c * pairs, kept=(3 * c + config.attention_heads) * n, once=n * n)
    return layer_cost(c, 3 * c, n) + products + layer_cost(c, c, n) + Cost(kept=(c + 2) * n)


def _visible_pairs(order: CausalOrder) -> int:
    """Pairs of a feature and one that it may attend to: those of no later time, itself included."""
    counts = np.diff(order.offsets)
    return int((counts * order.offsets[1:]).sum())


def _pointwise(config: PixelCNNConfig, n: int) -> Cost:
    c = config.channels
    dropped = 4 * c * n if config.dropout else 0
    # kept besides the layers' inputs: what the norm reads, and what gelu reads
    return layer_cost(c, 4 * c, n) + layer_cost(4 * c, c, n) + Cost(kept=(5 * c + 2) * n + dropped)


def _condition(config: PixelCNNConfig, n: int) -> Cost:
    c, coarse = config.channels, config.coarser_height * config.coarser_width
    upsample = layer_cost(c, c, coarse, taps=n // coarse)
    return _residual_stack(c, c, config.conditioning_layers, coarse) + upsample + Cost(kept=c * n)


def sampling_steps(config: PixelCNNConfig) -> int:
    """Network evaluations, one after the other, that a sample of this level takes."""
    return _order(config).num_steps


# the VQ-VAE


@dataclass(frozen=True)
class VQVAECosts:
    """A forward pass of a VQ-VAE, by its parts.

    Attributes:
        encoder: From the image to the latents of all levels.
        quantizers: The distances to all codebook entries; they have no backward pass.
        context: The maps of the coarser levels, upsampled to the finest grid.
        decoder: From there to the image, and the loss.
    """

    encoder: Cost
    quantizers: Cost
    context: Cost
    decoder: Cost

    @property
    def encode(self) -> Cost:
        """From the image to the codes; today it also makes the context that only decoding needs."""
        return self.encoder + self.quantizers + self.context

    @property
    def decode(self) -> Cost:
        """From the codes to the image."""
        return self.context + self.decoder

    @property
    def total(self) -> Cost:
        """The whole pass."""
        return self.encode + self.decoder

    @property
    def train_flops(self) -> int:
        """Operations of a training step, forward and backward."""
        return self.total.flops + BACKWARD * (self.total.flops - self.quantizers.flops)


def vqvae_costs(config: VQVAEConfig) -> VQVAECosts:
    """Counts a forward pass of a VQ-VAE."""
    c, d, count = config.channels, config.embedding_dim, len(config.downsample)
    grids = [(config.image_size // factor) ** 2 for factor in config.downsample]
    ratios = [coarse // fine for coarse, fine in pairwise([*config.downsample, 1])]
    inputs = [c] * (count - 1) + [config.image_channels]
    encoder, context = Cost(), Cost()
    for index, (n, ratio) in enumerate(zip(grids, ratios, strict=True)):
        encoder += encoder_cost(config, inputs[index], n, ratio)
        encoder += layer_cost(c if index == 0 else 2 * c, d, n) + Cost(kept=d * n)  # what commitment squares
        if index < count - 1:
            known = d * (index + 1)
            encoder += decoder_cost(config, known, c, n, ratio)
            context += _upsampler(known, c, known, n, ratio) + Cost(kept=-known * n)  # the expander keeps the same
    pixels = config.image_channels * config.image_size**2
    return VQVAECosts(
        encoder=encoder,
        quantizers=total(
            # latents are counted with the encoder; entries beside the coarsest level's are copied into the context
            [Cost(2 * config.codebook_size * d * n, kept=d * n if index else 0) for index, n in enumerate(grids)]
        ),
        context=context,
        decoder=decoder_cost(config, d * count, config.image_channels, grids[-1], ratios[-1]) + Cost(kept=pixels),
    )


def encoder_cost(config: VQVAEConfig | AutoencoderConfig, inputs: int, n: int, ratio: int) -> Cost:
    """Strided convolutions down to `n` positions, then residual blocks."""
    c, halvings = config.channels, _halvings(ratio)
    widths = [inputs, c // 2, *[c] * (halvings - 1)]
    cost = layer_cost(widths[-1], c, n, taps=9)
    for index, (i, o) in enumerate(pairwise(widths)):
        positions = n * 4 ** (halvings - 1 - index)
        cost += layer_cost(i, o, positions, taps=16, kept=i * 4 * positions)
    return cost + _residual_stack(c, config.residual_channels, config.residual_layers, n)


def decoder_cost(config: VQVAEConfig | AutoencoderConfig, inputs: int, outputs: int, n: int, ratio: int) -> Cost:
    """Residual blocks on `n` positions, then transposed convolutions."""
    c = config.channels
    stack = _residual_stack(c, config.residual_channels, config.residual_layers, n)
    return layer_cost(inputs, c, n, taps=9) + stack + _upsampler(c, c // 2, outputs, n, ratio)


def _upsampler(inputs: int, channels: int, outputs: int, n: int, ratio: int) -> Cost:
    """Transposed convolutions from `n` positions on."""
    widths = [inputs, *[channels] * (_halvings(ratio) - 1), outputs]
    return total([layer_cost(i, o, n * 4**index, taps=16) for index, (i, o) in enumerate(pairwise(widths))])


def _residual_stack(channels: int, inner: int, layers: int, n: int) -> Cost:
    """Residual blocks of a 3 x 3 and a 1 x 1 convolution, then a ReLU, whose output the next layer keeps."""
    return (layer_cost(channels, inner, n, taps=9) + layer_cost(inner, channels, n)) * layers


def _halvings(ratio: int) -> int:
    return ratio.bit_length() - 1


# the classifier


def classifier_costs(config: ClassifierConfig) -> Cost:
    """Counts a forward pass of a classifier; what a step keeps is what its layers and norms read."""
    if config.kind == "hidden-layer":
        dropped = Cost(kept=2 * config.hidden if config.dropout else 0)
        first = layer_cost(config.image_channels * config.image_size**2, config.hidden, 1)
        return first + dropped + layer_cost(config.hidden, config.num_classes, 1)
    side, inputs, cost = config.image_size, config.image_channels, Cost()
    while side > LARGEST_GRID:
        side //= 2
        cost += layer_cost(inputs, config.channels, side**2, taps=16, kept=inputs * (2 * side) ** 2)
        inputs = config.channels
    cost += layer_cost(inputs, config.channels, side**2, taps=9)
    width = config.channels
    for stage in range(config.stages):
        for block in range(config.blocks):
            outputs, before = config.channels * 2**stage, side**2
            if stage and block == 0:
                side = -(-side // 2)
            cost += layer_cost(width, outputs, side**2, taps=9, kept=2 * width * before)
            cost += layer_cost(outputs, outputs, side**2, taps=9, kept=2 * outputs * side**2)
            if width != outputs or before != side**2:
                cost += layer_cost(width, outputs, side**2, kept=0)
            width = outputs
    return cost + Cost(kept=2 * width * side**2) + layer_cost(width, config.num_classes, 1)
