"""The command evaluate-codec from several checkpoints and curves to its tables, its JSON and its plot."""

import json

import pytest
from small_runs import assert_refused, pixels

from vqgen.evaluation.bd_rate import LEAST_POINTS
from vqgen.evaluation.published_curves import read_curves
from vqgen.evaluation.rate_distortion import CURVE_QUALITIES

pytestmark = pytest.mark.slow


@pytest.fixture
def paper(tmp_path):
    """A file of a published curve."""
    points = [{"bpp": 0.5 * 2**number, "psnr": 10.0 + 3 * number, "ms_ssim": 0.5 + 0.1 * number} for number in range(4)]
    (tmp_path / "paper.json").write_text(json.dumps({"curves": {"paper": points}}))
    return tmp_path / "paper.json"


def test_second_call_compares_with_the_json_of_the_first(vqgen, trained, pictures, paper, tmp_path):
    words = ("evaluate-codec", trained, pictures, "--coder", "static", "--quiet")
    first = vqgen(*words, "--json", tmp_path / "first.json", "--against", paper, "--plot", tmp_path / "rd.svg")
    assert first.code == 0, first.err
    document = json.loads((tmp_path / "first.json").read_text())
    for name, points in document["curves"].items():
        assert len(points) == (1 if name == "vqgen" else len(CURVE_QUALITIES))
        assert all(point["write_seconds"] > 0 and point["read_seconds"] > 0 for point in points)
    assert list(document["against"]) == ["paper"]
    assert document["bd_rates"]["paper"]["psnr"]["percent"] is None
    assert f"takes at least {LEAST_POINTS}" in document["bd_rates"]["paper"]["psnr"]["reason"]
    assert (tmp_path / "rd.svg").read_text().lstrip().startswith("<?xml")
    second = vqgen(*words, "--coder", "packed", "--against", tmp_path / "first.json", "--plot", tmp_path / "rd.png")
    assert second.code == 0, second.err
    # The other formats are as before; only vqgen has another file.
    assert second.out.count("first.json") == 1
    assert f"vqgen ({tmp_path / 'first.json'})" in second.out
    assert pixels(tmp_path / "rd.png").shape[2] == 4
    assert read_curves(tmp_path / "first.json").colours == "grey"


def test_prices_of_codes_are_those_of_the_levels(vqgen, trained, pictures):
    finished = vqgen("evaluate-codec", trained, pictures / "grey.png", "--quiet")
    assert finished.code == 0, finished.err
    table = finished.out.partition("bits per code:\n")[2].splitlines()
    assert [line.split()[0] for line in table] == ["level", "top", "bottom"]
    assert all(len(line.split()) in (8, 9) for line in table[1:])  # "12 %" has two words


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("--against", "FOLDER"), "should be a JSON file of curves, found a folder; name the file in it"),
        (("--against", "PICTURE"), "should be a text in UTF-8"),
        (("--against", "GONE"), "there is no such file"),
        (("--against", "PAPER", "PAPER"), "--against: should be different files"),
        (("--against", "WRONG"), "curve 'a', point 1: bpp should be a number above 0, found 0; correct it"),
        (("--more-checkpoints", "CHECKPOINT"), "--more-checkpoints: should be different checkpoints"),
        (("--more-checkpoints", "GONE"), "gone"),
        (("--lpips-weights", "GONE"), "--lpips-weights: should be a file"),
        (("--lpips-weights", "PICTURE"), "grey.png"),
        (("--json", "FOLDER"), "should be a file, found a folder"),
        (("--plot", "PAPER"), "exists; --overwrite replaces"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing_behind(vqgen, trained, pictures, paper, tmp_path, words, part):
    (tmp_path / "wrong.json").write_text('{"curves": {"a": [{"bpp": 0, "psnr": 30}]}}')
    places = {
        "CHECKPOINT": trained, "FOLDER": pictures, "PICTURE": pictures / "grey.png", "GONE": tmp_path / "gone",
        "PAPER": paper, "WRONG": tmp_path / "wrong.json",
    }  # fmt: skip
    before = sorted(tmp_path.rglob("*"))
    finished = vqgen("evaluate-codec", trained, pictures, "--quiet", *(places.get(word, word) for word in words))
    assert_refused(finished, part)
    assert sorted(tmp_path.rglob("*")) == before
