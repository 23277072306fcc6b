"""The priors that the benchmarks sample, requests for samples, and the least time that a request can take."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import Slope
from vqgen.planning.costs import prior_costs
from vqgen.runtime.compute import Compute
from vqgen.runtime.machine import Machine
from vqgen.sampling import ImageNoise, LevelParams, LevelSample, Sampler
from vqgen.sampling.sampler import step_threads

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"channels": 8, "layers": 1, "attention_every": 1, "attention_heads": 2},
    "3M": {"channels": 128, "layers": 5, "attention_every": 5},
    "6M": {"channels": 128, "layers": 10, "attention_every": 5},
    "30M": {"channels": 256, "layers": 14, "attention_every": 7},
    "paper-top": {"channels": 512, "layers": 20, "attention_every": 5, "attention_heads": 8, "output_layers": 20},
    "paper-bottom": {"level": "bottom", "channels": 512, "layers": 20, "conditioning_layers": 20, "output_layers": 0},
}
"""Name -> the settings of this size. Kernels are 5 wide, and codebooks have 512 entries. Our gated blocks are 2 x 512
wide inside in both priors of the paper. That is the paper's own width at the bottom; at the top, the paper has 4 x 512.
"""


def prior_config(size: str, side: int, slope: Slope) -> PixelCNNConfig:
    """Returns the configuration of a prior. A bottom prior has coarser codes of half the side."""
    settings = {"level": "top", "height": side, "width": side, "slope": slope, "codebook_size": 512, "num_classes": 10}
    settings |= {"kernel_size": 5, **SIZES[size]}
    if settings["level"] != "top":
        settings |= {"coarser_height": side // 2, "coarser_width": side // 2}
    return PixelCNNConfig(**settings)


def make_prior(size: str, side: int, slope: Slope, device: torch.device) -> PixelCNN:
    """Makes a prior with random weights, which change no time."""
    return PixelCNN(prior_config(size, side, slope)).to(device).eval()


@dataclass(frozen=True)
class Request:
    """A request for images of one level, always with the same noise.

    Attributes:
        prior: The prior of the level.
        batch: Number of images.
        compute: Device and dtype.
    """

    prior: PixelCNN
    batch: int
    compute: Compute

    def sample(self, sampler: Sampler) -> LevelSample:
        """Samples the level, in as many threads as a pipeline would. The encoding of its coarser codes is included."""
        with torch.no_grad(), self.compute.autocast(), step_threads(self.prior, self.batch):
            noise = ImageNoise(0, range(self.batch), self.compute.device)
            return sampler.sample(self.prior, self._labels(), self._condition(), noise, LevelParams())

    def forward(self) -> Callable[[], Tensor]:
        """Returns a call that evaluates the whole grid once, as the plain sampler does at each step."""
        codes = self._codes(self.prior.config.height, self.prior.config.width)
        labels = self._labels()
        with torch.no_grad(), self.compute.autocast():
            condition = self._condition()

        def evaluate() -> Tensor:
            with torch.no_grad(), self.compute.autocast():
                return self.prior(codes, labels, condition)

        return evaluate

    def _labels(self) -> Tensor:
        return torch.zeros(self.batch, dtype=torch.int64, device=self.compute.device)

    def _codes(self, height: int, width: int) -> Tensor:
        return torch.zeros(self.batch, height, width, dtype=torch.int64, device=self.compute.device)

    def _condition(self) -> Tensor | None:
        config = self.prior.config
        coarser = self._codes(config.coarser_height, config.coarser_width) if config.is_conditioned else None
        return self.prior.encode_condition(coarser)


def arithmetic_seconds(prior: PixelCNN, batch: int, machine: Machine) -> float:
    """Computes the time of all operations of a batch at the peak: each position once in every layer."""
    return batch * prior_costs(prior.config).total.flops / machine.peak_flops


def reading_seconds(prior: PixelCNN, machine: Machine, element_size: int) -> float:
    """Computes the time of reading the weights: once at each step, or once in all for the stack over coarser codes.

    Args:
        prior: The prior.
        machine: Gives the bandwidth.
        element_size: Bytes of a weight in the dtype of the products.
    """
    once = ("coarser_embedding.", "coarser_stack.", "upsample.")
    weights = {name: parameter.numel() for name, parameter in prior.named_parameters()}
    of_coarser = sum(number for name, number in weights.items() if name.startswith(once))
    read = (sum(weights.values()) - of_coarser) * prior.order.num_steps + of_coarser
    return element_size * read / machine.bandwidth


def limit_seconds(prior: PixelCNN, batch: int, machine: Machine, element_size: int) -> float:
    """Computes the least time of a batch: the larger of the time of its operations and of reading its weights."""
    return max(arithmetic_seconds(prior, batch, machine), reading_seconds(prior, machine, element_size))
