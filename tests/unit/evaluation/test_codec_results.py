import json

import pytest

from vqgen.errors import DataError
from vqgen.evaluation import codec_results
from vqgen.evaluation.code_costs import LevelCost
from vqgen.evaluation.codec_results import CodecResults, PictureResults, check_comparable, new_curves
from vqgen.evaluation.curves import Point
from vqgen.evaluation.published_curves import PublishedCurves, read_curves
from vqgen.evaluation.rate_distortion import Measured, mean_point

COST = LevelCost(codes=100, packed=4.0, static=3.5, histogram=3.0, context=2.0, prior=1.5)


@pytest.fixture(autouse=True)
def all_formats(monkeypatch):
    """Makes results independent of the formats of this machine."""
    monkeypatch.setattr(codec_results, "absent_formats", lambda: {})


def measured(bpp, quality=None, *, ms_ssim=0.9, lpips=None, gain=0.0):
    return Measured(int(bpp * 1000), bpp, 30 + 6 * bpp + gain, ms_ssim, quality, lpips, 0.5, 0.25)


def picture(scale=1.0, checkpoints=("a",), formats=("JPEG", "WebP"), **options):
    """Results of a picture whose rates are multiples of `scale`."""
    rates = [scale * 2.0**power for power in range(-3, 2)]
    return PictureResults(
        {name: measured(scale * 2.0**number / 4, **options) for number, name in enumerate(checkpoints)},
        {name: measured(scale, 50, **options) for name in formats},
        {name: [measured(rate, 10 * number, **options) for number, rate in enumerate(rates)] for name in formats},
    )


def results(*pictures, **options):
    named = {f"{number}.png": each for number, each in enumerate(pictures)}
    checkpoints = list(pictures[0].ours)
    return CodecResults(named, {name: {"top": COST} for name in checkpoints}, **options)


def test_means_have_a_row_for_each_checkpoint_and_each_format():
    one = results(picture(), picture(3.0))
    assert list(one.means()) == ["vqgen", "JPEG", "WebP"]
    assert one.means()["JPEG"] == mean_point([each.nearest["JPEG"] for each in one.pictures.values()])
    several = results(picture(checkpoints=("a", "b/c")))
    assert list(several.means()) == ["vqgen a", "vqgen b/c", "JPEG", "WebP"]
    assert several.means()["vqgen b/c"].checkpoint == "b/c"


def test_our_curve_has_a_point_for_each_checkpoint_by_growing_rate():
    shuffled = PictureResults({"b": measured(2.0), "a": measured(0.5)}, {})
    curve = results(shuffled).our_curve()
    assert [(point.checkpoint, point.bpp) for point in curve] == [("a", 0.5), ("b", 2.0)]


def test_curves_are_means_over_the_pictures_at_each_quality():
    found = results(picture(), picture(3.0))
    for name, points in found.peer_curves().items():
        for index, point in enumerate(points):
            assert point == mean_point([each.curves[name][index] for each in found.pictures.values()])
    assert list(found.measured_curves()) == ["vqgen", "JPEG", "WebP"]
    assert results(PictureResults({"a": measured(1.0)}, {})).peer_curves() == {}


def test_format_that_cannot_hold_every_picture_is_left_out_with_its_reason():
    found = results(picture(), picture(formats=("JPEG",)))
    assert list(found.means()) == ["vqgen", "JPEG"]
    assert list(found.peer_curves()) == ["JPEG"]
    assert list(found.document()["images"]["0.png"]) == ["vqgen", "JPEG", "WebP"]
    assert found.left_out() == {"WebP": "it cannot hold 1 of 2 images", "lpips": found.left_out()["lpips"]}


def test_reasons_name_formats_metrics_and_pictures(monkeypatch):
    monkeypatch.setattr(codec_results, "absent_formats", lambda: {"JPEG XL": "its plugin is missing"})
    found = results(picture(ms_ssim=None, lpips=0.1), picture(lpips=None))
    assert found.left_out() == {
        "JPEG XL": "its plugin is missing",
        "ms_ssim": "1 of 2 images are smaller than its window of 11 x 11 pixels",
        "lpips": "1 of 2 images are smaller than 31 x 31 pixels or have more than 8,388,608",
    }
    without = results(picture(), without={"lpips": "no weights"})
    assert without.left_out()["lpips"] == "no weights"
    assert results(picture(lpips=0.1)).left_out() == {"JPEG XL": "its plugin is missing"}


@pytest.mark.parametrize(
    ("coder", "reason"),
    [("static", "--coder static does not use it"), ("packed", "--coder packed does not use it"),
     ("auto", "there is none for top")],
)  # fmt: skip
def test_prior_that_is_not_priced_has_its_reason(coder, reason):
    cost = LevelCost(1, 4.0, None, 0.0, 4.0, None)
    found = CodecResults({"x": picture(lpips=0.1)}, {"a": {"top": cost}}, coder=coder)
    assert found.left_out() == {"prior": reason}


