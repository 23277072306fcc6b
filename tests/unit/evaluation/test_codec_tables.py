import pytest

from vqgen.evaluation import codec_results
from vqgen.evaluation.code_costs import LevelCost
from vqgen.evaluation.codec_results import CodecResults, PictureResults
from vqgen.evaluation.codec_tables import bd_notes, bd_rows, level_rows, quality_rows
from vqgen.evaluation.curves import Point
from vqgen.evaluation.rate_distortion import Measured

COST = LevelCost(codes=100, packed=4.0, static=None, histogram=3.0, context=2.0, prior=1.5)


@pytest.fixture(autouse=True)
def all_formats(monkeypatch):
    """Makes results independent of the formats of this machine."""
    monkeypatch.setattr(codec_results, "absent_formats", lambda: {})


def line(factor, count=5, start=30.0):
    """A curve of `count` points, a doubled rate for 3 dB."""
    return [Measured(100, factor * 2.0**i, start + 3 * i, 1 - 10 ** -(1 + 0.3 * i), i) for i in range(count)]


def results(count=5, lpips=None, published=None):
    ours = {f"c{index}": each for index, each in enumerate(line(0.5, count))}
    nearest = {"JPEG": Measured(60, 0.48, 29.0, None, 20, lpips, 0.0123, 0.0045)}
    curves = {"JPEG": line(1.0), "far": line(1.0, start=90.0)}
    return CodecResults({"x": PictureResults(ours, nearest, curves)}, {"c0": {}}, published=published or {})


def test_quality_table_has_means_and_the_nearest_published_point():
    published = {"paper": [Point(0.01, 10.0, 0.1), Point(0.6, 31.0, None)]}
    header, ours, jpeg, paper = quality_rows(results(count=1, published=published))
    assert header == ["format", "bpp", "bytes", "PSNR", "MS-SSIM", "write, ms", "read, ms"]
    assert ours == ["vqgen", "0.5000", "100", "30.00", "0.9000", "0.00", "0.00"]
    assert jpeg == ["JPEG", "0.4800", "60", "29.00", "-", "12.30", "4.50"]
    assert paper == ["paper", "0.6000", "-", "31.00", "-", "-", "-"]


def test_quality_table_has_lpips_if_it_was_measured():
    header, ours, jpeg = quality_rows(results(count=1, lpips=0.125))
    assert header[5] == "LPIPS"
    assert (ours[5], jpeg[5]) == ("-", "0.1250")


def test_bd_table_has_both_metrics_and_their_ranges():
    header, jpeg, far = bd_rows(results())
    assert header == ["reference", "by PSNR", "over dB", "by MS-SSIM", "over dB"]
    assert jpeg == ["JPEG", "-50.0 %", "30.0 to 42.0", "-50.0 %", "10.0 to 22.0"]
    assert far == ["far", "-", "-", "-50.0 %", "10.0 to 22.0"]
    (note,) = bd_notes(results())
    assert note == (
        "BD-rate against far by PSNR: the curves share no range of quality, in dB: vqgen 30 to 42, far 90 to 102"
    )


def test_reason_of_our_own_curve_is_one_line_for_all_references():
    ours = {f"c{index}": Measured(100, 0.5 + index, 30.0, None) for index in range(4)}
    curves = {"JPEG": line(1.0), "WebP": line(1.0)}
    one = CodecResults({"x": PictureResults(ours, {}, curves)}, {"c0": {}})
    assert bd_rows(one) == []
    reason = "vqgen has 4 rates, of which only 1 is not beaten by another, and a BD-rate takes at least 4"
    small = "1 of 1 images are smaller than its window of 11 x 11 pixels"
    assert bd_notes(one) == [
        f"BD-rate against JPEG, WebP by PSNR: {reason}",
        f"BD-rate against JPEG, WebP by MS-SSIM: {small}",
    ]


@pytest.mark.parametrize(("count", "text"), [(1, "one rate"), (3, "3 rates")])
def test_too_few_rates_have_one_line_in_place_of_the_table(count, text):
    assert bd_rows(results(count)) == []
    assert bd_notes(results(count)) == [
        f"BD-rate: vqgen has {text} here, and it takes curves of at least 4 points; --qualities and "
        "--more-checkpoints add rates"
    ]


def test_no_reference_has_no_table():
    ours = {f"c{index}": each for index, each in enumerate(line(0.5))}
    assert bd_rows(CodecResults({"x": PictureResults(ours, {})}, {})) == []
    assert bd_notes(CodecResults({"x": PictureResults(ours, {})}, {})) == []


def test_level_table_has_the_saving_of_the_prior_over_counts():
    without = LevelCost(7, 4.0, 3.25, 3.0, 2.0, None)
    rows = level_rows({"c": {"top": COST, "bottom": without}})
    assert rows == [
        ["level", "codes", "packed", "static", "histogram", "context", "prior", "prior saves"],
        ["top", "100", "4.000", "-", "3.000", "2.000", "1.500", "25 %"],
        ["bottom", "7", "4.000", "3.250", "3.000", "2.000", "-", "-"],
    ]
    several = level_rows({"c": {"top": COST}, "d\x1b": {"top": COST}})
    assert [row[:2] for row in several] == [["checkpoint", "level"], ["c", "top"], ["d\\x1b", "top"]]
