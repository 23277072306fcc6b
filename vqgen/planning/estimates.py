"""Estimates of time from operations, bytes and calls, with a few constants fitted on 2 CPU cores.

`python -m benchmarks.plan` measures the constants again. On another device they are a first guess.
"""

import math
from dataclasses import dataclass

from torch import nn

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.without_weights import without_weights
from vqgen.planning.costs import prior_costs, sampling_steps
from vqgen.runtime.machine import Machine
from vqgen.sampling import weights_read

SHARE = 0.77
"""Share of the measured peak that large layers reach in training."""

SECONDS_PER_TENSOR = 2.5e-4
"""Time of a training step for each weight tensor, however small the layer: launches and the optimizer."""

SAMPLING_SHARE = 0.56
"""Share of its limit that sampling reaches at large batches."""

SECONDS_PER_SAMPLED_TENSOR = 1e-5
"""Time of a sampling step for each weight tensor, however small the layer."""

SECONDS_PER_IMAGE = 1.5e-5
"""Time to read and augment an image for the extraction of codes, by `python -m benchmarks.extraction digits`. Files
take longer."""


@dataclass(frozen=True)
class SampleRequest:
    """A request for sampled codes of one level.

    Attributes:
        config: The prior of the level.
        images: Number of images.
        batch_size: Images at a time.
    """

    config: PixelCNNConfig
    images: int
    batch_size: int


def training_seconds(machine: Machine, flops: int, steps: int, tensors: int) -> float:
    """Estimates the time of training steps: the time of their operations, and the time to launch them.

    Args:
        machine: The speeds of the device.
        flops: FLOPs of all steps.
        steps: Optimizer steps.
        tensors: Weight tensors of the model.

    Returns:
        Seconds.
    """
    # Operations limit large models, and launches limit small ones. The sum is about right at both ends.
    return flops / (SHARE * machine.peak_flops) + steps * tensors * SECONDS_PER_TENSOR


def sampling_seconds(machine: Machine, request: SampleRequest, element_size: int = 4) -> float:
    """Estimates the time of a cached sampler: of operations or of reading weights, whichever is longer, and of calls.

    Args:
        machine: The speeds of the device.
        request: The codes to sample.
        element_size: Bytes of a weight.

    Returns:
        Seconds.
    """
    config = request.config
    batches = math.ceil(request.images / request.batch_size)
    # The slower of the two is the limit (the roofline model): weights are read while the operations before them run.
    operations = request.images * prior_costs(config).total.flops / machine.peak_flops
    reading = batches * element_size * weights_read(config) / machine.bandwidth
    calls = batches * sampling_steps(config) * tensors_of(without_weights(lambda: PixelCNN(config)))
    return max(operations, reading) / SAMPLING_SHARE + calls * SECONDS_PER_SAMPLED_TENSOR


def size_of(model: nn.Module) -> int:
    """Counts the trained numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def tensors_of(model: nn.Module) -> int:
    """Counts the weight tensors of a model."""
    return sum(1 for _ in model.parameters())
