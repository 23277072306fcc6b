import io
import math
from pathlib import Path

import pytest
from codec_models import noise_picture, varied_codes, write_archive
from PIL import Image

from vqgen.codec import Coder, ideal_bits
from vqgen.evaluation.codec_totals import CompressionTotals, LevelTotals, psnr


def test_psnr_is_its_formula_and_leaves_transparency_out():
    one = Image.new("L", (4, 4), 100)
    assert psnr(one, Image.new("L", (4, 4), 110)) == pytest.approx(20 * math.log10(255 / 10))
    assert psnr(one, one) == 100
    assert psnr(noise_picture(5, 4, "RGB"), noise_picture(5, 4, "RGB").convert("L")) == 100  # in the restored colours
    clear = noise_picture(5, 4, "RGBA")
    other_alpha = clear.copy()
    other_alpha.putalpha(7)
    assert psnr(clear, other_alpha) == 100


def test_summary_has_the_psnr_only_of_decoded_images():
    totals = CompressionTotals()
    totals.add([noise_picture(10, 8), noise_picture(4, 5)], 1000)
    assert totals.images == 2
    assert totals.summary(Path("small"), 200, {"static": 1, "prior": 3}) == (
        "2 images in small: 200 bytes, 16 bpp, 5 times smaller than the source files; "
        "coders of the levels: prior 3, static 1"
    )
    totals = CompressionTotals()
    totals.add([Image.new("L", (10, 10), 100)], 500, [Image.new("L", (10, 10), 110)])
    totals.add([Image.new("L", (10, 10), 100)], 500, [Image.new("L", (10, 10), 100)])
    mean = (20 * math.log10(255 / 10) + 100) / 2
    assert f"source files, PSNR {mean:.2f} dB; coders" in totals.summary(Path("small"), 200, {"static": 1})


def test_levels_of_an_archive_have_a_row_each(codec, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    images = varied_codes(codec, 5)
    totals = LevelTotals.of_archive(codec, io.BytesIO(write_archive(codec, images, coder="static")))
    pixels = sum(each.shape.width * each.shape.height for each in images)
    assert totals.pixels == pixels
    header, *rows = totals.rows()
    assert header == ["level", "coders", "bytes", "bpp", "ideal bytes", "ideal bpp"]
    assert [row[:2] for row in rows] == [["top", "static in 3 blocks"], ["bottom", "static in 3 blocks"]]
    for level, *_, size, bpp, ideal, ideal_bpp in rows:
        bits = sum(ideal_bits(codec.models, each, level, Coder.STATIC) for each in images)
        assert (ideal, ideal_bpp) == (f"{bits / 8:.1f}", f"{bits / pixels:.4g}")
        assert bits / 8 < int(size) < bits / 8 + 3 * 5
        assert bpp == f"{8 * int(size) / pixels:.4g}"


def test_archive_without_images_has_levels_without_codes(codec):
    totals = LevelTotals.of_archive(codec, io.BytesIO(write_archive(codec, [])))
    assert totals.rows()[1:] == [[level, "no codes", "0", "0", "0.0", "0"] for level in ("top", "bottom")]
