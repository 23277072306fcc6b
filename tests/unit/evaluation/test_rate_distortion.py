import numpy as np
import pytest
import torch
from codec_models import noise_picture, tiny_codec
from PIL import Image

from vqgen.errors import ConfigError, DataError
from vqgen.evaluation import rate_distortion
from vqgen.evaluation.codec_totals import psnr
from vqgen.evaluation.curves import Point
from vqgen.evaluation.peer_formats import peer_formats, read_peer, write_peer
from vqgen.evaluation.rate_distortion import (
    CURVE_QUALITIES,
    Measured,
    Rate,
    Yardstick,
    curve_points,
    has_lpips,
    in_models_colours,
    mean_point,
    measure_ours,
    measure_peer,
    ms_ssim,
    nearest_peer,
    nearest_peers,
)


def smooth(width, height, mode="L", seed=0):
    return noise_picture(4, 4, mode, seed).resize((width, height), Image.Resampling.BICUBIC)


def without_times(measured):
    return (measured.bytes, measured.bpp, measured.psnr, measured.ms_ssim, measured.quality, measured.lpips)


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


@pytest.mark.parametrize("coder", ["packed", "static", "prior", "auto"])
def test_measurements_of_ours_are_of_the_file_that_compress_writes(codec, coder):
    original = smooth(24, 20)
    found, codes = measure_ours(Rate("c", codec, coder), original, Yardstick())
    (data,) = codec.compress([original], coder=coder)
    assert found.bytes == len(data)
    assert found.bpp == pytest.approx(8 * len(data) / 480)
    assert found.psnr == psnr(original, codec.decompress([data])[0])
    assert found.quality is None
    assert found.write_seconds > 0 and found.read_seconds > 0
    assert codes.equals(codec.encode([original])[0])


def test_rate_knows_of_its_prior_and_builds_it_before_the_clock_starts(codec):
    for coder, uses in (("auto", True), ("prior", True), ("static", False), ("packed", False)):
        rate = Rate("c", codec, coder)
        assert rate.uses_prior == uses
    Rate("c", codec, "static").prepare()
    assert codec.models._priors == {}
    Rate("c", codec).prepare()
    assert list(codec.models._priors) == ["top", "bottom"]
    with pytest.raises(ConfigError, match="coder: should be one of auto"):
        Rate("c", codec, "zip").prepare()


def test_formats_are_compared_in_the_models_colours(codec):
    for picture in (smooth(24, 20, "RGBA"), smooth(9, 16)):
        original = in_models_colours(codec, picture)
        assert original.mode == "L"
        assert list(nearest_peers(original, 300, Yardstick())) == list(peer_formats())


def test_colours_stay_if_the_model_has_them(make_parts):
    codec = tiny_codec(make_parts, image_channels=3)
    original = in_models_colours(codec, smooth(24, 20, "RGB"))
    assert original.mode == "RGB"
    ours, _ = measure_ours(Rate("c", codec, "packed"), original, Yardstick())
    restored = codec.decompress(codec.compress([original], coder="packed"))[0]
    assert ours.psnr == psnr(original, restored)
    # The same file, and only its luma compared.
    grey, _ = measure_ours(Rate("c", codec, "packed"), original, Yardstick(grey=True))
    assert grey.bytes == ours.bytes
    assert grey.psnr == psnr(original.convert("L"), restored.convert("L")) != ours.psnr


def test_grey_compares_the_luma_of_files_in_colour():
    original = smooth(64, 48, "RGB")
    data = write_peer(original, "JPEG", 30)
    grey = measure_peer(original, "JPEG", 30, Yardstick(grey=True))
    restored = read_peer(data)
    assert grey.bytes == len(data)
    assert grey.psnr == psnr(original.convert("L"), restored.convert("L"))
    assert grey.ms_ssim == ms_ssim(original.convert("L"), restored.convert("L"))
    assert measure_peer(original, "JPEG", 30).psnr == psnr(original, restored)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lpips_is_asked_of_both_pictures_in_three_channels(mode):
    original = smooth(40, 31, mode)
    asked = []

    def lpips(one, other):
        asked.append((one, other))
        return torch.tensor([0.25])

    found = measure_peer(original, "JPEG", 50, Yardstick(lpips=lpips))
    assert found.lpips == 0.25
    ((one, other),) = asked
    assert one.shape == other.shape == (1, 3, 31, 40)
    expected = torch.from_numpy(np.array(original.convert("RGB"))).permute(2, 0, 1)[None] / 127.5 - 1
    assert torch.equal(other, expected) and not torch.equal(one, expected)


@pytest.mark.parametrize(("size", "expected"), [((31, 31), True), ((30, 400), False), ((4096, 2049), False)])
def test_lpips_needs_pictures_of_a_fitting_size(size, expected):
    assert has_lpips(*size) == expected
    if not expected and size[0] < 100:
        yardstick = Yardstick(lpips=lambda one, other: pytest.fail("asked"))
        assert measure_peer(smooth(*size), "JPEG", 50, yardstick).lpips is None


def test_curves_have_every_quality_of_every_format():
    original = smooth(24, 20)
    found = curve_points(original, Yardstick())
    assert list(found) == list(peer_formats())
    for name, points in found.items():
        assert [point.quality for point in points] == list(CURVE_QUALITIES)
        expected = [measure_peer(original, peer_formats()[name], quality) for quality in CURVE_QUALITIES]
        assert list(map(without_times, points)) == list(map(without_times, expected))


def test_means_are_over_the_images_that_have_a_value():
    images = [
        Measured(10, 1.0, 30.0, 0.5, 10, 0.1, 0.25, 0.5),
        Measured(20, 3.0, 40.0, None, 20, None, 0.75, 1.5),
    ]
    assert mean_point(images) == Point(
        bpp=2.0, psnr=35.0, ms_ssim=0.5, lpips=0.1, bytes=15.0, write_seconds=0.5, read_seconds=1.0, quality=15.0
    )
    ours = [Measured(10, 1.0, 30.0, None), Measured(20, 3.0, 40.0, None)]
    found = mean_point(ours, "c")
    assert (found.ms_ssim, found.lpips, found.quality, found.checkpoint) == (None, None, None, "c")


def test_size_that_a_format_cannot_hold_leaves_out_this_format_alone(monkeypatch):
    monkeypatch.setattr(rate_distortion, "peer_formats", lambda: {"JPEG": "JPEG", "WebP": "WEBP"})
    with pytest.raises(DataError, match="17000 x 8 cannot be written as WEBP"):
        measure_peer(smooth(17000, 8), "WEBP", 50)
    assert list(nearest_peers(smooth(17000, 8), 900, Yardstick())) == ["JPEG"]
    assert list(curve_points(smooth(17000, 8), Yardstick())) == ["JPEG"]
