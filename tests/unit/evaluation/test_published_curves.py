import json

import pytest

from vqgen.errors import DataError
from vqgen.evaluation.curves import Point
from vqgen.evaluation.published_curves import read_curves

POINTS = [{"bpp": 0.25, "psnr": 28.5, "ms_ssim": 0.9}, {"bpp": 1, "psnr": 33}]
READ = (Point(0.25, 28.5, 0.9), Point(1.0, 33.0))


def written(tmp_path, document):
    (tmp_path / "c.json").write_text(document if isinstance(document, str) else json.dumps(document))
    return tmp_path / "c.json"


@pytest.mark.parametrize(
    "document",
    [
        {"curves": {"paper": POINTS}},
        {"name": "paper", "points": POINTS},
        {"name": "paper", "results": {"bpp": [0.25, 1], "psnr-rgb": [28.5, 33], "ms-ssim-rgb": [0.9, None]}},
        {"name": "paper", "results": {"bpp": [0.25, 1], "psnr": [28.5, 33], "msssim": [0.9, None], "note": "x"}},
        {"name": "paper", "description": "more", "points": [{**each, "quality": 3, "lpips": 0.1} for each in POINTS]},
    ],
)
def test_three_layouts_have_the_same_curve(tmp_path, document):
    found = read_curves(written(tmp_path, document))
    assert found.curves == {"paper": READ}
    assert (found.colours, found.images) == (None, None)


def test_own_document_says_its_colours_and_pictures(tmp_path):
    document = {"colours": "grey", "images": {"a.png": {}, "b.png": {}}, "curves": {"vqgen": POINTS, "JPEG": POINTS}}
    found = read_curves(written(tmp_path, document))
    assert found.colours == "grey"
    assert found.images == {"a.png", "b.png"}
    assert list(found.curves) == ["vqgen", "JPEG"]


def test_name_is_shown_without_commands_for_a_terminal(tmp_path):
    assert list(read_curves(written(tmp_path, {"curves": {"a\x1b[2J": POINTS}})).curves) == ["a\\x1b[2J"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", r"c\.json: is not a JSON file"),
        ("[]", "should contain a JSON object, found a list"),
        ({}, 'should have either "curves", or "name" with "points" or "results", found nothing'),
        ({"psnr": 3}, 'should have either "curves", .* found psnr'),
        ({"name": " ", "points": POINTS}, 'should have either "curves"'),
        ({"name": 5, "points": POINTS}, 'should have either "curves"'),
        ({"curves": []}, "curves should be an object of names, found a list of 0"),
        ({"curves": {}}, "curves should be an object of names, found an object"),
        ({"curves": {"a": 3}}, "curve 'a' should be a list of points, found 3"),
        ({"name": "a"}, "curve 'a' should be a list of points, found nothing"),
        ({"curves": {"a": []}}, "curve 'a' should have at least one point, found none"),
        ({"curves": {"a": [3]}}, "curve 'a', point 1: should be an object with bpp, psnr and ms_ssim, found 3"),
        ({"curves": {"a": [*POINTS, {"psnr": 3}]}}, "curve 'a', point 3: should have bpp, found psnr"),
        ({"curves": {"a": [{"bpp": 1, "vmaf": 9}]}}, "point 1: should have psnr or ms_ssim, found bpp, vmaf"),
        ({"curves": {"a": [{"bpp": 0, "psnr": 3}]}}, "bpp should be a number above 0, found 0; correct it"),
        ({"curves": {"a": [{"bpp": -1, "psnr": 3}]}}, "bpp should be a number above 0, found -1"),
        ({"curves": {"a": [{"bpp": True, "psnr": 3}]}}, "bpp should be a number above 0, found True"),
        ({"curves": {"a": [{"bpp": "1", "psnr": 3}]}}, "bpp should be a number above 0, found '1'"),
        ('{"curves": {"a": [{"bpp": 1, "psnr": NaN}]}}', "psnr should be a number in dB, found nan"),
        ('{"curves": {"a": [{"bpp": 1, "psnr": Infinity}]}}', "psnr should be a number in dB, found inf"),
        (
            {"curves": {"a": [{"bpp": 1, "ms_ssim": 14.2}]}},
            r"ms_ssim should be a number in \[0, 1\], not in dB, found 14",
        ),
        ({"curves": {"a": [{"bpp": 1, "ms_ssim": [1]}]}}, "ms_ssim should be .*, found a list of 1"),
        ({"name": "a", "results": []}, "results should be an object of columns, found a list of 0"),
        ({"name": "a", "results": {"bpp": [1], "psnr": [1, 2]}}, "psnr in results should be a list with a number for"),
        ({"name": "a", "results": {"bpp": 1}}, "bpp in results should be a list with a number for each bpp, found 1"),
        ({"name": "a", "results": {}}, "curve 'a' should have at least one point"),
        ({"name": "a", "results": {"psnr": [30]}}, "curve 'a', point 1: should have bpp, found psnr"),
        ({"colours": "red", "curves": {"a": POINTS}}, "colours should be one of rgb, grey, found 'red'"),
        ({"colours": [1], "curves": {"a": POINTS}}, "colours should be one of rgb, grey, found a list of 1"),
    ],
)
def test_wrong_file_is_refused_in_one_plain_line(tmp_path, document, message):
    with pytest.raises(DataError, match=message) as caught:
        read_curves(written(tmp_path, document))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "c.json"))


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="should be a JSON file of curves, found a folder; name the file in it"):
        read_curves(tmp_path)
    with pytest.raises(DataError, match=r"gone\.json: there is no such file"):
        read_curves(tmp_path / "gone.json")
