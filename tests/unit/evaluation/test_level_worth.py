import pytest
import torch

from vqgen.codes import Codes
from vqgen.evaluation import level_worth
from vqgen.evaluation.level_worth import change_without_level


def codes_of(vqvae, count=5):
    grids = {
        level: torch.randint(vqvae.config.codebook_size, (count, 8 // factor, 8 // factor))
        for level, factor in zip(vqvae.levels, vqvae.config.downsample, strict=True)
    }
    return Codes(grids)


@pytest.mark.parametrize("level", ["top", "bottom"])
def test_change_is_that_of_a_pixel_if_the_mean_of_the_codebook_stands_for_the_level(make_parts, monkeypatch, level):
    vqvae = make_parts(image_size=8).vqvae.eval()
    codes = codes_of(vqvae)
    maps = vqvae.embed(codes)
    index = vqvae.levels.index(level)
    used = maps[index].mean(dim=(0, 2, 3), keepdim=True)
    without = [used.expand_as(each) if place == index else each for place, each in enumerate(maps)]
    squares = (127.5 * (vqvae.decode(codes) - vqvae.decode_maps(without))).square()
    found = change_without_level(vqvae, codes, level)
    assert found == pytest.approx(float(squares.mean().sqrt().detach()), rel=1e-5)
    assert found > 0
    monkeypatch.setattr(level_worth, "_BATCH", 2)
    assert change_without_level(vqvae, codes, level) == pytest.approx(found, rel=1e-5)


def test_level_of_equal_entries_changes_nothing(make_parts):
    vqvae = make_parts(image_size=8).vqvae.eval()
    vqvae.quantizers[0].codebook.copy_(vqvae.quantizers[0].codebook[:1].expand_as(vqvae.quantizers[0].codebook))
    assert change_without_level(vqvae, codes_of(vqvae), "top") == pytest.approx(0, abs=1e-3)
