"""The PixelCNN: a prior over the codes of one level, p(codes | label, coarser codes).

Legend: `b` batch, `c` channels, `k` codebook entries, `h w` grid of this level, `hc wc` grid of the coarser level.

Papers: Conditional PixelCNN (van den Oord et al. 2016, arXiv 1606.05328); PixelSNAIL (Chen et al. 2017,
arXiv 1712.09763); the priors of VQ-VAE-2 (Razavi et al. 2019, arXiv 1906.00446), section 3.2.
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.arguments import as_instance
from vqgen.codes import separate_codes
from vqgen.config.priors import PixelCNNConfig
from vqgen.nn.axes import axes_on
from vqgen.nn.causal_attention import CausalAttention
from vqgen.nn.channel_norm import ChannelNorm
from vqgen.nn.gated_block import GatedBlock, PointwiseBlock, convolve
from vqgen.nn.masked_conv import MaskedConv2d
from vqgen.nn.residual import ResidualStack
from vqgen.order import CausalOrder


class PixelCNN(nn.Module):
    """Factorises p(codes | label, coarser codes) over a causal order: prod_t p(codes at t | codes before t, ...).

    ```
    codes -> embedding -> first (strict) -> + positions -> blocks, attentions -> output -> logits
                                                             ^ label, condition
    coarser codes -> coarser_embedding -> coarser_stack -> (norm) -> upsample
    ```

    The logits of a position depend on the codes of smaller times only. Features are channels-last. Masked convolutions
    and attentions mix positions; all other layers act on each position alone, so a cached sampler can run them on the
    positions of one step.

    Args:
        config: The level, its grid and the sizes of the layers.

    Attributes:
        config: The same.
        order: The causal order of training and sampling.
        null_label: The label that stands for "no label": `config.num_classes`.
        input_dropout: True if training drops codes from the input. The training objective sets it at each step; see
            `config.input_dropout_share`.

    Raises:
        ValueError: The grid is not a whole multiple of the coarser grid.

    Source: arXiv 1906.00446, section 3.2. Deviations: the causal order; positions are embedded; a null label, trained
    by dropping labels; no horizontal and vertical stacks; optional conditioning on mirrored training images
    (distribution augmentation, Jun et al. 2020, ICML).
    """

    def __init__(self, config: PixelCNNConfig) -> None:
        super().__init__()
        self.config = as_instance("config", config, PixelCNNConfig)
        self.order = CausalOrder(config.height, config.width, config.slope)
        self.null_label = config.num_classes
        self.input_dropout = True
        channels = config.channels
        self.embedding = nn.Embedding(config.codebook_size, channels)
        # Strict: the only layer that reads the codes does not see its own position. The features after it hold earlier
        # codes only, so later layers may see the features of their own time too.
        self.first = self._convolution(channels, strict=True)
        # A convolution cannot tell where it is, and the first position sees no code at all: its row and its column are
        # the learned start. At 0.5 they are about as large as the features; a tenth of it learns measurably slower.
        # In place, as all arithmetic of a model that is built without memory: see `models.checkpoint`.
        # Without positions the bias of the first layer is the start.
        has_positions = config.positions == "learned"
        self.rows = nn.Parameter(torch.randn(config.height, 1, channels).mul_(0.5)) if has_positions else None
        self.columns = nn.Parameter(torch.randn(config.width, channels).mul_(0.5)) if has_positions else None
        self.label_embedding = nn.Embedding(config.num_classes + 1, channels)
        # Zero at the start: mirrored images are like the others until training finds a difference.
        self.mirrored_embedding = nn.Parameter(torch.zeros(channels)) if config.mirror_conditioned else None
        self.blocks = nn.ModuleList(
            GatedBlock(self._convolution(2 * channels, strict=False), config.dropout, conditioned=config.is_conditioned)
            for _ in range(config.layers)
        )
        # The key is the index of the block before the attention.
        self.attentions = nn.ModuleDict(
            {
                str(index): CausalAttention(channels, config.attention_heads, self.order)
                for index in range(config.layers)
                if config.attention_every and (index + 1) % config.attention_every == 0
            }
        )
        self.output = nn.Sequential(
            *(PointwiseBlock(channels, config.dropout) for _ in range(config.output_layers)),
            nn.LayerNorm(channels),
            nn.Linear(channels, config.codebook_size),
        )
        if config.is_conditioned:
            self._build_conditioning(config)

    def _convolution(self, out_channels: int, *, strict: bool) -> MaskedConv2d:
        config = self.config
        return MaskedConv2d(config.channels, out_channels, self.order, config.kernel_size, strict=strict)

    def _build_conditioning(self, config: PixelCNNConfig) -> None:
        """Adds the layers that read the coarser codes. They need no mask: all coarser codes are drawn before."""
        grid = (config.height, config.width)
        coarser = (config.coarser_height, config.coarser_width)
        if 0 in coarser or grid[0] % coarser[0] or grid[1] % coarser[1]:
            raise ValueError(
                f"height x width should be a whole multiple of coarser_height x coarser_width = "
                f"{coarser[0]} x {coarser[1]}, found {grid[0]} x {grid[1]}"
            )
        ratio = (grid[0] // coarser[0], grid[1] // coarser[1])
        # The entries of each grid follow those of the grid before.
        self.coarser_embedding = nn.Embedding(config.conditioning_grids * config.codebook_size, config.channels)
        self.coarser_stack = ResidualStack(config.channels, config.channels, config.conditioning_layers)
        self.coarser_norm = ChannelNorm(config.channels) if config.conditioning_norm else nn.Identity()
        # Kernel and stride are equal, so each coarser position fills a patch of its own.
        self.upsample = nn.ConvTranspose2d(config.channels, config.channels, kernel_size=ratio, stride=ratio)

    def encode_condition(self, coarser: Int[Tensor, "b hc wc"] | None) -> Float[Tensor, "b c h w"] | None:
        """Maps the coarser codes to features on this level's grid. A sampler does so once per image.

        Args:
            coarser: Codes that condition the prior, from `vqgen.codes.conditioning_codes`: those of the next coarser
                level, in [0, K), or of several grids as one number. None for the coarsest level.

        Returns:
            The argument `condition` of `forward`.

        Raises:
            ValueError: The codes have the wrong shape or dtype, or are missing or superfluous.
        """
        config = self.config
        if (coarser is not None) != config.is_conditioned:
            state = "given" if config.is_conditioned else "None"
            raise ValueError(f"coarser should be {state} for level {config.level!r}, found {_describe(coarser)}")
        if coarser is None:
            return None
        _check_codes("coarser", coarser, config.coarser_height, config.coarser_width)
        embedded = self._drop_codes(self._embed_coarser(coarser), config.coarser_dropout)
        return self.upsample(self.coarser_norm(self.coarser_stack(rearrange(embedded, "b h w c -> b c h w"))))

    def _embed_coarser(self, coarser: Int[Tensor, "b hc wc"]) -> Float[Tensor, "b hc wc c"]:
        """Adds up the embeddings of the codes of all grids, as the decoder adds up their entries."""
        config = self.config
        grids = separate_codes(coarser, config.conditioning_grids, config.codebook_size)
        embedded = self.coarser_embedding(grids[0])
        for place, grid in enumerate(grids[1:], start=1):
            embedded = embedded + self.coarser_embedding(grid + place * config.codebook_size)
        return embedded

    def forward(
        self,
        codes: Int[Tensor, "b h w"],
        labels: Int[Tensor, " b"] | None,
        condition: Float[Tensor, "b c h w"] | None,
        mirrored: Bool[Tensor, " b"] | None = None,
    ) -> Float[Tensor, "b k h w"]:
        """Computes the logits of every code given the codes of smaller times.

        Args:
            codes: Codes in [0, K). The code at a position changes only the logits of larger times.
            labels: Labels in [0, num_classes]. Both -1 and `num_classes` mean no label. None if no image has a label.
            condition: The result of `encode_condition`.
            mirrored: True for each mirrored image; only for a model with `config.mirror_conditioned`. None if no image
                is mirrored.

        Returns:
            Unnormalised log probabilities.

        Raises:
            ValueError: An input has the wrong shape or dtype, or is missing or superfluous.
        """
        _check_codes("codes", codes, self.config.height, self.config.width)
        self._check_condition(condition, len(codes))
        embedded = self._drop_codes(self.embedding(codes), self.config.code_dropout)
        label = self.embed_labels(labels, len(codes))
        if mirrored is not None:
            # As a second label: the blocks then need no further input.
            label = label + self._embed_mirrored(mirrored)
        return self.forward_embedded(embedded, label, condition)

    def _embed_mirrored(self, mirrored: Bool[Tensor, " b"]) -> Float[Tensor, "b c"]:
        if self.mirrored_embedding is None:
            raise ValueError("mirrored should be None for a model without mirror_conditioned, found a tensor")
        if mirrored.ndim != 1 or mirrored.dtype != torch.bool:
            raise ValueError(f"mirrored should be bool of shape (b,), found {_describe(mirrored)}")
        return mirrored[:, None] * self.mirrored_embedding

    def forward_embedded(
        self,
        embedded: Float[Tensor, "b h w c"],
        label: Float[Tensor, "b c"],
        condition: Float[Tensor, "b c h w"] | None,
    ) -> Float[Tensor, "b k h w"]:
        """Computes the logits from embedded codes and labels: the part of `forward` with a gradient to its inputs.

        Args:
            embedded: Embedded codes.
            label: Embedded labels.
            condition: As in `forward`.

        Returns:
            As in `forward`.
        """
        axes = axes_on(embedded.device)
        if condition is not None:
            # Contiguous: all blocks read it.
            condition = rearrange(condition, f"b c h w -> {axes}").contiguous()
        features = convolve(self.first, rearrange(embedded, f"b h w c -> {axes}"), axes)
        # Positions are added after the strict layer. Before it, the first position would see nothing of them.
        if (positions := self.embed_positions()) is not None:
            features = features + rearrange(positions, f"h w c -> {axes.replace('b', '1')}")
        for index, block in enumerate(self.blocks):
            features = block(features, label, condition, axes)
            if str(index) in self.attentions:
                features = features + self.attentions[str(index)](features, axes)
        return rearrange(self.output(features), f"{axes} -> b c h w")

    def embed_positions(self) -> Float[Tensor, "h w c"] | None:
        """Embeds the row and the column of each position; None for a prior without positions."""
        return None if self.rows is None or self.columns is None else self.rows + self.columns

    def embed_labels(self, labels: Int[Tensor, " b"] | None, batch_size: int) -> Float[Tensor, "b c"]:
        """Embeds the labels, with the null label for -1 and for None.

        Args:
            labels: As in `forward`.
            batch_size: Number of images, b.

        Raises:
            ValueError: The labels have the wrong shape or dtype.
        """
        if labels is None:
            return self.label_embedding.weight[-1].expand(batch_size, -1)
        if labels.shape != (batch_size,) or labels.dtype != torch.int64:
            raise ValueError(f"labels should be int64 of shape ({batch_size},), found {_describe(labels)}")
        return self.label_embedding(torch.where(labels < 0, self.null_label, labels))

    def drop_labels(self, labels: Int[Tensor, " b"], uniform: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Replaces labels by the null label where uniform < label_dropout.

        Args:
            labels: Labels of training images.
            uniform: A uniform draw in [0, 1) for each image. The caller derives it from the image's index, so that it
                does not depend on the batch.

        Returns:
            Labels to train with.

        Source: classifier-free guidance (Ho and Salimans 2022, arXiv 2207.12598), algorithm 1.
        """
        return torch.where(uniform < self.config.label_dropout, self.null_label, labels)

    def log_likelihood(
        self,
        codes: Int[Tensor, "b h w"],
        labels: Int[Tensor, " b"] | None,
        condition: Float[Tensor, "b c h w"] | None,
    ) -> Float[Tensor, " b"]:
        """Sums log p(code | codes before it) over the grid, in nats and in float64.

        Args:
            codes: As in `forward`.
            labels: As in `forward`.
            condition: As in `forward`.

        Returns:
            log p(codes | label, coarser codes) of each image; at most 0.

        Raises:
            ValueError: As in `forward`.
        """
        # In float64: thousands of terms are summed.
        log_probabilities = self(codes, labels, condition).double().log_softmax(dim=1)
        return log_probabilities.gather(1, codes[:, None]).sum(dim=(1, 2, 3))

    def _drop_codes(self, embedded: Float[Tensor, "b h w c"], share: float) -> Float[Tensor, "b h w c"]:
        """Drops whole codes in training, so that the model does not learn the training images by heart.

        Args:
            embedded: Embedded codes.
            share: Share of the codes to drop, in [0, 1).

        Returns:
            The embedded codes, with zeros for the dropped ones. With `config.rescale` the other codes are divided by
            1 - share, as in usual dropout: their mean over steps is then the one of sampling.
        """
        if not (self.training and self.input_dropout) or share == 0:
            return embedded
        if self.config.rescale:
            # dropout1d draws once for each channel, and takes the flattened positions as channels: one draw per code.
            return F.dropout1d(embedded.flatten(1, 2), share).unflatten(1, embedded.shape[1:3])
        return embedded * (torch.rand_like(embedded[..., :1]) >= share)

    def _check_condition(self, condition: Tensor | None, batch_size: int) -> None:
        config = self.config
        expected = (batch_size, config.channels, config.height, config.width) if config.is_conditioned else None
        found = None if condition is None else tuple(condition.shape)
        if found != expected:
            wanted = f"of shape {expected}, from encode_condition" if expected else "None"
            raise ValueError(f"condition should be {wanted} for level {config.level!r}, found {_describe(condition)}")


def _check_codes(name: str, codes: Tensor, height: int, width: int) -> None:
    # The range is not checked: reading it back would wait for the device. The embedding refuses codes out of range.
    if codes.ndim != 3 or codes.shape[1:] != (height, width) or codes.dtype != torch.int64:
        raise ValueError(f"{name} should be int64 of shape (b, {height}, {width}), found {_describe(codes)}")


def _describe(tensor: Tensor | None) -> str:
    return "None" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
