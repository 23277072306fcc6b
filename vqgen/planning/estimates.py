"""What time follows from operations, bytes and calls: a few constants, fitted on 2 CPU cores.

`python -m benchmarks.plan` measures them again; on another device they are a first guess.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.planning.costs import prior_costs, sampling_steps
from vqgen.runtime.machine import Machine
from vqgen.sampling import weights_read

SHARE = 0.77
"""Share of the measured peak that large layers reach in training."""

SECONDS_PER_TENSOR = 2.5e-4
"""What a training step takes for each weight tensor, however small the layer: launching, and the optimizer's share."""

SAMPLING_SHARE = 0.56
"""Share of its limit that sampling reaches at large batches."""

SECONDS_PER_SAMPLED_TENSOR = 1e-5
"""What a step of sampling takes for each weight tensor, however small the layer."""

SECONDS_PER_IMAGE = 3e-4
"""Reading, augmenting and stacking an image when codes are extracted: from one run of digits; files take longer."""


@dataclass(frozen=True)
class SampleRequest:
    """Codes of one level that are to be sampled.

    Attributes:
        config: The level's prior.
        images: How many images.
        batch_size: How many at once.
    """

    config: PixelCNNConfig
    images: int
    batch_size: int


def training_seconds(machine: Machine, flops: int, steps: int, tensors: int) -> float:
    """Estimates the time of training steps: their operations, and what launching them takes.

    Args:
        machine: The device.
        flops: Operations of all steps.
        steps: Optimizer steps.
        tensors: Weight tensors of the model.
    """
    return flops / (SHARE * machine.peak_flops) + steps * tensors * SECONDS_PER_TENSOR


def sampling_seconds(machine: Machine, request: SampleRequest, element_size: int = 4) -> float:
    """Estimates the time of a cached sampler: operations or reading weights, whichever is more, and launching.

    Args:
        machine: The device.
        request: What to sample.
        element_size: Bytes of a weight.
    """
    config = request.config
    batches = math.ceil(request.images / request.batch_size)
    operations = request.images * prior_costs(config).total.flops / machine.peak_flops
    reading = batches * element_size * weights_read(config) / machine.bandwidth
    calls = batches * sampling_steps(config) * tensors_of(without_weights(lambda: PixelCNN(config)))
    return max(operations, reading) / SAMPLING_SHARE + calls * SECONDS_PER_SAMPLED_TENSOR


def without_weights(build: Callable[[], nn.Module]) -> nn.Module:
    """Builds a model whose tensors have shapes and no numbers, so that the largest one takes no memory."""
    with torch.device("meta"):
        return build()


def size_of(model: nn.Module) -> int:
    """Counts the trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def tensors_of(model: nn.Module) -> int:
    """Counts the weight tensors of a model."""
    return sum(1 for _ in model.parameters())
