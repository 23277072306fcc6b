"""The adversary of a decoder: a discriminator, the losses of both sides, and the statistics that they need.

The statistics are the adaptive weight of the adversarial loss, and LeCam's averages of the discriminator's outputs.
They are of all images of a step, in all processes and micro-batches, and the next step uses them. So an image has the
same loss in whatever part of a batch it is, and the processes exchange one tensor a step.

Legend: `b` batch, `c` channels, `H W` image, `h w` grid of patches.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vqgen.config import LossSettings
from vqgen.nn.patch_discriminator import make_discriminator
from vqgen.runtime.collective import all_reduce_sum
from vqgen.training.objective import Opponent

_SMALL = 1e-4
"""Added to the norm that divides, as in the source."""

_LARGEST_WEIGHT = 1e4
"""Largest adaptive weight, as in the source."""

_DECAY = 0.99
"""Decay of LeCam's averages."""


@dataclass(frozen=True)
class Meeting:
    """The discriminator's view of some reconstructions and of their originals.

    Attributes:
        adversarial: The loss of the decoder, detached: small if the discriminator takes reconstructions for originals.
        gradient: Its gradient at the reconstructions.
        discriminator: The loss of the discriminator without its penalties, detached.
        penalties: The weighted penalties, which keep the discriminator smooth, detached.
        loss: Both together, to differentiate. The gradient reaches the weights of the discriminator only.
    """

    adversarial: Float[Tensor, ""]
    gradient: Float[Tensor, "b c H W"]
    discriminator: Float[Tensor, ""]
    penalties: Float[Tensor, ""]
    loss: Float[Tensor, ""]


class Adversary(Opponent):
    """A patch discriminator that learns to tell reconstructions from originals.

    Args:
        settings: The losses; one of them is adversarial.
        image_channels: Channels of the images.

    Attributes:
        adaptive_weight: The factor of the adversarial loss in this step; 1 if the scale is fixed.
        averages: The averages of the discriminator's outputs in earlier steps: of originals, of reconstructions.

    Source: taming transformers, Esser et al. 2020, arXiv 2012.09841, equations 6 and 7, with the moments of its code.
    Deviation: the adaptive weight is of the gradients of the step before.
    """

    betas = (0.5, 0.9)
    adaptive_weight: Tensor
    averages: Tensor

    def __init__(self, settings: LossSettings, image_channels: int) -> None:
        super().__init__()
        self.rate = settings.discriminator_rate
        self.discriminator = make_discriminator(settings, image_channels)
        # Buffers, because a resumed training needs them. Before its first step the adversary has measured no gradient,
        # so the weight is 0 in this step. The outputs of a new discriminator are small, so their averages begin at 0.
        self.register_buffer("adaptive_weight", torch.full((), 0.0 if settings.is_adaptive else 1.0))
        self.register_buffer("averages", torch.zeros(2))
        self._settings = settings
        self._is_penalized = False
        self._outputs: Tensor | None = None
        self._gradients: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """The weight of the adversarial loss in this step."""
        return self._settings.adversarial_weight * self.adaptive_weight

    def begin_step(self, step: int, start: int) -> None:
        """Prepares a step.

        Args:
            step: Number of the step, from 0.
            start: Number of the first step in which the adversary takes part.
        """
        self.takes_part = step >= start
        self._is_penalized = self._settings.r1_weight > 0 and (step - start) % self._settings.r1_every == 0

    def meet(self, reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]) -> Meeting:
        """Judges reconstructions and their originals.

        Args:
            reconstruction: A leaf that requires a gradient, with the dtype of the images.
            images: The originals, in [-1, 1].
        """
        # One pass over the reconstructions serves both sides.
        fake = _at_least_float32(self.discriminator(reconstruction))
        real = _at_least_float32(self.discriminator(images))
        adversarial = decoder_loss(fake, self._settings.adversarial)
        # With respect to the reconstructions alone: the discriminator's weights get no gradient of this loss.
        (gradient,) = torch.autograd.grad(adversarial, reconstruction, retain_graph=True)
        discriminator = discriminator_loss(real, fake, self._settings.adversarial)
        penalties = self._penalties(real, fake, images)
        # Sums and a count, not means: the parts of a batch differ in size.
        sums = torch.stack([real.mean(), fake.mean(), real.new_ones(())]).detach() * len(images)
        self._outputs = sums if self._outputs is None else self._outputs + sums
        return Meeting(
            adversarial.detach(), gradient, discriminator.detach(), penalties.detach(), discriminator + penalties
        )

    def add_gradients(self, of_distance: Tensor, of_adversary: Tensor, count: int) -> None:
        """Adds the gradients of a micro-batch at the decoder's last layer to those of the step.

        Args:
            of_distance: Gradient of the difference between reconstructions and originals, a mean over the micro-batch.
            of_adversary: Gradient of the adversarial loss, of the same shape.
            count: Images of the micro-batch.
        """
        sums = torch.cat([of_distance.flatten(), of_adversary.flatten()]) * count
        self._gradients = sums if self._gradients is None else self._gradients + sums

    def end_step(self) -> None:
        """Computes the statistics for the next step. All processes call it after each step."""
        if self._outputs is None:  # the adversary has not begun
            return
        parts = [self._outputs] if self._gradients is None else [self._outputs, self._gradients]
        sums = all_reduce_sum(torch.cat([part.to(self.averages.dtype) for part in parts]))
        means = sums / sums[2]
        self.averages.lerp_(means[:2], 1 - _DECAY)
        if self._gradients is not None:
            of_distance, of_adversary = means[3:].chunk(2)
            ratio = of_distance.norm() / (of_adversary.norm() + _SMALL)
            self.adaptive_weight.copy_(ratio.clamp(max=_LARGEST_WEIGHT))
        self._outputs = self._gradients = None

    def _penalties(self, real: Tensor, fake: Tensor, images: Tensor) -> Tensor:
        penalty = real.new_zeros(())
        if self._settings.lecam_weight:
            penalty = penalty + self._settings.lecam_weight * lecam_penalty(real, fake, self.averages)
        if self._is_penalized:
            # In one of several steps, with as many times the weight: Karras et al. 2019, arXiv 1912.04958, appendix B.
            weight = self._settings.r1_weight * self._settings.r1_every
            penalty = penalty + weight * gradient_penalty(self.discriminator, images)
        return penalty


