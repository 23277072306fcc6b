import pytest
import torch
from torch import nn

from vqgen.config import VQVAEConfig
from vqgen.nn.bands import InBands, split_growing, split_shrinking
from vqgen.nn.receptive_field import changes_grid
from vqgen.nn.residual_networks import growing_network, shrinking_network
from vqgen.nn.resizing import decoder_network, encoder_network, upsampler

RESIDUAL = VQVAEConfig(
    architecture="residual", downsample=(8, 2), channels=4, residual_channels=2, residual_layers=1, image_size=64,
    image_channels=1, upsampling="nearest", channel_multipliers=(1, 2),
)  # fmt: skip

NETWORKS = {
    "encoder of ratio 2": (1, lambda: encoder_network(1, 4, 2, 2, 1)),
    "encoder of ratio 8": (3, lambda: encoder_network(3, 4, 8, 2, 2)),
    "decoder of ratio 4": (2, lambda: decoder_network(2, 4, 3, 4, 2, 2)),
    "upsampler of ratio 8": (2, lambda: upsampler(2, 4, 2, 8)),
    "residual encoder of ratio 8": (1, lambda: shrinking_network(RESIDUAL, 1, 8)),
    "residual decoder of ratio 4": (2, lambda: growing_network(RESIDUAL, 2, 4, 8, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("room", [1, 20_000])
@pytest.mark.parametrize("rows", [8, 88])
def test_output_is_that_of_the_network(name, room, rows):
    channels, build = NETWORKS[name]
    network = build().double()
    banded = InBands(network, channels, room)
    features = torch.randn(2, channels, rows, 16, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(banded(features), network(features), rtol=0, atol=1e-12)


def test_bands_have_the_rows_that_fit_their_room():
    rows = []
    layer = nn.Conv2d(1, 1, kernel_size=4, stride=2, padding=1)
    layer.register_forward_hook(lambda _module, inputs, _output: rows.append(inputs[0].shape[2]))
    image = torch.randn(1, 1, 64, 10)
    for room in (1, 1600, 1 << 20):
        rows.clear()
        with torch.no_grad():
            InBands(layer, 1, room)(image)
        # A row takes 10 positions of 2 * (1 + 1/4) numbers of 4 bytes; at the top edge a margin has no row above.
        assert rows[0] == {1: 4, 1600: 18, 1 << 20: 64}[room]
        assert len(rows) == {1: 32, 1600: 4, 1 << 20: 1}[room]


@pytest.mark.parametrize("name", NETWORKS)
def test_split_networks_are_the_network(name):
    channels, build = NETWORKS[name]
    network = build()
    is_encoder = "encoder" in name
    first, second = (split_shrinking if is_encoder else split_growing)(network)
    features = torch.randn(1, channels, 16, 16)
    with torch.no_grad():
        assert torch.equal(second(first(features)), network(features))
    assert not changes_grid(second if is_encoder else first)
