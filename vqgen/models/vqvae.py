"""The hierarchical VQ-VAE.

Legend: `b` batch, `c` channels, `d` embedding, `_h _w` grid of a level, which differs between levels, `H W` image.
Source: VQ-VAE-2 (Razavi et al. 2019, arXiv 1906.00446), sections 3.1 and A.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from vqgen.arguments import as_instance
from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.errors import DataError
from vqgen.nn.quantizer import Quantized, VectorQuantizer
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler


@dataclass(frozen=True)
class VQVAEOutput:
    """The result of a forward pass.

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

        image --> encoder[bottom] --> encoder[top] --> quantize top --> upsampler --+--> decoder --> image
                        |                                   |                       |
                        +------- concatenate <-- expander --+                       |
                                      |                                             |
                                      +--> quantize bottom -------------------------+

    Lists run coarse to fine like the levels. The decoder input of a level is its quantized map, with the upsampled
    decoder input of the coarser level before it. It conditions the next finer level. The finest one holds the maps of
    all levels, and the decoder turns it into the image.

    Args:
        config: The levels and the sizes of the layers.

    Attributes:
        config: The same.
        levels: Names of the levels, coarse to fine.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = as_instance("config", config, VQVAEConfig)
        self.levels = config.levels
        c = config.channels
        d = config.embedding_dim
        count = len(config.levels)
        # Encoders are chained: the finest one shrinks the image, a coarser one the features of the next finer level.
        ratios = [a // b for a, b in zip(config.downsample, [*config.downsample[1:], 1], strict=True)]
        inputs = [c] * (count - 1) + [config.image_channels]
        residual = (config.residual_channels, config.residual_layers)
        self.encoders = nn.ModuleList(
            encoder_network(i, c, ratio, *residual) for i, ratio in zip(inputs, ratios, strict=True)
        )
        self.expanders = nn.ModuleList(
            decoder_network(d * (index + 1), c, c, ratios[index], *residual) for index in range(count - 1)
        )
        # The coarsest level has its own features alone. Below it, those of the expander stand beside them.
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
        # The decoder input of level `index` holds the maps of index + 1 levels, so it has d * (index + 1) channels.
        self.upsamplers = nn.ModuleList(
            upsampler(d * (index + 1), c, d * (index + 1), ratios[index]) for index in range(count - 1)
        )
        self.decoder = decoder_network(d * count, c, config.image_channels, ratios[-1], *residual)

    def forward(self, images: Float[Tensor, "b c H W"]) -> VQVAEOutput:
        """Encodes, quantizes and decodes.

        Args:
            images: Pixels in [-1, 1]. Both sides are multiples of the coarsest level's downsampling.

        Returns:
            The reconstruction, the codes and the commitment losses.

        Raises:
            ValueError: A side of the images is not a multiple of the coarsest level's downsampling.
        """
        results, coarser = self._quantize(images)
        decoder_input = self._extend(coarser, len(self.levels) - 1, results[self.levels[-1]].quantized)
        return VQVAEOutput(
            reconstruction=self.decoder(decoder_input),
            codes=Codes({level: result.codes for level, result in results.items()}),
            commitment_losses={level: result.commitment_loss for level, result in results.items()},
        )

    def encode(self, images: Float[Tensor, "b c H W"]) -> Codes:
        """Turns images into codes.

        Args:
            images: As in `forward`.

        Raises:
            ValueError: As in `forward`.
        """
        # The last upsampler and the decoder are left out: only decoding needs them.
        results, _ = self._quantize(images)
        return Codes({level: result.codes for level, result in results.items()})

    def decode(self, codes: Codes) -> Float[Tensor, "b c H W"]:
        """Turns codes into images with pixels in [-1, 1], clamped.

        Args:
            codes: Codes of this model, of images of any size.

        Raises:
            ValueError: The levels are not this model's, or the grids do not fit each other.
        """
        if misfit := _misfit(codes, self.config):
            raise ValueError(f"codes: {misfit}")
        return self.decode_maps(self.embed(codes))

    def embed(self, codes: Codes) -> list[Float[Tensor, "b d _h _w"]]:
        """Looks up the codebook entries of every level's codes, coarse to fine."""
        return [self._quantizer(index).embed(codes.grids[level]) for index, level in enumerate(self.levels)]

    def decode_maps(self, maps: Sequence[Float[Tensor, "b d _h _w"]]) -> Float[Tensor, "b c H W"]:
        """Turns quantized maps into images with pixels in [-1, 1], clamped.

        Args:
            maps: One map for each level, coarse to fine. They may lie between codebook entries, as a mean of the maps
                of two images does.
        """
        decoder_input: Tensor | None = None
        for index, quantized in enumerate(maps):
            decoder_input = self._extend(decoder_input, index, quantized)
        assert decoder_input is not None
        # Only here and not in `forward`: in training a clamped pixel would have no gradient.
        return self.decoder(decoder_input).clamp(-1, 1)

    def finest_positions(self, images: Shaped[Tensor, "b c H W"]) -> int:
        """Counts the codes that the finest level of a batch of images has: the rows of its products."""
        b, _, height, width = images.shape
        return b * height * width // self.config.downsample[-1] ** 2

    def seed_step(self, seed: int) -> None:
        """Sets the seed of this training step's draws.

        Args:
            seed: The same in all processes.
        """
        # With one seed for all levels, their starts and restarts would draw the same numbers.
        for index in range(len(self.levels)):
            self._quantizer(index).step_seed = seed + index

    def update_codebooks(self) -> None:
        """Moves the codebooks. Call it once after each optimizer step, in all processes."""
        for index in range(len(self.levels)):
            self._quantizer(index).update()

    def _quantizer(self, index: int) -> VectorQuantizer:
        quantizer = self.quantizers[index]
        assert isinstance(quantizer, VectorQuantizer)
        return quantizer

    def _quantize(self, images: Tensor) -> tuple[dict[str, Quantized], Tensor | None]:
        """Quantizes the levels, coarse to fine.

        Returns:
            The result of each level, and the decoder input of the last level but one; None if there is one level.
        """
        features = self._features(images)
        results: dict[str, Quantized] = {}
        decoder_input: Tensor | None = None
        for index, level in enumerate(self.levels):
            own = features[index]
            if index > 0:
                # A finer level sees what the coarser codes already tell the decoder, so it need not repeat it.
                decoder_input = self._extend(decoder_input, index - 1, results[self.levels[index - 1]].quantized)
                own = torch.cat([self.expanders[index - 1](decoder_input), own], dim=1)
            results[level] = self._quantizer(index)(self.to_latents[index](own))
        return results, decoder_input

    def _features(self, images: Tensor) -> list[Tensor]:
        """Computes the encoder's features of every level, coarse to fine."""
        step = self.config.downsample[0]
        if images.shape[-1] % step or images.shape[-2] % step:
            raise ValueError(f"images should have sides that are multiples of {step}, found {tuple(images.shape[-2:])}")
        features = [images]
        for encoder in reversed(self.encoders):
            features.append(encoder(features[-1]))
        return features[:0:-1]  # reversed, and without the images

    def _extend(self, coarser: Tensor | None, index: int, quantized: Tensor) -> Tensor:
        """Returns a level's decoder input: the upsampled coarser one and the level's quantized map, in this order."""
        if coarser is None:
            return quantized
        return torch.cat([self.upsamplers[index - 1](coarser), quantized], dim=1)


def check_codes(codes: Codes, config: VQVAEConfig) -> None:
    """Refuses codes that a VQ-VAE cannot have made.

    Without this check they would fail deep inside the model, or decode to a wrong image.

    Args:
        codes: Codes of images of any size.
        config: Configuration of the VQ-VAE.

    Raises:
        DataError: There is no image, or a level, a grid or a code is not one of the VQ-VAE.
    """
    if misfit := _misfit(as_instance("codes", codes, Codes, error=DataError), config):
        raise DataError(f"codes: {misfit}")
    if not len(codes):
        raise DataError("codes: should belong to at least one image, found none")
    for level, grid in codes.grids.items():
        if grid.dtype != torch.int64:
            raise DataError(f"codes: {level} should be int64, found {str(grid.dtype).removeprefix('torch.')}")
        # On a GPU a code out of range ends the process with an assertion of the device that names nothing.
        low, high = (int(grid.min()), int(grid.max())) if grid.numel() else (0, 0)
        if low < 0 or high >= config.codebook_size:
            raise DataError(f"codes: {level} should be in [0, {config.codebook_size}), found {low} to {high}")


def _misfit(codes: Codes, config: VQVAEConfig) -> str | None:
    """Describes the first level or grid that does not belong to a VQ-VAE; None if all of them do."""
    if codes.levels != config.levels:
        return f"should have the levels {', '.join(config.levels)}, found {', '.join(codes.levels)}"
    # Images may have any size, so the coarsest grid sets the measure for the finer ones.
    _, height, width = codes.grids[config.levels[0]].shape
    for level, factor in zip(config.levels, config.downsample, strict=True):
        ratio = config.downsample[0] // factor
        expected = (height * ratio, width * ratio)
        _, *found = codes.grids[level].shape
        if tuple(found) != expected:
            return f"{level} should be {expected[0]} x {expected[1]}, found {found[0]} x {found[1]}"
    return None
