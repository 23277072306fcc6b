"""pythae's own VQ-VAE with its own PixelCNN: trained on images for a given time, then sampled.

The networks are those that pythae has for photographs: of CelebA, which leave a grid of 1/16 of the side, and of CIFAR,
which leave 1/4. They know no labels. Training and sampling are pythae's, with its settings for a plateau of the loss.
"""

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

NETWORKS = {"celeba": 16, "cifar": 4}
"""Name of pythae's networks -> the factor from the side of an image to that of its codes."""

_CODEBOOK = 512
_DIMENSIONS = 64
_BATCH = 32
_SAMPLED_AT_A_TIME = 100


@dataclass(frozen=True)
class Fitted:
    """A trained VQ-VAE of pythae with its sampler.

    Attributes:
        model: The VQ-VAE.
        sampler: The sampler, which has the PixelCNN.
        epochs: Epochs of the VQ-VAE and of the PixelCNN.
    """

    model: Any
    sampler: Any
    epochs: tuple[int, int]

    @property
    def parameters(self) -> int:
        """The number of weights and biases of both models."""
        return sum(each.numel() for part in (self.model, self.sampler.pixelcnn_model) for each in part.parameters())

    @torch.no_grad()
    def reconstruct(self, images: UInt8[Tensor, "n c H W"]) -> UInt8[Tensor, "n c H W"]:
        """Encodes and decodes images."""
        device = next(self.model.parameters()).device
        return torch.cat([_bytes(self.model({"data": each.to(device)}).recon_x) for each in _pixels(images).split(64)])

    def sample(self, count: int, seed: int) -> UInt8[Tensor, "n c H W"]:
        """Draws images."""
        torch.manual_seed(seed)
        with _silence():
            return _bytes(self.sampler.sample(num_samples=count, batch_size=_SAMPLED_AT_A_TIME))


def fit(
    networks: str, train: UInt8[Tensor, "n c H W"], held_out: UInt8[Tensor, "m c H W"], seconds: float, seed: int
) -> Fitted:
    """Trains both stages, each for half of the time. Images are mirrored, too, as in the recipes of vqgen.

    Args:
        networks: One of `NETWORKS`.
        train: Square colour images.
        held_out: Images for pythae's validation, which chooses its weights.
        seconds: Time of both trainings.
        seed: Seed of pythae's trainer.
    """
    from pythae.models import VQVAE, VQVAEConfig
    from pythae.models.nn.benchmarks import celeba, cifar
    from pythae.pipelines import TrainingPipeline
    from pythae.samplers import PixelCNNSampler, PixelCNNSamplerConfig

    torch.manual_seed(seed)
    shape = tuple(train.shape[1:])
    # Without use_ema: with it, the sampler of pythae 0.1.2 calls a tensor and fails.
    config = VQVAEConfig(input_dim=shape, latent_dim=_DIMENSIONS, num_embeddings=_CODEBOOK)
    encoder, decoder = (
        (celeba.Encoder_ResNet_VQVAE_CELEBA, celeba.Decoder_ResNet_VQVAE_CELEBA)
        if networks == "celeba"
        else (cifar.Encoder_ResNet_VQVAE_CIFAR, cifar.Decoder_ResNet_VQVAE_CIFAR)
    )
    model = VQVAE(config, encoder(config), decoder(config))
    images, judged = _pixels(torch.cat([train, train.flip(-1)])), _pixels(held_out)

    def train_model(settings: Any) -> None:
        TrainingPipeline(model=model, training_config=settings)(train_data=images, eval_data=judged)

    with _silence():
        first = _train_within(seconds / 2, train_model, seed)
        sampler = PixelCNNSampler(model.eval(), PixelCNNSamplerConfig())
        # `fit` wants a pixel of exactly 1 in both sets, which photographs have nearly always.
        second = _train_within(
            seconds / 2,
            lambda settings: sampler.fit(train_data=images, eval_data=judged, training_config=settings),
            seed,
        )
    sampler.pixelcnn_model.eval()  # its batch norm would take the statistics of half-drawn grids
    return Fitted(model, sampler, (first, second))


def _train_within(seconds: float, train: Callable[[Any], None], seed: int) -> int:
    """Trains one epoch, then as many more as fit into the time. Returns their number.

    Args:
        seconds: Time of all epochs.
        train: Trains by settings of pythae's trainer, from the weights that the model has.
        seed: Seed of the trainer.
    """
    from pythae.trainers import BaseTrainerConfig

    epochs = 0
    begin = time.perf_counter()
    wanted = 1
    with tempfile.TemporaryDirectory() as folder:
        while wanted > 0:
            settings = BaseTrainerConfig(
                output_dir=str(Path(folder) / str(epochs)),
                num_epochs=wanted,
                learning_rate=1e-3,
                per_device_train_batch_size=_BATCH,
                per_device_eval_batch_size=_BATCH,
                train_dataloader_num_workers=0,
                eval_dataloader_num_workers=0,
                scheduler_cls="ReduceLROnPlateau",
                scheduler_params={"patience": 5, "factor": 0.5},
                seed=seed + epochs,
            )
            train(settings)
            epochs += wanted
            spent = time.perf_counter() - begin
            # After the first epoch, whose start counts as part of it, comes one training that fills the time.
            wanted = int((seconds - spent) / (spent / epochs)) if epochs == 1 else 0
    return epochs


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hides pythae's bars and its log, which print a line for each epoch."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _pixels(images: UInt8[Tensor, "n c H W"]) -> Float[Tensor, "n c H W"]:
    """Converts images to intensities in [0, 1]."""
    return images.float() / 255


def _bytes(pixels: Float[Tensor, "n c H W"]) -> UInt8[Tensor, "n c H W"]:
    return (255 * pixels.detach().cpu().clamp(0, 1)).round().to(torch.uint8)
