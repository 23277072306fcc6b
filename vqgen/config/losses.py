"""The losses of stage one, as a recipe has them: of pixels, of features of a frozen network, of a discriminator.

All fields were added to sections that older runs have, so each of them keeps their fingerprints.
"""

from typing import Literal

from vqgen.config.base import Config, added_field, runtime_field
from vqgen.config.bounds import MOST_CHANNELS, MOST_STAGES, MOST_STEPS

PixelLoss = Literal["l2", "l1", "charbonnier"]

PerceptualLoss = Literal["none", "lpips", "classifier"]

AdversarialLoss = Literal["none", "hinge", "non-saturating"]

LPIPS_SIDE = 31
"""Side of the smallest image that LPIPS can be computed of: AlexNet leaves one position of it to its third layer."""

_USUAL_START = 0.5
"""Share of the training before the adversary, if the recipe does not set its first step."""


class LossSettings(Config):
    """The losses of a reconstructed image."""

    pixel: PixelLoss = added_field("l2")
    """Difference of pixels: l2 (squared), l1 (absolute) or charbonnier (absolute, but smooth near zero)."""
    perceptual: PerceptualLoss = added_field("none")
    """Difference of features: none, lpips (AlexNet, whose weights are a download) or classifier (of this run, trained
    first, or of losses.classifier)."""
    perceptual_weight: float = added_field(0.3, gt=0, allow_inf_nan=False)
    """Weight of the difference of features; that of pixels has the weight 1."""
    lpips_weights: str | None = runtime_field(None, short="--lpips-weights")
    """File of the weights of torchvision's AlexNet, for lpips; without it the one in the cache of torch. The stage
    records its hash."""
    classifier: str | None = runtime_field(None)
    """Checkpoint whose classifier has the features; without it the classifier of this run. The stage records its
    hash."""
    adversarial: AdversarialLoss = added_field("none")
    """Loss against a discriminator, which learns to tell reconstructions from images: none, hinge or non-saturating."""
    adversarial_weight: float = added_field(0.5, gt=0, allow_inf_nan=False)
    """Weight of the adversarial loss."""
    adversarial_scale: Literal["adaptive", "fixed"] = added_field("adaptive")
    """adaptive multiplies the weight by the ratio of the gradients of the two losses at the last layer of the decoder:
    with the weight 1 both have the same gradient there."""
    adversarial_start: int | None = added_field(None, ge=0, le=MOST_STEPS)
    """First step, counted from 0, with the discriminator; without it the step in the middle of the training."""
    discriminator_channels: int = added_field(32, gt=0, le=MOST_CHANNELS // 8, multiple_of=8)
    """Channels of the discriminator's first layer. Each halving doubles them, up to eight times as many."""
    discriminator_layers: int = added_field(3, gt=0, le=MOST_STAGES)
    """Halvings of the image in the discriminator. It judges each position of the last grid: a patch of the image."""
    discriminator_norm: Literal["group", "none"] = added_field("group")
    """Norm of the discriminator's layers. A batch norm would let images of a batch depend on each other."""
    discriminator_rate: float = added_field(1.0, gt=0, allow_inf_nan=False)
    """Learning rate of the discriminator, as a multiple of that of the model."""
    r1_weight: float = added_field(0.0, ge=0, allow_inf_nan=False)
    """Weight of the discriminator's squared gradient at real images, for each patch; 0 leaves it out."""
    r1_every: int = added_field(16, gt=0, le=MOST_STEPS)
    """Steps between two that compute this gradient, with a weight that makes up for the others."""
    lecam_weight: float = added_field(0.001, ge=0, allow_inf_nan=False)
    """Weight of the squared difference between the discriminator's outputs and their average for the other kind of
    images. It keeps the discriminator from learning few images by heart; 0 leaves it out."""

    @property
    def is_plain(self) -> bool:
        """True for the squared difference of pixels alone."""
        return self.pixel == "l2" and self.perceptual == "none" and not self.has_adversary

    @property
    def has_adversary(self) -> bool:
        """True if there is a discriminator."""
        return self.adversarial != "none"

    @property
    def is_adaptive(self) -> bool:
        """True if the weight of the adversarial loss follows from gradients."""
        return self.has_adversary and self.adversarial_scale == "adaptive"

    @property
    def uses_own_classifier(self) -> bool:
        """True if the classifier of the run has to be trained first."""
        return self.perceptual == "classifier" and self.classifier is None

    def start(self, num_steps: int) -> int:
        """Returns the first step with the discriminator, in a training of `num_steps` steps."""
        return int(_USUAL_START * num_steps) if self.adversarial_start is None else self.adversarial_start

    @property
    def text(self) -> str:
        """The losses in words, such as `l1 + classifier + hinge, `; nothing for the plain ones."""
        others = [name for name in (self.perceptual, self.adversarial) if name != "none"]
        return "" if self.is_plain else f"{' + '.join([self.pixel, *others])}, "
