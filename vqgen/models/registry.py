"""The configurations of the models. A model on disk is found by the name of its class."""

from torch import nn

from vqgen.config import AutoencoderConfig, ClassifierConfig, Config, PixelCNNConfig, VQVAEConfig
from vqgen.models.autoencoders.autoencoder import Autoencoder
from vqgen.models.autoencoders.binary_vae import BinaryVAE
from vqgen.models.autoencoders.vae import VAE
from vqgen.models.classifier import Classifier
from vqgen.models.hidden_layer_classifier import HiddenLayerClassifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE

CONFIGS: dict[type[nn.Module], type[Config]] = {
    VQVAE: VQVAEConfig,
    PixelCNN: PixelCNNConfig,
    Classifier: ClassifierConfig,
    HiddenLayerClassifier: ClassifierConfig,
    Autoencoder: AutoencoderConfig,
    VAE: AutoencoderConfig,
    BinaryVAE: AutoencoderConfig,
}
"""Class of a model -> class of its configuration."""
