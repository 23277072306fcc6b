import pytest
import torch
from torch import nn

from vqgen.models.pixelcnn import PixelCNN
from vqgen.order import CausalOrder
from vqgen.planning.costs import prior_costs
from vqgen.planning.estimates import (
    SAMPLING_SHARE,
    SECONDS_PER_SAMPLED_TENSOR,
    SECONDS_PER_TENSOR,
    SHARE,
    SampleRequest,
    sampling_seconds,
    size_of,
    tensors_of,
    training_seconds,
)
from vqgen.runtime.machine import Machine
from vqgen.sampling import weights_read


def test_time_of_training_is_operations_at_a_share_of_the_peak_and_a_launch_for_each_tensor(machine):
    seconds = training_seconds(machine, flops=10**10, steps=100, tensors=7)
    assert seconds == pytest.approx(5 / SHARE + 700 * SECONDS_PER_TENSOR)


def test_time_of_sampling_is_the_longer_of_operations_and_reading_plus_calls(tiny_recipe):
    config = tiny_recipe().prior_config("top", 10)
    tensors = len(list(PixelCNN(config).parameters()))
    steps = CausalOrder(2, 2, 2).num_steps
    request = SampleRequest(config, images=10, batch_size=4)
    calls = 3 * steps * tensors * SECONDS_PER_SAMPLED_TENSOR  # 3 batches
    slow_memory = Machine(1e30, 1e30, 1e6)
    slow_arithmetic = Machine(1e6, 1e6, 1e30)
    reading = 3 * 4 * weights_read(config) / 1e6
    assert sampling_seconds(slow_memory, request) == pytest.approx(reading / SAMPLING_SHARE + calls)
    assert sampling_seconds(slow_memory, request, element_size=8) == pytest.approx(2 * reading / SAMPLING_SHARE + calls)
    operations = 10 * prior_costs(config).total.flops / 1e6
    assert sampling_seconds(slow_arithmetic, request) == pytest.approx(operations / SAMPLING_SHARE + calls)


def test_buffers_are_not_counted_as_trained_numbers():
    model = nn.Linear(3, 2)
    model.register_buffer("count", torch.zeros(100))
    assert (size_of(model), tensors_of(model)) == (8, 2)
