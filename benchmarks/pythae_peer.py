"""pythae's own PixelCNN sampler, on a grid and with a number of parameters of our choice.

It samples in raster order, a forward pass of the whole grid for each position. Around its prior stands the least VQ-VAE
that it accepts: encoder and decoder hand their input on. pythae's convolutions are 5 wide with 64 channels; depth makes
up the number of parameters. Beyond what its users get, the model is in evaluation mode and makes no gradients.
"""

from collections.abc import Callable

import torch

_CHANNELS = 64
_TAPS = 25


def num_layers(parameters: int, codebook_size: int) -> int:
    """Computes the depth at which pythae's PixelCNN has about so many parameters; at least one layer.

    Args:
        parameters: Weights and biases to come near to.
        codebook_size: Entries K, by which the last layer grows.
    """
    norm_and_bias = 3 * _CHANNELS
    first = _TAPS * _CHANNELS + norm_and_bias
    later = _TAPS * _CHANNELS**2 + norm_and_bias
    last = (_CHANNELS + 1) * codebook_size
    return 1 + max(0, round((parameters - first - last) / later))


class PythaePeer:
    """A prior of pythae and its sampler.

    Args:
        parameters: As in `num_layers`.
        side: Height and width of the grid.
        codebook_size: Entries K.

    Raises:
        ImportError: pythae is not installed, or does not work with the libraries that are.
    """

    def __init__(self, parameters: int, side: int, codebook_size: int) -> None:
        from pythae.models import VQVAE, VQVAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
        from pythae.samplers import PixelCNNSampler, PixelCNNSamplerConfig

        class Encoder(BaseEncoder):
            def forward(self, x: torch.Tensor) -> ModelOutput:
                return ModelOutput(embedding=x)

        class Decoder(BaseDecoder):
            def forward(self, z: torch.Tensor) -> ModelOutput:
                return ModelOutput(reconstruction=z)

        config = VQVAEConfig(input_dim=(1, side, side), latent_dim=1, num_embeddings=codebook_size)
        layers = PixelCNNSamplerConfig(n_layers=num_layers(parameters, codebook_size), kernel_size=5)
        self.sampler = PixelCNNSampler(VQVAE(config, Encoder(), Decoder()), layers)
        self.sampler.is_fitted = True  # it would refuse random weights; they change no time
        self.model = self.sampler.pixelcnn_model.eval()
        self.side = side

    @property
    def parameters(self) -> int:
        """Weights and biases of the prior."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def num_steps(self) -> int:
        """Forward passes that a sample takes."""
        return self.side**2

    def forward(self, batch: int) -> Callable[[], object]:
        """Returns a call of one forward pass."""
        codes = torch.zeros(batch, 1, self.side, self.side, device=self.sampler.device)
        return torch.no_grad()(lambda: self.model({"data": codes}))

    def sample(self, batch: int) -> Callable[[], object]:
        """Returns a call of the whole sampler."""
        return torch.no_grad()(lambda: self.sampler.sample(num_samples=batch, batch_size=batch))


def why_missing() -> str | None:
    """Tells why pythae cannot be measured here, and what to do; None where it can be."""
    try:
        PythaePeer(parameters=1, side=2, codebook_size=2)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "pythae":
            return "pythae is not installed and is left out; pip install 'vqgen[bench]' brings it"
        return f"pythae is left out: it needs {error.name}, which is not installed"
    except Exception as error:  # a library of 2023 may fail in any way with the libraries of today
        return f"pythae is left out: it does not work with the versions here ({type(error).__name__}: {error})"
    return None
