import pytest
import torch

from vqgen.codes import Codes
from vqgen.config import VQVAEConfig
from vqgen.errors import ConfigError, DataError
from vqgen.models.levels_alone import as_levels, filled_codes, with_levels_alone
from vqgen.models.vqvae import VQVAE

CONFIG = VQVAEConfig(downsample=[8, 4, 2], codebook_size=8, image_size=16, image_channels=1)


def grid(size, b=2):
    return torch.randint(8, (b, size, size))


def test_levels_are_returned_coarse_to_fine():
    assert as_levels(["bottom", "top"], CONFIG) == ("top", "bottom")
    assert as_levels("middle", CONFIG) == ("middle",)


@pytest.mark.parametrize(("levels", "found"), [([], "none"), (["low"], "'low'")])
def test_levels_that_a_model_lacks_are_refused(levels, found):
    with pytest.raises(ConfigError, match=f"levels: should be some of top, middle, bottom, found {found}"):
        as_levels(levels, CONFIG)


def test_other_levels_hold_their_mean_everywhere(make_parts):
    vqvae = make_parts().vqvae
    frequencies = torch.arange(1, vqvae.config.codebook_size + 1)
    alone = with_levels_alone(vqvae, ["top"], {"bottom": frequencies})
    top, bottom = (quantizer.codebook for quantizer in vqvae.quantizers)
    mean = (frequencies[:, None] * bottom).sum(dim=0) / frequencies.sum()
    assert torch.equal(alone.quantizers[0].codebook, top)
    torch.testing.assert_close(alone.quantizers[1].entries(), mean.expand_as(bottom))
    assert torch.equal(vqvae.quantizers[1].codebook, bottom)  # the model itself stays


def test_mean_falls_back_to_the_running_counts(make_parts):
    vqvae = make_parts().vqvae
    counts = vqvae.quantizers[1].ema_counts
    mean = (counts[:, None] * vqvae.quantizers[1].codebook).sum(dim=0) / counts.sum()
    alone = with_levels_alone(vqvae, ["top"], {})
    torch.testing.assert_close(alone.quantizers[1].entries()[3], mean)


def test_second_grid_of_a_level_is_a_level_of_its_own(tiny_vqvae_config):
    vqvae = VQVAE(tiny_vqvae_config(quantizer={"depth": (1, 2)}, initialization="random")).eval()
    assert as_levels(["bottom-2", "top"], vqvae.config) == ("top", "bottom-2")
    codes = filled_codes(Codes({"bottom-2": (own := grid(4))}), ["bottom-2"], vqvae.config)
    assert codes.top.shape == (2, 2, 2)
    assert torch.equal(codes.grids["bottom-2"], own)
    without = with_levels_alone(vqvae, ["top", "bottom"], {})
    mean = vqvae.quantizers[2].mean_entry()[None, :, None, None]
    _, bottom = without.embed(codes)
    torch.testing.assert_close(bottom, vqvae.quantizers[1].embed(codes.bottom) + mean)


def test_missing_levels_are_filled_with_the_grids_of_the_image():
    filled = filled_codes(Codes({"middle": (middle := grid(4))}), ["middle"], CONFIG)
    assert {level: tuple(each.shape) for level, each in filled.grids.items()} == {
        "top": (2, 2, 2), "middle": (2, 4, 4), "bottom": (2, 8, 8)
    }  # fmt: skip
    assert filled.levels == CONFIG.levels
    assert torch.equal(filled.middle, middle)


def test_codes_without_a_wanted_level_are_refused():
    with pytest.raises(DataError, match="should have the level top, found middle"):
        filled_codes(Codes({"middle": grid(4)}), ["top", "middle"], CONFIG)


def test_grid_of_no_image_is_refused():
    with pytest.raises(DataError, match="sides are multiples of 8, found 12 x 12"):
        filled_codes(Codes({"middle": grid(3)}), ["middle"], CONFIG)
