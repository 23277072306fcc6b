import math

import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.errors import DataError
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.rate_distortion import (
    CURVE_QUALITIES,
    compare,
    curve_points,
    mean_curves,
    means,
    measure_peer,
    ms_ssim,
    nearest_peer,
    peer_formats,
)


def smooth(width, height, mode="L", seed=0):
    return noise_picture(4, 4, mode, seed).resize((width, height), Image.Resampling.BICUBIC)


def test_psnr_is_its_formula_and_leaves_transparency_out():
    one, other = Image.new("L", (4, 4), 100), Image.new("L", (4, 4), 110)
    assert psnr(one, other) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr(one, one) == 100
    assert psnr(noise_picture(5, 4, "RGB"), noise_picture(5, 4, "RGB").convert("L")) == 100  # in the restored colours
    clear = noise_picture(5, 4, "RGBA")
    other_alpha = clear.copy()
    other_alpha.putalpha(7)
    assert psnr(clear, other_alpha) == 100


def test_ms_ssim_of_the_same_of_another_and_of_the_tiny():
    image = smooth(200, 180, "RGB")
    noise = np.random.default_rng(0).normal(0, 30, (180, 200, 3))
    noisy = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    assert ms_ssim(image, image) == pytest.approx(1)
    assert 0.1 < ms_ssim(image, noisy) < 0.97
    assert ms_ssim(smooth(10, 90), smooth(10, 90)) is None


@pytest.mark.parametrize("name", ["JPEG", "WEBP"])
def test_the_nearest_file_is_the_nearest_of_all_qualities(name):
    image = smooth(64, 48, "RGB", seed=3)
    sizes = [measure_peer(image, name, quality).bytes for quality in range(101)]
    for size in (1, 800, 1500, 10**6):
        found = nearest_peer(image, name, size)
        # lengths need not grow at every single quality, so the search may miss the best one a little
        assert abs(found.bytes - size) <= 1.05 * min(abs(each - size) for each in sizes) + 20


def test_all_formats_are_compared_in_the_models_colours(codec):
    rows = [compare(codec, picture, "packed") for picture in (smooth(24, 20, "RGBA"), smooth(9, 16))]
    assert [list(row) for row in rows] == [["vqgen", *peer_formats()]] * 2
    assert rows[0]["vqgen"].bpp == pytest.approx(8 * rows[0]["vqgen"].bytes / 480)
    found = means([row["JPEG"] for row in rows])
    assert found["bytes"] == sum(row["JPEG"].bytes for row in rows) / 2
    assert found["quality"] == sum(row["JPEG"].quality for row in rows) / 2
    assert "quality" not in means([row["vqgen"] for row in rows])
    assert rows[1]["JPEG"].ms_ssim is None
    assert found["ms_ssim"] == rows[0]["JPEG"].ms_ssim  # of the images that have one
    assert means([rows[1]["JPEG"]])["ms_ssim"] is None


def test_curves_are_means_over_the_images(codec):
    pictures = [smooth(24, 20), smooth(16, 16, seed=1)]
    points = [curve_points(codec, picture) for picture in pictures]
    found = mean_curves(points)
    assert list(found) == list(peer_formats())
    for index, quality in enumerate(CURVE_QUALITIES):
        each = [measure_peer(picture, "JPEG", quality) for picture in pictures]
        assert found["JPEG"][index] == means(each)


def test_a_size_that_a_format_does_not_take_is_said(codec):
    with pytest.raises(DataError, match="17000 x 8 cannot be written as WEBP"):
        compare(codec, smooth(17000, 8), "packed")