def test_bd_rates_are_against_measured_and_published_curves():
    peers = picture(formats=("JPEG",))
    published = {"paper": [Point(each.bpp * 4, each.psnr, each.ms_ssim) for each in peers.curves["JPEG"]]}
    # The qualities of JPEG, each at half its rate.
    ours = {f"c{each.quality}": Measured(1, each.bpp / 2, each.psnr, each.ms_ssim) for each in peers.curves["JPEG"]}
    found = CodecResults(
        {"x": PictureResults(ours, peers.nearest, peers.curves)}, {"c0": {}}, published=published
    ).bd_rates()
    assert list(found) == ["JPEG", "paper"]
    assert found["JPEG"]["psnr"].percent == pytest.approx(-50)
    assert found["paper"]["psnr"].percent == pytest.approx(-87.5)
    assert found["JPEG"]["ms_ssim"].percent is None  # all at 0.9: no curve
    assert results(picture()).bd_rates()["JPEG"]["psnr"].reason == "vqgen has 1 rate, and a BD-rate takes at least 4"


def test_ms_ssim_of_some_pictures_only_has_no_bd_rate():
    many = ("a", "b", "c", "d")
    found = results(picture(checkpoints=many, ms_ssim=None), picture(checkpoints=many)).bd_rates()
    assert found["JPEG"]["ms_ssim"].reason == "1 of 2 images are smaller than its window of 11 x 11 pixels"
    assert found["JPEG"]["psnr"].percent is not None


def test_document_has_every_point_of_every_curve_and_is_read_again(tmp_path):
    published = {"paper": [Point(0.5, 30.0, 0.8)]}
    one = results(picture(), picture(2.0), published=published, colours="grey")
    document = one.document()
    assert list(document) == ["colours", "means", "images", "curves", "against", "bd_rates", "levels", "left_out"]
    assert {name: len(points) for name, points in document["curves"].items()} == {"vqgen": 1, "JPEG": 5, "WebP": 5}
    assert [point["quality"] for point in document["curves"]["JPEG"]] == [0, 10, 20, 30, 40]
    assert document["curves"]["vqgen"][0]["checkpoint"] == "a"
    assert document["means"]["vqgen"] | {"quality": 1} == document["means"]["vqgen"] | {"quality": 1}
    assert "quality" not in document["means"]["vqgen"]
    assert document["images"]["1.png"]["vqgen"]["bytes"] == 500
    assert document["against"]["paper"][0]["psnr"] == 30
    assert document["bd_rates"]["paper"]["psnr"]["percent"] is None
    assert document["levels"] == {"a": {"top": {"codes": 100, "packed": 4.0, "static": 3.5, "histogram": 3.0,
                                                "context": 2.0, "prior": 1.5}}}  # fmt: skip
    (tmp_path / "e.json").write_text(json.dumps(document))
    again = read_curves(tmp_path / "e.json")
    assert again.colours == "grey"
    assert again.images == {"0.png", "1.png"}
    assert new_curves(one.measured_curves(), again.curves, "e.json") == {}  # the same curves
    assert again.curves["JPEG"][0].bpp == one.peer_curves()["JPEG"][0].bpp


def test_curve_with_the_name_of_another_has_its_file_in_its_name():
    known = {"vqgen": [Point(1.0, 30.0)], "JPEG": [Point(1.0, 20.0, 0.5)]}
    new = {"vqgen": [Point(1.0, 31.0)], "JPEG": [Point(1.0, 20.0, 0.5, bytes=3)], "paper": [Point(2.0, 3.0)]}
    assert list(new_curves(known, new, "old.json")) == ["vqgen (old.json)", "paper"]
    taken = known | {"vqgen (old.json)": [Point(9.0, 1.0)]}
    assert list(new_curves(taken, {"vqgen": [Point(1.0, 31.0)]}, "old.json")) == ["vqgen (old.json) (old.json)"]


@pytest.mark.parametrize(("file", "here"), [("rgb", "rgb"), ("grey", "grey"), (None, "rgb"), (None, "grey")])
def test_curves_of_the_same_or_unknown_colours_are_compared(file, here):
    check_comparable(PublishedCurves({}, file), here, "c.json")


@pytest.mark.parametrize(
    ("file", "here", "remedy"), [("rgb", "grey", "leave --grey out"), ("grey", "rgb", "add --grey")]
)
def test_curves_of_other_colours_are_refused(file, here, remedy):
    message = f"--against: curves should be of pictures in {here}, found {file} in c.json; {remedy}"
    with pytest.raises(DataError, match=message):
        check_comparable(PublishedCurves({}, file), here, "c.json")
