import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.errors import DataError
from vqgen.evaluation import rate_distortion
from vqgen.evaluation.rate_distortion import (
    CURVE_QUALITIES,
    compare,
    curve_points,
    document,
    mean_curves,
    means,
    measure_peer,
    ms_ssim,
    nearest_peer,
    peer_formats,
    table_rows,
)


def smooth(width, height, mode="L", seed=0):
    return noise_picture(4, 4, mode, seed).resize((width, height), Image.Resampling.BICUBIC)


def test_ms_ssim_falls_with_noise_and_is_missing_for_tiny_images():
    image = smooth(200, 180, "RGB")
    noise = np.random.default_rng(0).normal(0, 30, (180, 200, 3))
    noisy = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    assert ms_ssim(image, image) == pytest.approx(1)
    assert 0.1 < ms_ssim(image, noisy) < 0.97
    assert ms_ssim(smooth(10, 90), smooth(10, 90)) is None


@pytest.mark.parametrize("name", ["JPEG", "WEBP"])
def test_nearest_file_is_the_nearest_of_all_qualities(name):
    image = smooth(64, 48, "RGB", seed=3)
    sizes = [measure_peer(image, name, quality).bytes for quality in range(101)]
    for size in (1, 800, 1500, 10**6):
        found = nearest_peer(image, name, size)
        # Lengths do not grow at every single quality, so the search may miss the best one by a little.
        assert abs(found.bytes - size) <= 1.05 * min(abs(each - size) for each in sizes) + 20


def test_formats_are_compared_in_the_models_colours(codec):
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


def test_table_has_a_row_of_means_for_each_format(codec):
    compared = [compare(codec, picture, "packed") for picture in (smooth(10, 20), smooth(9, 16))]
    header, ours, *peers = table_rows(compared)
    assert header == ["format", "bpp", "bytes", "PSNR", "MS-SSIM"]
    found = means([each["vqgen"] for each in compared])
    assert ours == ["vqgen", f"{found['bpp']:.4f}", f"{found['bytes']:.0f}", f"{found['psnr']:.2f}", "-"]
    assert [row[0] for row in peers] == list(peer_formats())


def test_document_has_means_images_and_curves(codec):
    pictures = {"a": smooth(24, 20), "b": smooth(16, 16, seed=1)}
    compared = {name: compare(codec, picture, "packed") for name, picture in pictures.items()}
    points = [curve_points(codec, picture) for picture in pictures.values()]
    found = document(compared, points)
    assert list(found) == ["means", "images", "curves", "left_out"]
    assert found["left_out"] == {}
    assert found["means"]["JPEG"] == means([each["JPEG"] for each in compared.values()])
    assert found["images"]["b"]["vqgen"]["bytes"] == compared["b"]["vqgen"].bytes
    assert found["curves"] == mean_curves(points)


def test_size_that_a_format_cannot_hold_is_refused_and_leaves_out_this_format_alone(codec, monkeypatch):
    monkeypatch.setattr(rate_distortion, "peer_formats", lambda: {"JPEG": "JPEG", "WebP": "WEBP"})
    with pytest.raises(DataError, match="17000 x 8 cannot be written as WEBP"):
        measure_peer(smooth(17000, 8), "WEBP", 50)
    compared = [compare(codec, picture, "packed") for picture in (smooth(16, 16), smooth(17000, 8))]
    assert [list(each) for each in compared] == [["vqgen", "JPEG", "WebP"], ["vqgen", "JPEG"]]
    assert list(curve_points(codec, smooth(17000, 8))) == ["JPEG"]
    assert [row[0] for row in table_rows(compared)] == ["format", "vqgen", "JPEG"]
    points = [curve_points(codec, smooth(16, 16)), {"JPEG": curve_points(codec, smooth(16, 16))["JPEG"]}]
    found = document(dict(zip("ab", compared, strict=True)), points)
    assert list(found["means"]) == ["vqgen", "JPEG"]
    assert list(found["images"]["a"]) == ["vqgen", "JPEG", "WebP"]
    assert list(found["curves"]) == ["JPEG"]
    assert found["left_out"] == {
        "WebP": "it cannot hold 1 of 2 images",
        "ms_ssim": "1 of 2 images are smaller than its window of 11 x 11 pixels",
    }
