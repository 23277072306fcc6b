import builtins
import io

import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.errors import DataError
from vqgen.evaluation import peer_formats as module
from vqgen.evaluation.peer_formats import absent_formats, peer_formats, read_peer, write_peer


@pytest.fixture
def fresh():
    """Looks for the formats anew, in the test and after it."""
    module._is_written.cache_clear()
    yield
    module._is_written.cache_clear()


def smooth(mode, width=60, height=40):
    return noise_picture(4, 4, mode).resize((width, height), Image.Resampling.BICUBIC)


def test_every_format_is_written_or_absent_with_the_way_to_get_it():
    assert {*peer_formats(), *absent_formats()} == {"JPEG", "WebP", "AVIF", "JPEG XL"}
    assert not peer_formats().keys() & absent_formats().keys()
    assert "JPEG" in peer_formats()


def test_absent_formats_name_their_remedy(monkeypatch, fresh):
    real = builtins.__import__

    def without(name, *words, **options):
        if name == "pillow_jxl":
            raise ImportError(name)
        return real(name, *words, **options)

    monkeypatch.setattr(module, "import_module", without)
    monkeypatch.setattr(module.features, "check", lambda name: name == "webp")
    assert peer_formats() == {"JPEG": "JPEG", "WebP": "WEBP"}
    assert absent_formats() == {
        "AVIF": "this Pillow is built without it; pip install --upgrade pillow",
        "JPEG XL": "its plugin is not installed; pip install 'vqgen[jxl]'",
    }


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("pillow", peer_formats().values())
@pytest.mark.parametrize("quality", [0, 1, 50, 99, 100])
def test_pictures_come_back_in_every_format_and_at_every_quality(pillow, mode, quality):
    original = smooth(mode)
    restored = read_peer(write_peer(original, pillow, quality)).convert(mode)
    error = np.abs(np.asarray(restored, dtype=float) - np.asarray(original, dtype=float)).mean()
    assert restored.size == original.size
    assert error < (60 if quality < 50 else 8)


def test_jpeg_xl_loses_nothing_at_the_highest_quality():
    if "JPEG XL" not in peer_formats():
        pytest.skip("needs pillow-jxl-plugin")
    for mode in ("L", "RGB"):
        original = noise_picture(20, 10, mode)
        assert read_peer(write_peer(original, "JXL", 100)).tobytes() == original.tobytes()


def test_picture_of_a_jpeg_file_is_coded_anew_in_jpeg_xl(tmp_path):
    if "JPEG XL" not in peer_formats():
        pytest.skip("needs pillow-jxl-plugin")
    smooth("RGB").save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as opened:
        data = write_peer(opened, "JXL", 10)
        pixels = Image.frombytes("RGB", opened.size, opened.tobytes())
    assert data == write_peer(pixels, "JXL", 10)


def test_options_are_the_best_effort_of_each_format():
    original = noise_picture(40, 30, "RGB")
    plain = io.BytesIO()
    original.save(plain, "JPEG", quality=50)
    assert len(write_peer(original, "JPEG", 50)) < len(plain.getvalue())


def test_size_that_a_format_cannot_hold_is_refused():
    with pytest.raises(DataError, match="17000 x 8 cannot be written as WEBP"):
        write_peer(Image.new("L", (17000, 8)), "WEBP", 50)
