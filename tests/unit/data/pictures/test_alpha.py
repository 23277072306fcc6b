import numpy as np
import pytest
from PIL import Image

from vqgen.data.pictures import samples
from vqgen.data.pictures.alpha import key_alpha, on_white


@pytest.mark.parametrize(("mode", "channels"), [("LA", 2), ("RGBA", 4)])
@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_picture_laid_on_white_in_parts_is_that_of_the_whole(monkeypatch, mode, channels, block):
    monkeypatch.setattr(samples, "_BLOCK", block)
    values = np.random.default_rng(0).integers(0, 256, (9, 7, channels), dtype=np.uint8)
    picture = Image.fromarray(values, mode)
    whole = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA")).convert("RGB")
    found = on_white(picture)
    assert found.mode == mode[:-1]
    assert (np.asarray(found) == np.asarray(whole.convert(mode[:-1]))).all()


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_key_is_transparent_where_all_channels_have_it(monkeypatch, block):
    monkeypatch.setattr(samples, "_BLOCK", block)
    values = np.random.default_rng(0).integers(0, 2, (6, 5, 3), dtype=np.uint16)
    expected = [[0 if pixel.tolist() == [1, 0, 1] else 255 for pixel in row] for row in values]
    alpha = key_alpha(values, (1, 0, 1))
    assert alpha.dtype == np.uint8
    assert alpha.tolist() == expected
