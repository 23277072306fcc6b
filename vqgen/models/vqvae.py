"""The hierarchical VQ-VAE.

Legend: `b` batch, `c` channels, `d` embedding, `h w` grid of a level, `H W` image.
Source: VQ-VAE-2 (Razavi et al. 2019, arXiv 1906.00446), sections 3.1 and A.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.errors import DataError
from vqgen.nn.quantizer import Quantized, VectorQuantizer
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler


@dataclass(frozen=True)
class VQVAEOutput:
    """What a forward pass returns.

    Attributes:
        reconstruction: `(b, channels, H, W)` in about [-1, 1], not clamped.
        codes: The codes of all levels.
        commitment_losses: Level name -> unweighted commitment loss.
    """

    reconstruction: Float[Tensor, "b c H W"]
    codes: Codes
    commitment_losses: dict[str, Tensor]


class VQVAE(nn.Module):
    """Turns an image into codes at several levels, and back.

        image --> encoder[bottom] --> encoder[top] --> quantize top --------+--> context --> decoder --> image
                        |                                    |              |
                        +------- concatenate <-- expander ---+              |
                                      |                                     |
                                      +--> quantize bottom -----------------+

    Lists run coarse to fine like the levels. The context of a level is its quantized map beside the coarser
    context, upsampled; from it the next finer level is conditioned, and from the last one the image is decoded.

    Args:
        config: Sizes of everything.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = config.levels
        c, d, count = config.channels, config.embedding_dim, len(config.levels)
        # what a level shrinks: the finest the image, a coarser one the next finer level
        ratios = [a // b for a, b in zip(config.downsample, [*config.downsample[1:], 1], strict=True)]
        inputs = [c] * (count - 1) + [config.image_channels]
        residual = (config.residual_channels, config.residual_layers)
        self.encoders = nn.ModuleList(
            encoder_network(i, c, ratio, *residual) for i, ratio in zip(inputs, ratios, strict=True)
        )
        self.expanders = nn.ModuleList(
            decoder_network(d * (index + 1), c, c, ratios[index], *residual) for index in range(count - 1)
        )
        self.to_latents = nn.ModuleList(
            nn.Conv2d(c if index == 0 else 2 * c, d, kernel_size=1) for index in range(count)
        )
        self.quantizers = nn.ModuleList(
            VectorQuantizer(
                config.codebook_size,
                d,
                decay=config.codebook_decay,
                data_init=config.initialization == "data",
                kmeans_iterations=config.kmeans_iterations,
                restart_after=config.restart_after,
                quantize_after=config.quantize_after,
            )
            for _ in range(count)
        )
        self.upsamplers = nn.ModuleList(
            upsampler(d * (index + 1), c, d * (index + 1), ratios[index]) for index in range(count - 1)
        )
        self.decoder = decoder_network(d * count, c, config.image_channels, ratios[-1], *residual)

    def forward(self, images: Float[Tensor, "b c H W"]) -> VQVAEOutput:
        """Encodes, quantizes and decodes.

        Args:
            images: Pixels in [-1, 1]; both sides divide by the coarsest level's downsampling.
        """
        results, context = self._quantize(images)
        return VQVAEOutput(
            reconstruction=self.decoder(context),
            codes=Codes({level: result.codes for level, result in results.items()}),
            commitment_losses={level: result.commitment_loss for level, result in results.items()},
        )

    def encode(self, images: Float[Tensor, "b c H W"]) -> Codes:
        """Turns images with pixels in [-1, 1] into codes."""
        return Codes({level: result.codes for level, result in self._quantize(images)[0].items()})

    def decode(self, codes: Codes) -> Float[Tensor, "b c H W"]:
        """Turns codes into images with pixels in [-1, 1], clamped.

        Raises:
            ValueError: The levels are not this model's, or the grids do not fit each other.
        """
        if codes.levels != self.levels:
            raise ValueError(f"codes should have the levels {self.levels}, found {codes.levels}")
        coarsest = codes.grids[self.levels[0]].shape
        for level, factor in zip(self.levels, self.config.downsample, strict=True):
            ratio = self.config.downsample[0] // factor
            expected, found = (coarsest[1] * ratio, coarsest[2] * ratio), tuple(codes.grids[level].shape[1:])
            if found != expected:
                raise ValueError(f"codes of level {level} should be {expected}, found {found}")
        return self.decode_maps(self.embed(codes))

    def embed(self, codes: Codes) -> list[Float[Tensor, "b d h w"]]:
        """Looks up the codebook entries of every level's codes, coarse to fine."""
        return [self._quantizer(index).embed(codes.grids[level]) for index, level in enumerate(self.levels)]

    def decode_maps(self, maps: Sequence[Float[Tensor, "b d h w"]]) -> Float[Tensor, "b c H W"]:
        """Turns the quantized map of every level, coarse to fine, into images with pixels in [-1, 1], clamped.

        Maps between those of two images need be no codebook entries.
        """
        context: Tensor | None = None
        for index, quantized in enumerate(maps):
            context = self._extend(context, index, quantized)
        assert context is not None
        return self.decoder(context).clamp(-1, 1)

    def seed_step(self, seed: int) -> None:
        """Sets the seed of this training step's draws, the same in all processes."""
        for index in range(len(self.levels)):
            self._quantizer(index).step_seed = seed + index

    def update_codebooks(self) -> None:
        """Moves the codebooks; call it once after each optimizer step, in all processes."""
        for index in range(len(self.levels)):
            self._quantizer(index).update()

    def _quantizer(self, index: int) -> VectorQuantizer:
        quantizer = self.quantizers[index]
        assert isinstance(quantizer, VectorQuantizer)
        return quantizer

    def _quantize(self, images: Tensor) -> tuple[dict[str, Quantized], Tensor]:
        """Runs the levels from coarse to fine and returns their results and the finest context."""
        features = self._features(images)
        results: dict[str, Quantized] = {}
        context: Tensor | None = None
        for index, level in enumerate(self.levels):
            own = features[index]
            if context is not None:
                own = torch.cat([self.expanders[index - 1](context), own], dim=1)
            results[level] = self._quantizer(index)(self.to_latents[index](own))
            context = self._extend(context, index, results[level].quantized)
        assert context is not None
        return results, context

    def _features(self, images: Tensor) -> list[Tensor]:
        """The encoder's features of every level, coarse to fine."""
        step = self.config.downsample[0]
        if images.shape[-1] % step or images.shape[-2] % step:
            raise ValueError(f"images should have sides that divide by {step}, found {tuple(images.shape[-2:])}")
        features = [images]
        for encoder in reversed(self.encoders):
            features.append(encoder(features[-1]))
        return features[:0:-1]

    def _extend(self, context: Tensor | None, index: int, quantized: Tensor) -> Tensor:
        """Puts a level's quantized map beside the upsampled coarser context."""
        if context is None:
            return quantized
        return torch.cat([self.upsamplers[index - 1](context), quantized], dim=1)


def check_codes(codes: Codes, config: VQVAEConfig) -> None:
    """Refuses codes that a VQ-VAE cannot have made: they would fail deep inside, or decode to a wrong picture.

    Args:
        codes: Codes of images of any size.
        config: Configuration of the VQ-VAE.

    Raises:
        DataError: There is no image, or a level, a grid or an entry is not one of the VQ-VAE.
    """
    if codes.levels != config.levels:
        raise DataError(f"codes: should have the levels {', '.join(config.levels)}, found {', '.join(codes.levels)}")
    if not len(codes):
        raise DataError("codes: should be those of at least one image, found none")
    coarsest = codes.grids[config.levels[0]].shape
    for level, factor in zip(config.levels, config.downsample, strict=True):
        grid = codes.grids[level]
        ratio = config.downsample[0] // factor
        expected = (coarsest[1] * ratio, coarsest[2] * ratio)
        if grid.dtype != torch.int64 or tuple(grid.shape[1:]) != expected:
            raise DataError(
                f"codes: {level} should be int64 of {expected[0]} x {expected[1]}, "
                f"found {grid.dtype} of {' x '.join(map(str, grid.shape[1:]))}"
            )
        low, high = (int(grid.min()), int(grid.max())) if grid.numel() else (0, 0)
        if low < 0 or high >= config.codebook_size:
            raise DataError(f"codes: {level} should be in [0, {config.codebook_size}), found {low} to {high}")
