import numpy as np
import pytest
import torch

from vqgen.config import VQVAEConfig
from vqgen.models.shortcuts import Shortcuts, clear_last_layer, cosine_basis
from vqgen.models.vqvae import VQVAE


@pytest.mark.parametrize(("count", "channels", "side"), [(1, 1, 1), (16, 1, 4), (20, 3, 4), (192, 3, 8), (5, 3, 2)])
def test_basis_is_orthonormal(count, channels, side):
    basis = cosine_basis(count, channels, side).reshape(count, -1)
    assert np.abs(basis @ basis.T - np.eye(count)).max() < 1e-6


def test_basis_begins_with_the_mean_brightness_and_has_nothing_beyond_its_square():
    basis = cosine_basis(20, 3, 2)
    assert np.allclose(basis[0], 1 / np.sqrt(12))
    assert not basis[12:].any()
    assert basis[:12].any(axis=(1, 2, 3)).all()


def test_frequencies_rise_and_colours_come_late():
    """A frequency is told by the number of signs that change along a row or a column."""
    basis = cosine_basis(16, 3, 8)
    brightness = [each for each in basis if np.allclose(each[0], each[1])]
    assert 8 <= len(brightness) < 16

    def changes(square):
        return sum(int((np.diff(np.sign(line)) != 0).sum()) for line in (square[0], square[:, 0]))

    found = [changes(each[0]) for each in brightness]
    assert found[0] == 0
    assert found == sorted(found) or max(np.diff(found) * -1) <= 1


def config(**changes):
    sizes = {"codebook_size": 16, "channels": 8, "residual_channels": 4, "image_size": 16, "image_channels": 3}
    return VQVAEConfig(**(sizes | {"downsample": (4, 2), "shortcuts": True} | changes))


def images(b=3, side=16, channels=3):
    return (torch.rand(b, channels, side, side) * 2 - 1).double()


@pytest.mark.parametrize("architecture", ["paper", "residual"])
@pytest.mark.parametrize("downsample", [(2,), (4, 2), (8, 4, 2)])
def test_model_with_enough_dimensions_begins_as_the_identity(downsample, architecture):
    """A square of 2 x 2 RGB pixels has 12 numbers. While latents pass unquantized, all of them arrive."""
    model = VQVAE(config(downsample=downsample, embedding_dim=12, quantize_after=5, architecture=architecture)).double()
    x = images()
    assert (model.train()(x).reconstruction - x).abs().max() < 1e-6


def test_latents_begin_at_distances_of_pixels():
    """So the nearest entry is the one that is nearest in the picture."""
    shortcuts = Shortcuts(config(downsample=(2,), embedding_dim=12)).double()
    one, other = images(b=1), images(b=1)
    apart = (shortcuts.latents(0, one, []) - shortcuts.latents(0, other, [])).detach().square().sum()
    assert float(apart) == pytest.approx(float((one - other).square().sum()))


def test_finer_level_gets_what_the_coarser_map_leaves_of_the_image():
    shortcuts = Shortcuts(config(embedding_dim=6)).double()
    coarser = torch.randn(1, 6, 4, 4, dtype=torch.float64)
    drawn = shortcuts.pixels([coarser])
    assert float(shortcuts.latents(1, drawn, [coarser]).detach().abs().max()) < 1e-5
    assert float(shortcuts.latents(1, drawn, [0 * coarser]).detach().abs().max()) > 0.1


@pytest.mark.parametrize("depth", [1, (1, 2)])
@pytest.mark.parametrize("downsample", [(4, 2), (8, 4, 2)])
def test_latents_and_pixels_are_those_of_a_forward_pass(downsample, depth):
    depth = depth if len(downsample) == 2 else 1
    model = VQVAE(config(downsample=downsample, quantizer={"depth": depth}, quantize_after=0)).double()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for _ in range(3):
        model.train()(images(b=8))
        model.update_codebooks()
    x = images()
    codes = model.eval().encode(x)
    known = {}
    for grid, quantizer in zip(model.levels, model.quantizers, strict=True):
        assert torch.equal(quantizer(model.latents(x, known)).codes, codes.grids[grid])
        known[grid] = codes.grids[grid]
    torch.testing.assert_close(model.decode(codes), model(x).reconstruction.clamp(-1, 1), rtol=0, atol=1e-12)


def test_shortcuts_learn():
    model = VQVAE(config(quantize_after=0)).double().train()
    x = images()
    (model(x).reconstruction - x).square().mean().backward()
    assert model.shortcuts is not None
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.shortcuts.parameters())


def test_model_without_shortcuts_is_as_before():
    model = VQVAE(config(shortcuts=False))
    assert model.shortcuts is None
    assert not any("shortcuts" in name for name in model.state_dict())
    assert "shortcuts" not in model.config.stored()


def test_last_layer_of_a_network_is_cleared():
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 1), torch.nn.ReLU(), torch.nn.ConvTranspose2d(3, 2, 2))
    clear_last_layer(network)
    assert not network[2].weight.any()
    assert not network[2].bias.any()
    assert network[0].weight.any()
