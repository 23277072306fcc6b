"""The kinds of baselines."""

from vqgen.config import AutoencoderConfig, BaselineKind
from vqgen.models.autoencoders.autoencoder import Autoencoder
from vqgen.models.autoencoders.binary_vae import BinaryVAE
from vqgen.models.autoencoders.latent_model import LatentModel
from vqgen.models.autoencoders.vae import VAE

BASELINES: dict[BaselineKind, type[Autoencoder] | type[VAE] | type[BinaryVAE]] = {
    "autoencoder": Autoencoder,
    "vae": VAE,
    "binary-vae": BinaryVAE,
}
"""Kind, as in a recipe -> class of the baseline."""


def build_baseline(config: AutoencoderConfig) -> LatentModel:
    """Builds a baseline of the kind that the configuration names, with random weights."""
    return BASELINES[config.kind](config)
