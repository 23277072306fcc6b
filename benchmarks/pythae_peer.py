"""pythae's own PixelCNN sampler, with a grid and a number of parameters of our choice.

It samples in raster order, with a forward pass of the whole grid for each position. It needs a VQ-VAE around its prior:
ours is the smallest that it accepts, with an encoder and a decoder that return their input. pythae's convolutions are 5
wide with 64 channels, so the depth sets the number of parameters. The model is in evaluation mode and computes no
gradients, which is more than its users get.
"""

from collections.abc import Callable

import torch

_CHANNELS = 64
_TAPS = 25


def num_layers(parameters: int, codebook_size: int) -> int:
    """Computes the depth at which pythae's PixelCNN has about `parameters` parameters; at least one layer.

    Args:
        parameters: The wanted number of weights and biases.
        codebook_size: Entries K. The last layer grows with them.
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
        ImportError: pythae is not installed, or does not work with the installed libraries.
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
        self.sampler.is_fitted = True  # else it refuses random weights, which do not change the time
        self.model = self.sampler.pixelcnn_model.eval()
        self.side = side

    @property
    def parameters(self) -> int:
        """The number of weights and biases of the prior."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def num_steps(self) -> int:
        """The number of forward passes of a sample."""
        return self.side**2

    def forward(self, batch: int) -> Callable[[], object]:
        """Returns a call that runs one forward pass."""
        codes = torch.zeros(batch, 1, self.side, self.side, device=self.sampler.device)
        return torch.no_grad()(lambda: self.model({"data": codes}))

    def sample(self, batch: int) -> Callable[[], object]:
        """Returns a call that runs the whole sampler."""
        return torch.no_grad()(lambda: self.sampler.sample(num_samples=batch, batch_size=batch))


def why_missing() -> str | None:
    """Returns the reason why pythae cannot be measured here, and the remedy; None if it can be measured."""
    try:
        PythaePeer(parameters=1, side=2, codebook_size=2)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "pythae":
            return "pythae is not installed and is left out; pip install 'vqgen[bench]' brings it"
        return f"pythae is left out: it needs {error.name}, which is not installed"
    except Exception as error:  # a library of 2023 may fail in any way with the libraries of today
        return f"pythae is left out: it does not work with the versions here ({type(error).__name__}: {error})"
    return None
