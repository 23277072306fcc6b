"""The baselines: an autoencoder, a variational one, and one with binary latents, all in one section of a recipe."""

from typing import Any, Literal

from pydantic import Field, model_validator

from vqgen.config.base import Config

BaselineKind = Literal["autoencoder", "vae", "binary-vae"]

LARGEST_LATENT_GRID = 4
"""Side of the grid that the convolutions end at: images are halved until their side is at most this."""

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
"""Field -> kinds that it says something of."""


class AutoencoderSettings(Config):
    """A baseline: encoder, latent vector, decoder, and what its latents are sampled from."""

    kind: BaselineKind = "vae"
    """autoencoder (sampled by a Gaussian mixture per class), vae (Gaussian latents) or binary-vae (bits)."""
    latent_size: int = Field(20, gt=0)
    """Dimensions of the latent vector."""
    channels: int = Field(64, ge=2, multiple_of=2)
    """Channels of the encoder's and decoder's features."""
    residual_channels: int = Field(32, gt=0)
    """Inner channels of a residual block."""
    residual_layers: int = Field(1, ge=0)
    """Residual blocks in encoder and decoder."""
    hidden: int = Field(256, gt=0)
    """Units of the layer between the features and the latent vector, on either side."""
    mixture_components: int = Field(10, gt=0)
    """autoencoder: Gaussians of each class's mixture."""
    mixture_regularization: float = Field(1e-3, gt=0)
    """autoencoder: variance added to each Gaussian, as a share of the latents' mean variance."""
    labels: Literal["unused", "conditional"] = "unused"
    """vae, binary-vae: whether encoder and decoder are told the label, so that it can be asked for."""
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    """vae, binary-vae: p(image | latents): intensities as shares of white, or Gaussians of one learned deviation."""
    beta: float = Field(1.0, gt=0)
    """vae, binary-vae: weight of the divergence between posterior and prior; 1 is the evidence lower bound."""
    monte_carlo_samples: int = Field(1, gt=0)
    """vae, binary-vae: latents drawn from each image's posterior in a training step."""
    gradient: Literal["straight-through", "gumbel"] = "straight-through"
    """binary-vae: how the gradient passes the draw: as if it were the identity, or through the binary concrete."""
    gumbel_temperature: float = Field(0.5, gt=0)
    """binary-vae: temperature of the binary concrete; the smaller, the nearer to 0 and 1."""

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> "AutoencoderSettings":
        foreign = [
            f"{name} = {_shown(getattr(self, name))}"
            for name, kinds in _OF_KINDS.items()
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default
        ]
        if foreign:
            raise ValueError(f'should say nothing that kind = "{self.kind}" does not know, found {", ".join(foreign)}')
        return self

    @property
    def is_conditional(self) -> bool:
        """Whether images of a label can be asked for, where there are labels."""
        return self.kind == "autoencoder" or self.labels == "conditional"


class AutoencoderConfig(AutoencoderSettings):
    """A baseline that can be built."""

    image_size: int = Field(gt=0)
    """Height and width of the images, in pixels."""
    image_channels: Literal[1, 3]
    """1 for grey images, 3 for RGB."""
    num_classes: int = Field(ge=0)
    """Labels that images can be asked for; 0 for none."""

    @property
    def downsample(self) -> int:
        """Pixels of the image along a side of the last grid's cell."""
        factor = 1
        while self.image_size // factor > LARGEST_LATENT_GRID and self.image_size // factor % 2 == 0:
            factor *= 2
        return factor

    @property
    def grid(self) -> int:
        """Side of the grid that the convolutions end at."""
        return self.image_size // self.downsample

    @property
    def label_features(self) -> int:
        """Classes that encoder and decoder are told."""
        return self.num_classes if self.labels == "conditional" else 0


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:g}"
