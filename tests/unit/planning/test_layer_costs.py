import pytest
import torch
from measured_costs import counted, kept_bytes
from torch import nn

from vqgen.config import VQVAEConfig
from vqgen.nn.resizing import decoder_network, encoder_network
from vqgen.nn.upsampling import NearestConv2d
from vqgen.planning.layer_costs import Cost, decoder_cost, encoder_cost, layer_cost, total, upsampler_cost

CONFIG = VQVAEConfig(
    downsample=(2,), channels=12, residual_channels=6, residual_layers=2, image_size=16, image_channels=1
)
SIZES = (CONFIG.residual_channels, CONFIG.residual_layers)


def test_costs_add_up_part_by_part():
    assert total([Cost(1, 2, 3), Cost(10, 20, 30) * 2]) == Cost(21, 42, 63)
    assert total([]) == Cost()


@pytest.mark.parametrize(
    ("layer", "shape", "cost"),
    [
        (nn.Linear(5, 7), (5,), layer_cost(5, 7, 1)),
        (nn.Conv2d(5, 7, 3, padding=1), (5, 4, 6), layer_cost(5, 7, 24, taps=9)),
        (nn.Conv2d(5, 7, 4, stride=2, padding=1), (5, 4, 6), layer_cost(5, 7, 6, taps=16, kept=5 * 24)),
        (nn.ConvTranspose2d(5, 7, 4, stride=2, padding=1), (5, 4, 6), layer_cost(5, 7, 24, taps=16)),
        (nn.ConvTranspose2d(5, 7, 4, stride=2, padding=1), (5, 4, 6), upsampler_cost(5, 0, 7, 24, 2)),
        (NearestConv2d(5, 7), (5, 4, 6), upsampler_cost(5, 0, 7, 24, 2, "nearest")),
    ],
)
def test_layer_executes_the_flops_and_keeps_the_input_that_are_counted(layer, shape, cost):
    inputs = torch.randn(3, *shape)
    assert counted(lambda: layer(inputs)) == 3 * cost.flops
    assert kept_bytes(layer, lambda: layer(inputs)) == 4 * (3 * cost.kept + cost.once)


@pytest.mark.parametrize("ratio", [2, 8])
def test_encoder_and_decoder_execute_the_flops_that_are_counted(ratio):
    encoder = encoder_network(3, CONFIG.channels, ratio, *SIZES)
    decoder = decoder_network(5, CONFIG.channels, 3, ratio, *SIZES)
    images = torch.randn(2, 3, 16, 16)
    latents = torch.randn(2, 5, 16 // ratio, 16 // ratio)
    n = (16 // ratio) ** 2
    assert counted(lambda: encoder(images)) == 2 * encoder_cost(CONFIG, 3, n, ratio).flops
    assert counted(lambda: decoder(latents)) == 2 * decoder_cost(CONFIG, 5, 3, n, ratio).flops
