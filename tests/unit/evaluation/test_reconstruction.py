import math

import pytest
import torch
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchvision.models import alexnet

from vqgen.errors import CheckpointError
from vqgen.evaluation.reconstruction import load_lpips, reconstruction_errors


def pair(b=3, c=1, size=176):
    smooth = torch.nn.functional.interpolate(torch.rand(b, c, 16, 16), size=(size, size), mode="bicubic")
    images = (255 * smooth.clamp(0, 1)).round().to(torch.uint8)
    noisy = (images.double() + 20 * torch.randn(images.shape)).clamp(0, 255).round().to(torch.uint8)
    return images, noisy


@pytest.mark.parametrize("channels", [1, 3])
def test_metrics_of_large_images_equal_torchmetrics(channels):
    images, noisy = pair(b=1, c=channels)
    found = reconstruction_errors(images, noisy)
    one = noisy.double() / 255
    other = images.double() / 255
    assert found["mse"] == pytest.approx(float((one - other).square().mean()), rel=1e-5)
    each = [float(peak_signal_noise_ratio(one[i], other[i], data_range=1.0)) for i in range(len(images))]
    assert found["psnr"] == pytest.approx(sum(each) / len(each), rel=1e-5)
    assert found["ssim"] == pytest.approx(float(structural_similarity_index_measure(one, other, data_range=1.0)), 1e-5)
    standard = multiscale_structural_similarity_index_measure(one, other, data_range=1.0)
    assert found["ms_ssim"] == pytest.approx(float(standard), rel=1e-4)


def test_perfect_reconstructions_have_perfect_metrics():
    images, _ = pair(size=32)
    found = reconstruction_errors(images, images)
    assert found["mse"] == 0
    assert found["psnr"] == 100
    assert found["ssim"] == pytest.approx(1, abs=1e-6)
    assert found["ms_ssim"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [8, 11, 16, 28, 32, 45, 90, 100])
def test_images_of_any_size_have_finite_metrics(size):
    found = reconstruction_errors(*pair(size=size))
    assert ("ssim" in found) == ("ms_ssim" in found) == (size >= 11)
    assert all(math.isfinite(value) for value in found.values())


def test_mean_does_not_depend_on_batches():
    images, noisy = pair(b=120, size=16)
    whole = reconstruction_errors(images, noisy)
    parts = [reconstruction_errors(images[i : i + 1], noisy[i : i + 1]) for i in range(120)]
    for name, value in whole.items():
        assert value == pytest.approx(sum(part[name] for part in parts) / 120, rel=1e-6)


def test_lpips_equals_its_definition_with_the_weights_of_the_file(tmp_path):
    backbone = alexnet(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    lpips = load_lpips(tmp_path / "alexnet.pth")
    images, noisy = pair(size=64, c=3)
    found = reconstruction_errors(images, noisy, lpips)["lpips"]
    assert found > 0
    assert reconstruction_errors(images, images, lpips)["lpips"] == pytest.approx(0, abs=1e-7)
    assert found == pytest.approx(naive_lpips(backbone, images, noisy), rel=1e-4)


@pytest.mark.parametrize(
    ("side", "is_computed"), [pytest.param(8, False, marks=pytest.mark.slow), (30, False), (31, True)]
)
def test_lpips_is_of_images_that_alexnet_leaves_a_position_of(side, is_computed, tmp_path):
    torch.save(alexnet(weights=None).state_dict(), tmp_path / "alexnet.pth")
    images = torch.randint(256, (2, 1, side, side), dtype=torch.uint8)
    found = reconstruction_errors(images, images.flip(3), load_lpips(tmp_path / "alexnet.pth"))
    assert ("lpips" in found) == is_computed
    assert {"mse", "psnr"} <= found.keys()


def naive_lpips(backbone, images, noisy):
    """Computes LPIPS by its definition: weighted squared distance of normalised features after each ReLU."""
    from pathlib import Path

    import torchmetrics.functional.image

    folder = Path(torchmetrics.functional.image.__file__).parent / "lpips_models"
    heads = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[None, :, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[None, :, None, None]
    x, y = ((t.float() / 127.5 - 1 - shift) / scale for t in (images, noisy))
    total = torch.zeros(len(images))
    stage = 0
    with torch.no_grad():
        for index, layer in enumerate(backbone.eval().features):
            x = layer(x)
            y = layer(y)
            if index in (1, 4, 7, 9, 11):
                a, b = (t / (t.square().sum(1, keepdim=True) + 1e-8).sqrt() for t in (x, y))
                weight = heads[f"lin{stage}.model.1.weight"]
                total += (((a - b) ** 2) * weight).sum(1).mean(dim=(1, 2))
                stage += 1
    return float(total.mean())


def test_files_without_alexnet_are_refused(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")
    for name in ("other.pth", "text.pth", "gone.pth"):
        with pytest.raises(CheckpointError, match=f"{name}: should hold the weights of AlexNet, found something else"):
            load_lpips(tmp_path / name)
