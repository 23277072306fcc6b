import json
from types import SimpleNamespace

import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.commands import evaluate_codec
from vqgen.errors import ConfigError, DataError
from vqgen.evaluation.rate_distortion import CURVE_QUALITIES, Measured

WIDTHS = {"a.png": 100, "b.png": 200, "c.png": 400}


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures, of the widths in `WIDTHS`."""
    (tmp_path / "in").mkdir()
    for name, width in WIDTHS.items():
        Image.new("L", (width, 2)).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurements by numbers that the width of a picture gives. Records the coders and the curves."""
    calls = SimpleNamespace(coders=[], curves=[])

    def compare(codec, picture, coder):
        calls.coders.append(coder)
        return {
            "vqgen": Measured(picture.width, picture.width / 8, 20.0, None),
            "JPEG": Measured(2 * picture.width, picture.width / 4, 30.0, 0.5, 7),
        }

    def curve_points(codec, picture):
        calls.curves.append(picture.width)
        return {"JPEG": [Measured(quality * picture.width, 1.0, 1.0, None, quality) for quality in CURVE_QUALITIES]}

    monkeypatch.setattr("vqgen.evaluation.rate_distortion.compare", compare)
    monkeypatch.setattr("vqgen.evaluation.rate_distortion.curve_points", curve_points)
    return calls


@pytest.fixture
def run(call, opens, pipe):
    opens(pipe)
    return lambda folder, *words: call(evaluate_codec, "c", folder, "--quiet", *words)


def test_table_has_a_row_of_means_for_each_format(run, pictures, measured, capsys):
    assert run(pictures) == 0
    title, *rows, note = capsys.readouterr().out.splitlines()
    assert title.startswith("3 images; ")
    assert note == "  ms_ssim: left out, 3 of 3 images are smaller than its window of 11 x 11 pixels"
    assert [row.split() for row in rows] == [
        ["format", "bpp", "bytes", "PSNR", "MS-SSIM"],
        ["vqgen", "29.1667", "233", "20.00", "-"],
        ["JPEG", "58.3333", "467", "30.00", "0.5000"],
    ]


def test_row_of_our_format_is_that_of_the_written_files(run, pipe, tmp_path, capsys, monkeypatch):
    # The similarity needs seconds for its imports, and pictures of this size have none.
    monkeypatch.setattr("vqgen.evaluation.rate_distortion.ms_ssim", lambda original, restored: None)
    monkeypatch.setattr("vqgen.evaluation.rate_distortion.peer_formats", lambda: {"JPEG": "JPEG"})
    pictures = [noise_picture(8, 8, seed=seed) for seed in range(2)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    assert run(tmp_path, "--coder", "static") == 0
    ours = capsys.readouterr().out.splitlines()[2].split()
    size = sum(map(len, pipe.codec.compress(pictures, coder="static"))) / 2
    assert ours[:3] == ["vqgen", f"{size / 8:.4f}", f"{size:.0f}"]


@pytest.mark.parametrize(("option", "names"), [("1", ["a.png"]), ("2", ["a.png", "b.png"]), ("9", list(WIDTHS))])
def test_first_images_are_measured_on_request(run, pictures, measured, tmp_path, option, names):
    assert run(pictures, "--images", option, "--json", tmp_path / "e.json") == 0
    assert list(json.loads((tmp_path / "e.json").read_text())["images"]) == names


def test_json_has_the_origin_beside_the_measurements(run, pictures, measured, tmp_path):
    assert run(pictures, "--coder", "packed", "--json", tmp_path / "e.json") == 0
    document = json.loads((tmp_path / "e.json").read_text())
    assert list(document) == ["checkpoint", "coder", "means", "images", "curves", "left_out"]
    assert (document["checkpoint"], document["coder"]) == ("c", "packed")
    assert measured.coders == ["packed"] * 3
    assert {name: each["vqgen"]["bytes"] for name, each in document["images"].items()} == WIDTHS
    bytes_of_quality = {point["quality"]: point["bytes"] for point in document["curves"]["JPEG"]}
    assert bytes_of_quality == {quality: pytest.approx(quality * 700 / 3) for quality in CURVE_QUALITIES}


def test_curves_are_measured_only_for_a_file_or_a_picture(run, pictures, measured, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("vqgen.reports.plots.plot_rate_distortion", lambda *words: drawn.append(words))
    assert run(pictures) == 0
    assert measured.curves == drawn == []
    assert run(pictures, "--plot", tmp_path / "e.PNG") == 0
    assert measured.curves == list(WIDTHS.values())
    ((curves, ours, path),) = drawn
    assert path == tmp_path / "e.PNG"
    assert list(curves) == ["JPEG"]
    assert ours["bytes"] == pytest.approx(700 / 3)


def test_picture_that_cannot_be_measured_is_named_and_left_out(run, pictures, measured, tmp_path, capsys):
    (pictures / "a0.png").write_bytes(b"no picture")
    assert run(pictures, "--json", tmp_path / "e.json") == 1
    printed = capsys.readouterr()
    assert "a0.png" in printed.err
    assert printed.out.startswith("3 images; ")
    assert list(json.loads((tmp_path / "e.json").read_text())["images"]) == list(WIDTHS)


def test_error_of_every_picture_is_printed_before_the_refusal(run, pictures, tmp_path, capsys, monkeypatch):
    def compare(codec, picture, coder):
        raise DataError(f"too wide: {picture.width}")

    monkeypatch.setattr("vqgen.evaluation.rate_distortion.compare", compare)
    with pytest.raises(DataError, match="in: none of the 3 images could be measured"):
        run(pictures, "--json", tmp_path / "e.json")
    assert capsys.readouterr().err.splitlines() == [f"vqgen: {name}: too wide: {n}" for name, n in WIDTHS.items()]
    assert not (tmp_path / "e.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--images", "0"), "--images: should be at least 1, found 0"),
        (("--images", "-3"), "--images: should be at least 1, found -3"),
        (("--plot", "e.jpg"), r"--plot: should end in one of \.png, \.pdf, \.svg, found 'e\.jpg'"),
        (("--plot", "png"), r"--plot: should end in one of"),
    ],
)
def test_wrong_option_is_refused_before_the_checkpoint_is_opened(call, monkeypatch, tmp_path, words, message):
    monkeypatch.setattr("vqgen.pipeline.VQGenPipeline.from_pretrained", lambda *a, **k: pytest.fail("opened it"))
    with pytest.raises(ConfigError, match=message):
        call(evaluate_codec, "c", tmp_path, *words)


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_file_that_exists_is_refused_before_the_checkpoint_is_opened(call, monkeypatch, tmp_path, option):
    monkeypatch.setattr("vqgen.pipeline.VQGenPipeline.from_pretrained", lambda *a, **k: pytest.fail("opened it"))
    (tmp_path / "e.png").touch()
    with pytest.raises(ConfigError, match=r"e\.png: exists; --overwrite replaces"):
        call(evaluate_codec, "c", tmp_path, option, tmp_path / "e.png")