def decoder_loss(fake: Float[Tensor, "b 1 h w"], kind: str) -> Float[Tensor, ""]:
    """Computes the loss of the decoder from the discriminator's outputs of reconstructions.

    Source: hinge, Lim and Ye 2017, arXiv 1705.02894; non-saturating, Goodfellow et al. 2014, arXiv 1406.2661.
    """
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


def discriminator_loss(real: Float[Tensor, "b 1 h w"], fake: Float[Tensor, "b 1 h w"], kind: str) -> Float[Tensor, ""]:
    """Computes the loss of the discriminator, the mean of its parts for the two kinds of images; sources as above."""
    if kind == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def lecam_penalty(
    real: Float[Tensor, "b 1 h w"], fake: Float[Tensor, "b 1 h w"], averages: Float[Tensor, "2"]
) -> Float[Tensor, ""]:
    """Computes the squared differences between outputs of one kind of images and the average of the other kind.

    Source: LeCam divergence, Tseng et al. 2021, arXiv 2104.03310, section 3.
    """
    return (real - averages[1]).square().mean() + (fake - averages[0]).square().mean()


def gradient_penalty(discriminator: nn.Module, images: Float[Tensor, "b c H W"]) -> Float[Tensor, ""]:
    """Computes half the squared gradient of the discriminator at the originals, a mean over images and patches.

    Source: R1, Mescheder et al. 2018, arXiv 1801.04406, equation 9. The source has one output for an image. Here the
    squared gradient of the sum of all patches is divided by their number, so that it does not depend on the image size.
    """
    # A second derivative needs more than the 8 bits of bfloat16.
    with torch.autocast(images.device.type, enabled=False):
        pixels = images.detach().requires_grad_()
        outputs = discriminator(pixels)
        (gradient,) = torch.autograd.grad(outputs.sum(), pixels, create_graph=True)
    return gradient.square().sum() / (2 * outputs.numel())


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs.float() if outputs.element_size() < 4 else outputs
