"""The hierarchical VQ-VAE.

Legend: `b` batch, `c` channels, `d` embedding, `_h _w` grid of a level, which differs between levels, `H W` image.
Source: VQ-VAE-2 (Razavi et al. 2019, arXiv 1906.00446), sections 3.1 and A.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from vqgen.arguments import as_instance
from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.models.shortcuts import Shortcuts, clear_last_layer
from vqgen.models.vqvae_codes import misfit_of
from vqgen.models.vqvae_networks import networks_of
from vqgen.nn.quantizers.base import Quantized, Quantizer
from vqgen.nn.quantizers.bit_price import share_unit
from vqgen.nn.quantizers.make import estimator_of, make_quantizer
from vqgen.nn.quantizers.residual import ResidualQuantized, quantize_in_turn, sum_of_entries


@dataclass(frozen=True)
class VQVAEOutput:
    """The result of a forward pass.

    Attributes:
        reconstruction: `(b, channels, H, W)` in about [-1, 1], not clamped.
        codes: All grids of codes.
        commitment_losses: Name of a grid -> unweighted commitment loss.
        codebook_losses: Name of a grid -> loss of a quantizer that learns by gradient; grids of others are absent.
    """

    reconstruction: Float[Tensor, "b c H W"]
    codes: Codes
    commitment_losses: dict[str, Tensor]
    codebook_losses: dict[str, Tensor] = field(default_factory=dict)


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

    A level of depth 2 or more has as many quantizers, and a grid of codes from each: its quantized map is the sum of
    their entries. Codes and quantizers count grids; all other lists count levels.

    Args:
        config: The levels and the sizes of the layers.

    Attributes:
        config: The same.
        levels: Names of the grids of codes, coarse to fine; those of the levels, unless a level has several.
    """

    def __init__(self, config: VQVAEConfig) -> None:
        super().__init__()
        self.config = as_instance("config", config, VQVAEConfig)
        self.levels = config.levels
        count = len(config.downsample)
        build = networks_of(config)
        # The first weights follow from the order in which all parts are built.
        self.encoders = nn.ModuleList(build.encoder(index) for index in range(count))
        self.expanders = nn.ModuleList(build.expander(index) for index in range(count - 1))
        self.to_latents = nn.ModuleList(build.to_latents(index) for index in range(count))
        self.quantizers = nn.ModuleList(make_quantizer(config, grid) for grid in range(len(config.levels)))
        self.upsamplers = nn.ModuleList(build.upsampler(index) for index in range(count - 1))
        self.decoder = build.decoder()
        self.shortcuts = Shortcuts(config) if config.shortcuts else None
        if config.shortcuts:
            # What the networks draw at random would only disturb: they begin with nothing to add.
            for network in (*self.to_latents, self.decoder):
                clear_last_layer(network)

    def forward(
        self,
        images: Float[Tensor, "b c H W"],
        decoded_levels: Int[Tensor, " b"] | None = None,
        prices: Float[Tensor, " b"] | None = None,
    ) -> VQVAEOutput:
        """Encodes, quantizes and decodes.

        Args:
            images: Pixels in [-1, 1]. Both sides are multiples of the coarsest level's downsampling.
            decoded_levels: Number of levels of each image, coarse to fine, that the decoder receives, at least 1. The
                mean of the codebook stands for a finer one. None decodes all levels.
            prices: The price of a bit in each image, see `BitPrice`; None for the codes of nearest entries.

        Returns:
            The reconstruction, the codes and the commitment losses.

        Raises:
            ValueError: A side of the images is not a multiple of the coarsest level's downsampling.
        """
        results, coarser = self._quantize(images, prices)
        maps = [result.quantized for result in results]
        parts = self._by_grid(results)
        if decoded_levels is not None:
            maps = [self._map_or_mean(index, each, decoded_levels > index) for index, each in enumerate(maps)]
            # The coarsest level is never hidden. With a level between, the decoder input of that one has changed.
            coarser = coarser if len(maps) < 3 else self._decoder_input(maps[:-1])
        return VQVAEOutput(
            reconstruction=self._draw(self._extend(coarser, len(maps) - 1, maps[-1]), maps),
            codes=Codes({grid: part.codes for grid, part in parts.items()}),
            commitment_losses={grid: part.commitment_loss for grid, part in parts.items()},
            codebook_losses={
                grid: part.codebook_loss for grid, part in parts.items() if part.codebook_loss is not None
            },
        )

    def encode(self, images: Float[Tensor, "b c H W"], prices: Float[Tensor, " b"] | None = None) -> Codes:
        """Turns images into codes.

        Args:
            images: As in `forward`.
            prices: As in `forward`.

        Raises:
            ValueError: As in `forward`.
        """
        # The last upsampler and the decoder are left out: only decoding needs them.
        results, _ = self._quantize(images, prices)
        return Codes({grid: part.codes for grid, part in self._by_grid(results).items()})

    def latents(
        self, images: Float[Tensor, "b c H W"], codes: Mapping[str, Int[Tensor, "b _h _w"]]
    ) -> Float[Tensor, "b d _h _w"]:
        """Computes the latents of one grid, before they are quantized.

        Args:
            images: As in `forward`.
            codes: Codes of all grids before it, coarse to fine; they need not be those of the nearest entries.
        """
        grid = len(codes)
        level = self.config.levels_of_grids[grid]
        own = self._features(images)[level]
        maps: list[Tensor] = []
        entries = [self._quantizer(index).embed(each) for index, each in enumerate(codes.values())]
        if level > 0:
            maps = [sum_of_entries([entries[index] for index in grids]) for grids in self._grids[:level]]
            own = torch.cat([self.expanders[level - 1](self._decoder_input(maps)), own], dim=1)
        # A further grid of a level quantizes what the grids before it left.
        done = [entries[index] for index in self._grids[level] if index < grid]
        latents = self._to_latents(level, own, images, maps)
        return latents - sum_of_entries(done) if done else latents

    def decode(self, codes: Codes) -> Float[Tensor, "b c H W"]:
        """Turns codes into images with pixels in [-1, 1], clamped.

        Args:
            codes: Codes of this model, of images of any size.

        Raises:
            ValueError: The levels are not this model's, or the grids do not fit each other.
        """
        if misfit := misfit_of(codes, self.config):
            raise ValueError(f"codes: {misfit}")
        return self.decode_maps(self.embed(codes))

    def embed(self, codes: Codes) -> list[Float[Tensor, "b _d _h _w"]]:
        """Looks up the codebook entries of all codes, and sums those of each level; the levels coarse to fine."""
        entries = [self._quantizer(index).embed(codes.grids[grid]) for index, grid in enumerate(self.levels)]
        return [sum_of_entries([entries[grid] for grid in grids]) for grids in self._grids]

    def decode_maps(self, maps: Sequence[Float[Tensor, "b _d _h _w"]]) -> Float[Tensor, "b c H W"]:
        """Turns quantized maps into images with pixels in [-1, 1], clamped.

        Args:
            maps: One map for each level, coarse to fine. They may lie between codebook entries, as a mean of the maps
                of two images does.
        """
        # Only here and not in `forward`: in training a clamped pixel would have no gradient.
        return self._draw(self._decoder_input(maps), maps).clamp(-1, 1)

    def finest_positions(self, images: Shaped[Tensor, "b c H W"]) -> int:
        """Counts the codes that the finest level of a batch of images has: the rows of its products."""
        b, _, height, width = images.shape
        return b * height * width // self.config.downsample[-1] ** 2

    def seed_step(self, seed: int) -> None:
        """Sets the seed of this training step's draws.

        Args:
            seed: The same in all processes.
        """
        # With one seed for all grids, their starts and restarts would draw the same numbers.
        for index in range(len(self.levels)):
            self._quantizer(index).step_seed = seed + index

    @property
    def has_quantized(self) -> bool:
        """True once a training step has quantized the latents of all grids: before, entries are random numbers."""
        return self.codebook_moves > 0

    def update_codebooks(self) -> None:
        """Moves the codebooks. Call it once after each optimizer step, in all processes."""
        for index in range(len(self.levels)):
            self._quantizer(index).update()
        for grids in self._grids:
            share_unit([self._quantizer(grid) for grid in grids])

    def statistics(self) -> list[Tensor]:
        """Returns the buffers that the codebooks are a function of; see `Quantizer.statistics`."""
        return [tensor for index in range(len(self.levels)) for tensor in self._quantizer(index).statistics()]

    def refit_codebooks(self) -> None:
        """Computes the codebooks from the statistics."""
        for index in range(len(self.levels)):
            self._quantizer(index).refit()

    @property
    def codebook_moves(self) -> int:
        """Training steps that have quantized the latents of all grids. After a warm start some may begin later."""
        return min(self._quantizer(index).moves for index in range(len(self.levels)))

    @property
    def _grids(self) -> list[list[int]]:
        """The indices of the grids of each level."""
        owners = self.config.levels_of_grids
        return [
            [grid for grid, owner in enumerate(owners) if owner == level]
            for level in range(len(self.config.downsample))
        ]

    def _by_grid(self, results: Sequence[ResidualQuantized]) -> dict[str, Quantized]:
        """Returns the output of each quantizer by the name of its grid."""
        parts = (part for result in results for part in result.parts)
        return dict(zip(self.levels, parts, strict=True))

    def _quantizer(self, index: int) -> Quantizer:
        quantizer = self.quantizers[index]
        assert isinstance(quantizer, Quantizer)
        return quantizer

    def _quantize(self, images: Tensor, prices: Tensor | None = None) -> tuple[list[ResidualQuantized], Tensor | None]:
        """Quantizes the levels, coarse to fine.

        Returns:
            The result of each level, and the decoder input of the last level but one; None if there is one level.
        """
        features = self._features(images)
        results: list[ResidualQuantized] = []
        decoder_input: Tensor | None = None
        for index, grids in enumerate(self._grids):
            own = features[index]
            if index > 0:
                # A finer level sees what the coarser codes already tell the decoder, so it need not repeat it.
                decoder_input = self._extend(decoder_input, index - 1, results[-1].quantized)
                own = torch.cat([self.expanders[index - 1](decoder_input), own], dim=1)
            quantizers = [self._quantizer(grid) for grid in grids]
            latents = self._to_latents(index, own, images, [result.quantized for result in results])
            results.append(quantize_in_turn(quantizers, latents, estimator_of(self.config), prices))
        return results, decoder_input

    def _to_latents(self, level: int, features: Tensor, images: Tensor, coarser: Sequence[Tensor]) -> Tensor:
        """Computes the latents of a level from its features, and from the pixels if there are shortcuts."""
        latents = self.to_latents[level](features)
        return latents if self.shortcuts is None else latents + self.shortcuts.latents(level, images, coarser)

    def _draw(self, decoder_input: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Decodes the decoder input of the finest level, with the maps of all levels for the shortcuts."""
        pixels = self.decoder(decoder_input)
        return pixels if self.shortcuts is None else self.shortcuts.pixels(maps).add_(pixels)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Computes the encoder's features of every level, coarse to fine."""
        step = self.config.downsample[0]
        if images.shape[-1] % step or images.shape[-2] % step:
            raise ValueError(f"images should have sides that are multiples of {step}, found {tuple(images.shape[-2:])}")
        features = [images]
        for encoder in reversed(self.encoders):
            features.append(encoder(features[-1]))
        return features[:0:-1]  # reversed, and without the images

    def _decoder_input(self, maps: Sequence[Tensor]) -> Tensor:
        """Returns the decoder input of the finest of some maps, which begin with the coarsest level."""
        decoder_input: Tensor | None = None
        for index, quantized in enumerate(maps):
            decoder_input = self._extend(decoder_input, index, quantized)
        assert decoder_input is not None
        return decoder_input

    def _map_or_mean(self, index: int, quantized: Tensor, is_decoded: Tensor) -> Tensor:
        """Replaces the map of a level by the mean of its entries in the images that do not decode the level."""
        quantizers = [self._quantizer(grid) for grid in self._grids[index]]
        # While latents pass unquantized, the entries have no mean of any use.
        if index == 0 or any(quantizer.waits for quantizer in quantizers):
            return quantized
        mean = sum_of_entries([quantizer.mean_entry() for quantizer in quantizers]).to(quantized.dtype)
        return torch.where(is_decoded[:, None, None, None], quantized, mean[:, None, None])

    def _extend(self, coarser: Tensor | None, index: int, quantized: Tensor) -> Tensor:
        """Returns a level's decoder input: the upsampled coarser one and the level's quantized map, in this order."""
        if coarser is None:
            return quantized
        return torch.cat([self.upsamplers[index - 1](coarser), quantized], dim=1)
