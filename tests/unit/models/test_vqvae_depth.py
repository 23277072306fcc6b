"""Levels with several quantizers: their grids of codes, the sum of their entries, and a depth of 1."""

import pytest
import torch

from vqgen.codes import Codes
from vqgen.models.vqvae import VQVAE
from vqgen.models.vqvae_codes import check_codes
from vqgen.training.losses import vqvae_loss


def images(b=2, side=16):
    return torch.rand(b, 1, side, side, dtype=torch.float64) * 2 - 1


@pytest.fixture(params=["paper", "residual"])
def make(request, tiny_vqvae_config):
    """Builds a small VQ-VAE in float64. Its codebooks start at latents of a batch, so that codes differ."""

    def build(**changes):
        model = VQVAE(tiny_vqvae_config(image_size=16, architecture=request.param, **changes)).double()
        model(images(b=4))
        model.update_codebooks()
        return model

    return build


DEPTHS = {(4,): 3, (4, 2): (1, 2), (8, 4, 2): 2}
"""Downsampling -> depth of the levels."""


@pytest.mark.parametrize("downsample", DEPTHS)
@pytest.mark.parametrize("gradient", ["straight-through", "rotation"])
def test_codes_of_several_quantizers_decode_to_the_reconstruction(make, downsample, gradient):
    model = make(downsample=downsample, quantizer={"depth": DEPTHS[downsample], "gradient": gradient}).eval()
    x = images()
    out = model(x)
    codes = model.encode(x)
    assert codes.levels == out.codes.levels == tuple(out.commitment_losses) == model.config.levels
    assert len(codes.levels) == len(model.quantizers) > len(downsample)
    check_codes(codes, model.config)
    for level, factor in zip(model.levels, model.config.grid_factors, strict=True):
        assert codes.grids[level].shape == (2, 16 // factor, 16 // factor)
        assert torch.equal(codes.grids[level], out.codes.grids[level])
    assert len(model.embed(codes)) == len(downsample)
    torch.testing.assert_close(model.decode(codes), out.reconstruction.clamp(-1, 1), rtol=0, atol=1e-12)
    last = model.levels[-1]
    other = Codes(dict(codes.grids) | {last: (codes.grids[last] + 1) % 16})
    assert not torch.equal(model.decode(other), model.decode(codes))


def test_all_grids_of_a_level_are_hidden_together(make):
    model = make(downsample=(8, 4), quantizer={"depth": 2})
    x = images()
    out = model(x, torch.tensor([1, 2]))
    top, bottom = model.embed(out.codes)
    mean = (model.quantizers[2].mean_entry() + model.quantizers[3].mean_entry())[None, :, None, None]
    bottom = torch.cat([mean.expand_as(bottom[:1]), bottom[1:]])
    expected = model.decoder(model._decoder_input([top, bottom]))
    torch.testing.assert_close(out.reconstruction, expected, rtol=0, atol=1e-12)


def test_quantizers_of_a_level_start_at_other_draws_and_move_together(make):
    model = make(downsample=(4, 2), quantizer={"depth": (1, 2)})
    model.seed_step(7)
    assert [quantizer.step_seed for quantizer in model.quantizers] == [7, 8, 9]
    assert len(model.statistics()) == 2 * 3
    assert model.has_quantized
    before = [quantizer.codebook.clone() for quantizer in model.quantizers]
    model(images())
    model.update_codebooks()
    assert not any(torch.equal(a, b.codebook) for a, b in zip(before, model.quantizers, strict=True))


def test_depth_1_is_the_model_without_a_depth(make):
    torch.manual_seed(3)
    without = make()
    torch.manual_seed(3)
    given = make(quantizer={"depth": [1, 1]})
    assert list(without.state_dict()) == list(given.state_dict())
    x = images()
    for seed in range(3):
        for model in (without, given):
            model.seed_step(seed)
            model.zero_grad()
            vqvae_loss(model(x), x, 0.25)[0].backward()
            model.update_codebooks()
    assert all(torch.equal(tensor, given.state_dict()[name]) for name, tensor in without.state_dict().items())
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(without.parameters(), given.parameters(), strict=True))
    # The quantizer of a level is called as if nothing stood around it.
    own = without.to_latents[0](without._features(x)[0])
    assert torch.equal(without(x).codes.top, without.quantizers[0](own).codes)
