"""The metrics of a checkpoint that need no samples, for `vqgen evaluate` and `vqgen compare`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from vqgen.codes import Codes
from vqgen.config import LPIPS_SIDE
from vqgen.evaluation.bounds import IMPORTANCE_SAMPLES, latent_likelihood
from vqgen.evaluation.code_usage import code_usage
from vqgen.evaluation.features import halves
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.evaluation.metric import Findings, Metric, difference, metrics_with_floor
from vqgen.evaluation.pixel_errors import WINDOW
from vqgen.evaluation.reconstruction import reconstruction_errors
from vqgen.models.autoencoders.latent_model import VariationalModel
from vqgen.pipeline import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.base import AnyPipeline
from vqgen.pipeline.likelihood import code_likelihood

MOST_BOUNDED = 1000
"""Images of a split whose likelihood is bounded, at most: each of them is decoded once for each importance sample."""


@dataclass(frozen=True, kw_only=True)
class ModelJudge:
    """Judges the models of a pipeline by real images.

    Attributes:
        pipe: The pipeline.
        train: Real images that it was trained on.
        held_out: Real images that it never saw.
        seed: Seed of the halves, of the choices among real images, and of the classifiers that are trained.
    """

    pipe: AnyPipeline
    train: RealImages
    held_out: RealImages
    seed: int

    def reconstruction(self, lpips: Callable[[Tensor, Tensor], Tensor] | None) -> Findings:
        """Computes the errors of reconstructed held-out images, as far as the images are large enough.

        Args:
            lpips: From `load_lpips`; None leaves LPIPS out.
        """
        images = self.held_out.images
        decoded = self.pipe.reconstruct_tensor(images, self.held_out.labels)

        def errors(chosen: Tensor) -> dict[str, float]:
            return reconstruction_errors(images[chosen], decoded[chosen], lpips)

        counts = {self.held_out.split: len(images)}
        found = self._with_floor("reconstruction", "pixels", counts, errors, self.held_out)
        least = {"ssim": WINDOW, "ms_ssim": WINDOW} | ({} if lpips is None else {"lpips": LPIPS_SIDE})
        side = images.shape[-1]
        small = {
            name: f"it needs images of at least {needed} x {needed} pixels, found {side} x {side}"
            for name, needed in least.items()
            if side < needed
        }
        return found + Findings(left_out=small)

    def codes(self) -> Findings:
        """Computes usage and perplexity of each codebook over the held-out images."""
        size = self._with_codes.vqvae.config.codebook_size

        def usage(chosen: Tensor) -> dict[str, float]:
            metrics = {}
            for level, grid in self._held_out_codes.grids.items():
                used = code_usage(grid[chosen].flatten().bincount(minlength=size))
                metrics |= {f"usage_{level}": used.usage, f"perplexity_{level}": used.perplexity}
            return metrics

        counts = {self.held_out.split: len(self.held_out)}
        return self._with_floor("codes", f"{size} codes a level", counts, usage, self.held_out)

    def likelihood(self) -> Findings:
        """Computes nats per code of each level, and bits per pixel, of training images and of held-out images.

        For a variational autoencoder it computes the bounds of the likelihood, in nats per image.
        """
        if self.pipe.has_bound:
            pipe = cast(BaselinePipeline, self.pipe)
            return self._bounds(pipe, self.train) + self._bounds(pipe, self.held_out)
        return self._likelihood_of(self.train) + self._likelihood_of(self.held_out)

    def rate(self) -> Findings:
        """Computes the rate of held-out images in bits per pixel, raw and under the priors; empty without codes."""
        if not self.pipe.has_codes:
            return Findings()
        expected = [metric for metric in self._likelihood_of(self.held_out) if metric.name.startswith("bpp_")]
        raw = Metric("rate", "raw_bpp", self._with_codes.raw_bpp, None, "codes")
        # Without the name of the split: it is one row of a comparison, whatever split is held out.
        return Findings([raw, *(replace(metric, group="rate", name="bpp") for metric in expected)])

    def _likelihood_of(self, real: RealImages) -> Findings:
        codes = self._held_out_codes if real is self.held_out else self._with_codes.encode_tensor(real.images)
        found = code_likelihood(self._with_codes.parts.priors, codes, real.labels, self.pipe.compute)
        pixels = real.images.shape[-1] * real.images.shape[-2]

        def nats(chosen: Tensor) -> dict[str, float]:
            return {f"{name}_{real.split}": value for name, value in found.metrics(chosen, pixels).items()}

        return self._with_floor("likelihood", "codes", {real.split: len(real)}, nats, real)

    def _bounds(self, pipe: BaselinePipeline, real: RealImages) -> Findings:
        assert isinstance(pipe.model, VariationalModel)
        if len(real) > MOST_BOUNDED:
            # The two halves together are the images in random order, so their first ones are a random choice.
            real = real.subset(torch.cat(halves(len(real), self.seed))[:MOST_BOUNDED])
        labels = pipe.known_labels(real.images, real.labels)
        found = latent_likelihood(pipe.model, real.images, labels, pipe.compute, seed=self.seed)

        def nats(chosen: Tensor) -> dict[str, float]:
            return {f"{name}_{real.split}": value for name, value in found.metrics(chosen).items()}

        space = f"{IMPORTANCE_SAMPLES} importance samples"
        return self._with_floor("likelihood", space, {real.split: len(real)}, nats, real)

    @cached_property
    def _held_out_codes(self) -> Codes:
        # `codes`, `likelihood` and `code_entropy` share them: encoding is the slow part.
        return self._with_codes.encode_tensor(self.held_out.images)

    @property
    def _with_codes(self) -> VQGenPipeline:
        """The pipeline as one with codes, for the type checker."""
        assert self.pipe.has_codes
        return cast(VQGenPipeline, self.pipe)

    def _with_floor(
        self,
        group: str,
        space: str,
        counts: dict[str, int],
        compute: Callable[[Tensor], dict[str, float]],
        real: RealImages,
    ) -> Findings:
        """Computes metrics of all real images, and the differences between their halves as noise floors."""
        whole = compute(torch.arange(len(real)))
        return metrics_with_floor(
            group, space, counts, whole, lambda: difference(compute, halves(len(real), self.seed))
        )
