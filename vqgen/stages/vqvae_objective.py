"""The objective of stage one: the losses of a VQ-VAE, its validation, and pictures of its reconstructions."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vqgen.data import ImageBatch, image_pixels, model_pixels
from vqgen.evaluation.pixel_errors import mse_per_image
from vqgen.evaluation.reconstruction_sums import ReconstructionSums
from vqgen.models.vqvae import VQVAE
from vqgen.nn.quantizers.bit_price import price_of
from vqgen.reports.grids import reconstruction_grid
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.training.image_losses import DistanceSums, ImageLosses, last_kernel
from vqgen.training.image_objective import ImageObjective
from vqgen.training.losses import quantizer_loss, vqvae_loss

SHOWN = 32
"""Validation images that are shown beside their reconstructions."""

_DRAWS = 1 << 14
"""Draws of a step, more than most batches have images."""


class VQVAEObjective(ImageObjective):
    """The losses of reconstructions and the commitment of a VQ-VAE. After each step the codebooks move.

    Args:
        model: The VQ-VAE.
        others: As in `ImageObjective`.
        level_dropout: Share of the images whose decoder misses finer levels, in [0, 1).
        losses: As in `ImageObjective`.
    """

    model: VQVAE
    monitor = "mse"

    def __init__(
        self, model: VQVAE, *others: Any, level_dropout: float = 0.0, losses: ImageLosses | None = None
    ) -> None:
        super().__init__(model, *others, losses=losses)
        self._num_levels = len(model.config.downsample)
        self._level_dropout = level_dropout if self._num_levels > 1 else 0.0
        self._uniforms = torch.zeros(0)
        self._rate_weight = model.config.quantizer.rate_weight
        self._shares = torch.zeros(0)
        if losses is not None:
            self.monitor = "distance"  # the loss that is trained chooses the weights

    def forward(self, images: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the loss of one micro-batch of uint8 images."""
        pixels = pixels_for(self.model, images)
        output = self.model(pixels, self._decoded_levels(positions), self._prices(positions))
        weight = self.model.config.commitment_weight
        if self.losses is None:
            return vqvae_loss(output, pixels, weight)
        found = self.losses(output.reconstruction, pixels, last_kernel(self.model.decoder))
        of_quantizers, parts = quantizer_loss(output, weight)
        return found.loss + of_quantizers, {"loss": found.value + of_quantizers.detach(), **found.parts, **parts}

    def _decoded_levels(self, positions: Tensor) -> Tensor | None:
        """Draws the number of levels that the decoder receives of each image; None for all levels of all images."""
        if not self._level_dropout:
            return None
        # By position in the stream, so that micro-batches and processes draw the same. Larger batches repeat draws.
        uniforms = self._uniforms.to(positions.device, non_blocking=True)[positions % len(self._uniforms)]
        fewest = 1 + (uniforms * ((self._num_levels - 1) / self._level_dropout)).long()
        return fewest.clamp(max=self._num_levels)

    def _prices(self, positions: Tensor) -> Tensor | None:
        """Draws the price of a bit in each image; None if bits are free."""
        if not self._rate_weight:
            return None
        shares = self._shares.to(positions.device, non_blocking=True)[positions % len(self._shares)]
        return price_of(shares, self._rate_weight)

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Returns everything but the shortcuts, which are small, and the quantizers, whose Python state changes.

        With an adversary the decoder is left out, too: a compiled one cannot be differentiated twice.
        """
        model = self.model
        decoders = [] if self.opponent is not None else [model.decoder]
        return [*model.encoders, *model.expanders, *model.to_latents, *model.upsamplers, *decoders]

    def begin_step(self, step: int, seed: int) -> None:
        """Seeds the draws of the quantizers, alike in all processes: they restart the same codes."""
        super().begin_step(step, seed)
        self.model.seed_step(seed)
        if self._level_dropout:
            draws = torch.Generator().manual_seed(derive_seed(seed, "level-dropout"))
            self._uniforms = torch.rand(_DRAWS, generator=draws)
        if self._rate_weight:
            draws = torch.Generator().manual_seed(derive_seed(seed, "prices"))
            self._shares = torch.rand(_DRAWS, generator=draws)

    def end_step(self) -> None:
        """Moves the codebooks."""
        super().end_step()
        self.model.update_codebooks()

    def statistics(self) -> list[Tensor]:
        """Returns the statistics of the codebooks: averaged weights need codebooks that fit them."""
        return self.model.statistics()

    def statistics_steps(self) -> int:
        """Returns the steps since latents are quantized: before, the codebooks are random numbers."""
        return self.model.codebook_moves

    def use_statistics(self) -> None:
        """Computes the codebooks from their statistics."""
        self.model.refit_codebooks()

    def validation_counts(self, step: int, place: int | float) -> bool:
        """Returns True once latents are quantized: before, the codebooks are random numbers."""
        # Not by the number of the step: the codebooks of a warm start are in use from the first step on.
        return self.model.has_quantized and super().validation_counts(step, place)

    def validate(self) -> dict[str, float]:
        """Computes MSE, PSNR, the losses, and usage and perplexity of each level over the whole validation set."""
        return validate_vqvae(self.model, self._batches(), self._compute, self.losses)

    def pictures(self) -> Mapping[str, Image.Image]:
        """Draws the first validation images beside their reconstructions."""
        images = self._first_images(SHOWN).images
        return {"reconstructions": reconstruction_grid(images, reconstructed(self.model, images, self._compute))}


@torch.no_grad()
def validate_vqvae(
    model: VQVAE, batches: Iterator[ImageBatch], compute: Compute, losses: ImageLosses | None = None
) -> dict[str, float]:
    """Computes reconstruction errors and code usage over all batches of all processes.

    Args:
        model: The VQ-VAE.
        batches: This process's share of the images.
        compute: Device and dtype of the computation.
        losses: The losses of reconstructions; None for the plain one.

    Returns:
        mse (intensities in [0, 1]), psnr (dB, mean over images), usage_LEVEL, perplexity_LEVEL; with losses also the
        parts of their distance, and distance, their weighted sum.
    """
    device = next(model.parameters()).device
    sums = ReconstructionSums(model.levels, model.config.codebook_size, device)
    distances = DistanceSums(losses, device)
    for batch in batches:
        images = pixels_for(model, batch.images)
        with compute.autocast():
            output = model(images)
            distances.add(output.reconstruction, images)
        sums.add(mse_per_image(output.reconstruction, images), dict(output.codes.grids))
    return sums.result() | distances.result()


@torch.no_grad()
def reconstructed(model: VQVAE, images: Tensor, compute: Compute) -> Tensor:
    """Encodes and decodes uint8 images."""
    with compute.autocast():
        return image_pixels(model(pixels_for(model, images)).reconstruction)


def pixels_for(model: VQVAE, images: Tensor) -> Tensor:
    """Prepares uint8 images for the model."""
    weight = next(model.parameters())
    return model_pixels(images, weight.device, weight.dtype)
