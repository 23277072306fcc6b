"""The baselines: a plain autoencoder, a VAE and a VAE with binary latents, all in one section of a recipe."""

from typing import Any, Literal

from pydantic import Field, model_validator

from vqgen.config.base import Config
from vqgen.config.bounds import LARGEST_SIDE, MOST_CHANNELS, MOST_LABELS, MOST_LAYERS

BaselineKind = Literal["autoencoder", "vae", "binary-vae"]

LARGEST_LATENT_GRID = 4
"""The largest side of the last grid of features: images are halved until their side is at most this."""

_OF_KINDS: dict[str, tuple[BaselineKind, ...]] = {
    "mixture_components": ("autoencoder",),
    "mixture_regularization": ("autoencoder",),
    "labels": ("vae", "binary-vae"),
    "likelihood": ("vae", "binary-vae"),
    "beta": ("vae", "binary-vae"),
    "monte_carlo_samples": ("vae", "binary-vae"),
    "gradient": ("binary-vae",),
    "gumbel_temperature": ("binary-vae",),
}
"""Field -> the kinds of baselines that use it."""


class AutoencoderSettings(Config):
    """A baseline: an encoder, a vector of latents, a decoder, and a distribution to sample latents from."""

    kind: BaselineKind = "vae"
    """autoencoder (sampled by a Gaussian mixture per label), vae (Gaussian latents) or binary-vae (bits)."""
    latent_size: int = Field(20, gt=0, le=MOST_CHANNELS)
    """Dimensions of the latent vector."""
    channels: int = Field(64, ge=2, le=MOST_CHANNELS, multiple_of=2)
    """Channels of the encoder's and decoder's features."""
    residual_channels: int = Field(32, gt=0, le=MOST_CHANNELS)
    """Inner channels of a residual block."""
    residual_layers: int = Field(1, ge=0, le=MOST_LAYERS)
    """Residual blocks in encoder and decoder."""
    hidden: int = Field(256, gt=0, le=MOST_CHANNELS)
    """Units of the layer between the features and the latent vector, in the encoder and in the decoder."""
    mixture_components: int = Field(10, gt=0, le=MOST_CHANNELS)
    """autoencoder: Gaussians in the mixture of each label."""
    mixture_regularization: float = Field(1e-3, gt=0)
    """autoencoder: variance added to each Gaussian, as a share of the latents' mean variance."""
    labels: Literal["unused", "conditional"] = "unused"
    """vae, binary-vae: conditional gives encoder and decoder the label, so that images of a label can be generated."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """vae, binary-vae: p(image | latents): Bernoulli, with intensities as shares of white, or Gaussian, with one
    learned deviation."""
    beta: float = Field(1.0, gt=0)
    """vae, binary-vae: weight of the divergence between posterior and prior; 1 is the evidence lower bound."""
    monte_carlo_samples: int = Field(1, gt=0, le=MOST_CHANNELS)
    """vae, binary-vae: latents drawn from each image's posterior in a training step."""
    gradient: Literal["straight-through", "gumbel"] = "straight-through"
    """binary-vae: gradient of the draw of a bit: that of the identity, or that of the binary concrete distribution."""
    gumbel_temperature: float = Field(0.5, gt=0)
    """binary-vae: temperature of the binary concrete distribution; the smaller, the nearer its draws are to 0 and 1."""

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> "AutoencoderSettings":
        # A default is always accepted: `save_recipe` writes every field, also those that this kind ignores.
        foreign = [
            f"{name} = {_shown(getattr(self, name))}"
            for name, kinds in _OF_KINDS.items()
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default
        ]
        if foreign:
            raise ValueError(f'should set only fields that kind = "{self.kind}" uses, found {", ".join(foreign)}')
        return self

    @property
    def is_conditional(self) -> bool:
        """True if images of a label can be generated, provided that the images have labels."""
        return self.kind == "autoencoder" or self.labels == "conditional"


class AutoencoderConfig(AutoencoderSettings):
    """A baseline that can be built."""

    image_size: int = Field(gt=0, le=LARGEST_SIDE)
    """Height and width of the images, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""
    num_classes: int = Field(ge=0, le=MOST_LABELS)
    """Labels of which images can be generated; 0 for none."""

    @property
    def downsample(self) -> int:
        """Pixels of the image along a side of one cell of the last grid."""
        factor = 1
        while self.image_size // factor > LARGEST_LATENT_GRID and self.image_size // factor % 2 == 0:
            factor *= 2
        return factor

    @property
    def grid(self) -> int:
        """Side of the last grid of features."""
        return self.image_size // self.downsample

    @property
    def label_features(self) -> int:
        """Labels that encoder and decoder are conditioned on; 0 for none."""
        return self.num_classes if self.labels == "conditional" else 0


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"
