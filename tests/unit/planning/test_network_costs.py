import pytest
import torch
from measured_costs import counted

from vqgen.config import VQVAEConfig
from vqgen.models.vqvae import VQVAE
from vqgen.planning.network_costs import PaperCosts, ResidualCosts, network_costs

RESIDUAL = {"architecture": "residual", "channel_multipliers": (1, 2)}


def config_of(**changes):
    settings = {
        "downsample": (8, 4, 2), "codebook_size": 32, "embedding_dim": 6, "channels": 20, "residual_channels": 10,
        "image_size": 32, "image_channels": 3,
    }  # fmt: skip
    return VQVAEConfig(**(settings | changes))


def test_architecture_chooses_the_costs():
    assert type(network_costs(config_of())) is PaperCosts
    assert type(network_costs(config_of(**RESIDUAL))) is ResidualCosts


@pytest.mark.parametrize(
    "changes",
    [{}, {"upsampling": "nearest"}, RESIDUAL, RESIDUAL | {"attention_heads": 4, "residual_layers": 3}],
    ids=str,
)
def test_each_network_executes_the_flops_that_are_counted(changes):
    config = config_of(**changes)
    model = VQVAE(config)
    costs = network_costs(config)
    features = torch.zeros(2, 3, 32, 32)
    for index in (2, 1, 0):
        encoder, own = model.encoders[index], features
        assert counted(lambda encoder=encoder, own=own: encoder(own)) == 2 * costs.encoder(index).flops
        features = encoder(features)
    for index, factor in enumerate(config.downsample):
        maps = torch.zeros(2, costs.mapped[index], 32 // factor, 32 // factor)
        found = {"expander": model.expanders, "upsampler": model.upsamplers} if index < 2 else {}
        for name, networks in found.items():
            expected = 2 * getattr(costs, name)(index).flops
            assert counted(lambda network=networks[index], maps=maps: network(maps)) == expected
    assert counted(lambda: model.decoder(maps)) == 2 * costs.decoder().flops


def test_attention_costs_what_the_coarsest_grid_has_in_pairs():
    """Two products among all pairs of 16 positions, and four projections, in encoder, expander and upsampler."""
    with_attention, without = (
        network_costs(config_of(**RESIDUAL, attention_heads=heads, image_size=32)) for heads in (4, 0)
    )
    more = 4 * 40 * 16**2 + 2 * 4 * 40 * 40 * 16
    for name in ("encoder", "expander", "upsampler"):
        assert getattr(with_attention, name)(0).flops - getattr(without, name)(0).flops == more
    assert with_attention.encoder(1) == without.encoder(1)
    assert with_attention.decoder() == without.decoder()
