import torch

from vqgen.models.banded import with_bands
from vqgen.models.vqvae import VQVAE


def test_weights_are_shared_and_the_model_stays_as_it_was(tiny_vqvae_config):
    model = VQVAE(tiny_vqvae_config(downsample=(4, 2), image_size=16)).eval()
    names = list(model.state_dict())
    banded = with_bands(model, room=1)
    assert list(model.state_dict()) == names
    assert {id(weights) for weights in banded.parameters()} == {id(weights) for weights in model.parameters()}
    images = torch.rand(1, model.config.image_channels, 32, 32) * 2 - 1
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(1.5)
        # The codes may differ where two entries are equally near.
        torch.testing.assert_close(banded.latents(images, {}), model.latents(images, {}))


def test_model_follows_to_another_dtype(tiny_vqvae_config):
    model = VQVAE(tiny_vqvae_config(downsample=(4, 2), image_size=16)).eval()
    banded = with_bands(model, room=1)
    model.double()
    images = torch.rand(1, model.config.image_channels, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        assert banded.encode(images).grids["top"].shape == (1, 8, 8)
