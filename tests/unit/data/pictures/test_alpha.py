import numpy as np
import pytest
from PIL import Image

from vqgen.data.pictures import samples
from vqgen.data.pictures.alpha import colours_of, has_alpha, key_alpha, on_white, without_blank_alpha

RNG = np.random.default_rng(0)


def picture(mode):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = RNG.integers(0, 256, (6, 5, bands), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if bands == 1 else values)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_blank_alpha_is_no_alpha(mode):
    drawn = picture(mode)
    assert without_blank_alpha(drawn) is drawn
    blank = drawn.copy()
    blank.putalpha(0)
    found = without_blank_alpha(blank)
    assert found.mode == mode[:-1]
    assert found.tobytes() == colours_of(drawn).tobytes()


def test_single_opaque_pixel_keeps_the_plane():
    drawn = Image.new("RGBA", (4, 4), (9, 9, 9, 0))
    drawn.putpixel((3, 2), (9, 9, 9, 1))
    assert without_blank_alpha(drawn) is drawn


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("block", [1, 12, 1 << 20])
def test_picture_on_white_is_the_mixture(mode, block, monkeypatch):
    monkeypatch.setattr(samples, "_BLOCK", block)
    drawn = picture(mode)
    values = np.asarray(drawn).astype(float)
    share = values[..., -1:] / 255
    expected = values[..., :-1] * share + 255 * (1 - share)
    found = on_white(drawn)
    assert found.mode == mode[:-1]
    assert np.abs(np.asarray(found).reshape(expected.shape) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pictures_without_alpha_stay_themselves(mode):
    drawn = picture(mode)
    assert not has_alpha(drawn)
    assert on_white(drawn) is drawn
    assert colours_of(drawn) is drawn
    assert without_blank_alpha(drawn) is drawn


def test_key_is_transparent_in_all_channels_only():
    values = np.array([[[1, 2, 3], [1, 2, 4], [1, 2, 3]]])
    assert key_alpha(values, (1, 2, 3)).tolist() == [[0, 255, 0]]
