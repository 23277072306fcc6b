"""The baselines by their kind."""

from vqgen.config import AutoencoderConfig, BaselineKind
from vqgen.models.autoencoder import Autoencoder
from vqgen.models.binary_vae import BinaryVAE
from vqgen.models.latent_model import LatentModel
from vqgen.models.vae import VAE

BASELINES: dict[BaselineKind, type[Autoencoder] | type[VAE] | type[BinaryVAE]] = {
    "autoencoder": Autoencoder,
    "vae": VAE,
    "binary-vae": BinaryVAE,
}


def build_baseline(config: AutoencoderConfig) -> LatentModel:
    """Builds the model that a configuration asks for."""
    return BASELINES[config.kind](config)
