"""The losses of a reconstructed image: of pixels, of features, and of an adversary.

Legend: `b` batch, `c` channels, `H W` image.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vqgen.config import LossSettings
from vqgen.runtime.collective import all_reduce_sum, is_joined
from vqgen.training.adversary import Adversary
from vqgen.training.losses import PIXEL_LOSSES, reconstruction_loss
from vqgen.training.objective import Limit
from vqgen.training.perceptual import PerceptualDistance

_MOST = 1e4
"""Largest loss of a discriminator that still learns: usual ones are below 2."""


@dataclass(frozen=True)
class ImageLoss:
    """The losses of some reconstructions.

    Attributes:
        loss: To differentiate: the decoder's loss, and the discriminator's, each with a gradient at its own weights.
        value: The decoder's loss alone, detached.
        parts: All parts by name, detached.
    """

    loss: Float[Tensor, ""]
    value: Float[Tensor, ""]
    parts: dict[str, Tensor]


class ImageLosses(nn.Module):
    """The losses that a recipe chooses, other than the plain one.

    Args:
        settings: The losses.
        perceptual: The difference of features, if the settings have one.
        adversary: The adversary, if the settings have one.
        start: First step in which the adversary takes part.
        with_pixels: False if the model has a loss of pixels of its own, its likelihood.
    """

    def __init__(
        self,
        settings: LossSettings,
        perceptual: PerceptualDistance | None = None,
        adversary: Adversary | None = None,
        *,
        start: int = 0,
        with_pixels: bool = True,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.perceptual = perceptual
        self.adversary = adversary
        self._start = start
        self._with_pixels = with_pixels

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The bound of the discriminator's loss."""
        remedy = "lower losses.discriminator_rate or losses.adversarial_weight, or set losses.r1_weight"
        return () if self.adversary is None else (Limit("discriminator", remedy, _MOST),)

    def begin_step(self, step: int) -> None:
        """Prepares a step, counted from 0."""
        if self.adversary is not None:
            self.adversary.begin_step(step, self._start)

    def end_step(self) -> None:
        """Finishes a step, in all processes."""
        if self.adversary is not None:
            self.adversary.end_step()

    def distance(
        self, reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Computes the weighted differences of pixels and features, and their parts by name, detached.

        Args:
            reconstruction: Pixels in about [-1, 1].
            images: The originals, in [-1, 1].
        """
        parts: dict[str, Tensor] = {}
        distance = images.new_zeros(())
        if self._with_pixels:
            distance = PIXEL_LOSSES[self.settings.pixel](reconstruction, images)
            if self.settings.pixel != "l2":
                parts["pixel"] = distance.detach()
        if self.perceptual is not None:
            perceptual = self.perceptual(reconstruction, images)
            parts["perceptual"] = perceptual.detach()
            distance = distance + self.settings.perceptual_weight * perceptual
        return distance, parts

    def forward(
        self,
        reconstruction: Float[Tensor, "b c H W"],
        images: Float[Tensor, "b c H W"],
        last_kernel: Tensor,
        own: Float[Tensor, ""] | None = None,
    ) -> ImageLoss:
        """Computes the losses of one micro-batch.

        Args:
            reconstruction: The output of the decoder.
            images: The originals, in [-1, 1].
            last_kernel: Weight of the decoder's last layer, at which gradients are compared.
            own: The model's own loss of the same reconstructions, which is added; None for 0.
        """
        squared = {"reconstruction": reconstruction_loss(reconstruction, images).detach()}
        if self.adversary is not None and self.adversary.takes_part:
            found = self._contested(self.adversary, reconstruction, images, last_kernel, own)
        else:
            distance, parts = self.distance(reconstruction, images)
            distance = distance if own is None else own + distance
            found = ImageLoss(distance, distance.detach(), parts)
            if self.adversary is not None:
                found = self._uncontested(self.adversary, found)
        return ImageLoss(found.loss, found.value, squared | found.parts)

    def _contested(
        self, adversary: Adversary, reconstruction: Tensor, images: Tensor, last_kernel: Tensor, own: Tensor | None
    ) -> ImageLoss:
        """Computes the losses in a step in which the adversary takes part."""
        # The gradients of both losses are computed down to the pixels, one by one. From there on the model is
        # differentiated once, by their weighted sum.
        pixels = reconstruction.detach().to(images.dtype).requires_grad_()
        distance, parts = self.distance(pixels, images)
        of_distance = torch.autograd.grad(distance, pixels)[0] if distance.requires_grad else torch.zeros_like(pixels)
        meeting = adversary.meet(pixels, images)
        if self.settings.is_adaptive:
            at_kernel = [_at(last_kernel, reconstruction, each) for each in (of_distance, meeting.gradient)]
            if own is not None:
                at_kernel[0] = at_kernel[0] + _at(last_kernel, own)
            adversary.add_gradients(*at_kernel, count=len(images))
        value = distance.detach() + adversary.weight * meeting.adversarial
        loss = _WithGradient.apply(reconstruction, value, of_distance + adversary.weight * meeting.gradient)
        if own is not None:
            value, loss = value + own.detach(), loss + own
        met = self._met(adversary, meeting.adversarial, meeting.discriminator, meeting.penalties)
        return ImageLoss(loss + meeting.loss, value, parts | met)

    def _uncontested(self, adversary: Adversary, found: ImageLoss) -> ImageLoss:
        """Adds the parts of an adversary that does not take part yet: all are 0."""
        loss = found.loss
        if is_joined():
            # Processes exchange the gradients of all weights at once, so each weight has to have one. As a product
            # with a tensor the gradient has the weight's layout in memory.
            loss = loss + sum((weight * torch.zeros_like(weight)).sum() for weight in adversary.parameters())
        zero = torch.zeros_like(found.value)
        return ImageLoss(loss, found.value, found.parts | self._met(adversary, zero, zero, zero))

    def _met(
        self, adversary: Adversary, adversarial: Tensor, discriminator: Tensor, penalties: Tensor
    ) -> dict[str, Tensor]:
        """Returns the parts of an adversary, by name."""
        found = {"adversarial": adversarial, "discriminator": discriminator}
        if self.settings.lecam_weight or self.settings.r1_weight:
            found["penalties"] = penalties
        if self.settings.is_adaptive:
            found["adaptive_weight"] = adversary.adaptive_weight.clone()  # the next step overwrites it
        return found


class DistanceSums:
    """Sums of the losses of a validation set.

    Args:
        losses: The losses; None sums nothing.
        device: The device of the sums.
    """

    def __init__(self, losses: ImageLosses | None, device: torch.device) -> None:
        self._losses = losses
        self._sums: dict[str, Tensor] = {}
        self._count = torch.zeros((), dtype=torch.float64, device=device)

    def add(self, reconstruction: Tensor, images: Tensor) -> None:
        """Adds one batch."""
        if self._losses is None:
            return
        distance, parts = self._losses.distance(reconstruction, images)
        self._count += len(images)
        for name, value in {**parts, "distance": distance}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.double() * len(images)

    def result(self) -> dict[str, float]:
        """Computes means over all images of all processes, which all call it."""
        if self._losses is None:
            return {}
        sums = all_reduce_sum(torch.stack([self._count, *self._sums.values()]))
        return dict(zip(self._sums, (sums[1:] / sums[0]).tolist(), strict=True))


def last_kernel(decoder: nn.Module) -> Tensor:
    """Returns the weight of the last layer of a decoder."""
    return [parameter for parameter in decoder.parameters() if parameter.ndim > 1][-1]


def _at(weight: Tensor, output: Tensor, gradient: Tensor | None = None) -> Tensor:
    """Computes the gradient at a weight, from the gradient at an output, or of an output that is a number."""
    given = None if gradient is None else gradient.to(output.dtype)
    return torch.autograd.grad(output, weight, given, retain_graph=True)[0]


class _WithGradient(torch.autograd.Function):
    """A number whose gradient at a tensor is known already."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        """Returns the number."""
        ctx.save_for_backward(gradient)
        ctx.dtype = tensor.dtype
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, None, None]:
        """Applies the chain rule to the known gradient."""
        (gradient,) = ctx.saved_tensors
        return (outer[0] * gradient).to(ctx.dtype), None, None
