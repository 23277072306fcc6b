"""The baselines by their kind."""

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


def build_baseline(config: AutoencoderConfig) -> LatentModel:
    """Builds the model that a configuration asks for."""
    return BASELINES[config.kind](config)
