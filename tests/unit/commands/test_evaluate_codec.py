import json
from types import SimpleNamespace

import pytest
from codec_models import noise_picture, random_codes, tiny_codec
from PIL import Image

from vqgen.commands import evaluate_codec
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.rate_distortion import CURVE_QUALITIES, Measured
from vqgen.pipeline import VQGenPipeline
from vqgen.runtime.compute import Compute

WIDTHS = {"a.png": 100, "b.png": 200, "c.png": 400}

FOUR = ("--more-checkpoints", "c2", "c3", "c4")

PAPER = {"curves": {"paper": [{"bpp": 10.0 * 2**i, "psnr": 14.0 + 3 * i, "ms_ssim": 0.5} for i in range(5)]}}


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures, of the widths in `WIDTHS`."""
    (tmp_path / "in").mkdir()
    for name, width in WIDTHS.items():
        Image.new("L", (width, 2)).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurements by numbers that width and checkpoint give. Records the rates, yardsticks and curves."""
    calls = SimpleNamespace(rates=[], yardsticks=[], curves=[], sizes=[])
    absent = {"JPEG XL": "its plugin is not installed; pip install 'vqgen[jxl]'"}

    def measure_ours(rate, original, yardstick):
        calls.rates.append((rate.checkpoint, rate.coder))
        calls.yardsticks.append(yardstick)
        step = int(rate.checkpoint[1:] or 1) - 1  # "c", "c2", ...: each doubles the rate for 3 dB
        size = original.width * 2**step
        ours = Measured(size, size / 8, 20.0 + 3 * step, None, None, None, 0.5, 0.25)
        return ours, random_codes(rate.codec, 8, 8)

    def nearest_peers(original, size, yardstick):
        calls.sizes.append(size)
        return {"JPEG": Measured(2 * size, original.width / 4, 30.0, 0.5, 7)}

    def curve_points(original, yardstick):
        calls.curves.append(original.width)
        steps = enumerate(CURVE_QUALITIES)
        return {
            "JPEG": [Measured(q * original.width, original.width * 2.0**i / 4, 14.0 + 3 * i, None, q) for i, q in steps]
        }

    for name, stand_in in (
        ("measure_ours", measure_ours),
        ("nearest_peers", nearest_peers),
        ("curve_points", curve_points),
    ):
        monkeypatch.setattr(f"vqgen.evaluation.rate_distortion.{name}", stand_in)
    monkeypatch.setattr("vqgen.evaluation.codec_results.absent_formats", lambda: absent)
    monkeypatch.setattr("vqgen.models.lpips.find_lpips_weights", lambda: None)
    return calls


@pytest.fixture
def run(call, opens, pipe):
    opens(pipe)
    return lambda folder, *words: call(evaluate_codec, "c", folder, "--quiet", *words)


def written(path, document):
    path.write_text(json.dumps(document))
    return path


def test_tables_have_a_row_for_each_format_and_each_level(run, pictures, measured, capsys):
    assert run(pictures) == 0
    title, *rows = capsys.readouterr().out.splitlines()
    assert title == "3 images; each other format at the quality with the file nearest in size to ours:"
    assert [row.split() for row in rows[:3]] == [
        ["format", "bpp", "bytes", "PSNR", "MS-SSIM", "write,", "ms", "read,", "ms"],
        ["vqgen", "29.1667", "233", "20.00", "-", "500.00", "250.00"],
        ["JPEG", "58.3333", "467", "30.00", "0.5000", "0.00", "0.00"],
    ]
    assert rows[3:7] == [
        "  lpips: left out, alexnet-owt-7be5be79.pth is not in torch's cache; --lpips-weights FILE names it",
        "  JPEG XL: left out, its plugin is not installed; pip install 'vqgen[jxl]'",
        "  ms_ssim: left out, 3 of 3 images are smaller than its window of 11 x 11 pixels",
        "  BD-rate: vqgen has one rate here, and it takes curves of at least 4 points; --qualities and "
        "--more-checkpoints add rates",
    ]
    assert rows[7:9] == ["bits per code:", "level   codes  packed  static  histogram  context  prior  prior saves"]
    assert [row.split()[:3] for row in rows[9:]] == [["top", "12", "4.000"], ["bottom", "48", "4.000"]]
    assert measured.sizes == list(WIDTHS.values())


def test_row_of_our_format_is_that_of_the_written_files(run, pipe, tmp_path, capsys, monkeypatch):
    # The similarity needs seconds for its imports, and pictures of this size have none.
    monkeypatch.setattr("vqgen.evaluation.rate_distortion.ms_ssim", lambda original, restored: None)
    monkeypatch.setattr("vqgen.evaluation.rate_distortion.peer_formats", lambda: {"JPEG": "JPEG"})
    pictures = [noise_picture(8, 8, seed=seed) for seed in range(2)]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    assert run(tmp_path, "--coder", "static") == 0
    printed = capsys.readouterr().out
    size = sum(map(len, pipe.codec.compress(pictures, coder="static"))) / 2
    assert printed.splitlines()[2].split()[:3] == ["vqgen", f"{size / 8:.4f}", f"{size:.0f}"]
    assert "  prior: left out, --coder static does not use it" in printed


@pytest.mark.parametrize(("option", "names"), [("1", ["a.png"]), ("2", ["a.png", "b.png"]), ("9", list(WIDTHS))])
def test_first_images_are_measured_on_request(run, pictures, measured, tmp_path, option, names):
    assert run(pictures, "--images", option, "--json", tmp_path / "e.json") == 0
    assert list(json.loads((tmp_path / "e.json").read_text())["images"]) == names


def test_json_has_the_origin_beside_the_measurements(run, pictures, measured, tmp_path):
    assert run(pictures, "--coder", "packed", "--json", tmp_path / "e.json") == 0
    document = json.loads((tmp_path / "e.json").read_text())
    assert list(document) == [
        "checkpoint", "coder", "colours", "means", "images", "curves", "against", "bd_rates", "levels", "left_out",
    ]  # fmt: skip
    assert (document["checkpoint"], document["coder"], document["colours"]) == ("c", "packed", "grey")
    assert measured.rates == [("c", "packed")] * 3
    assert {name: each["vqgen"]["bytes"] for name, each in document["images"].items()} == WIDTHS
    bytes_of_quality = {point["quality"]: point["bytes"] for point in document["curves"]["JPEG"]}
    assert bytes_of_quality == {quality: pytest.approx(quality * 700 / 3) for quality in CURVE_QUALITIES}
    assert document["levels"]["c"]["top"]["prior"] is None


def test_curves_are_measured_only_if_something_shows_them(run, pictures, measured, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("vqgen.reports.plots.plot_rate_distortion", lambda *words: drawn.append(words))
    assert run(pictures, "--more-checkpoints", "c2", "c3") == 0
    assert measured.curves == drawn == []
    assert run(pictures, "--plot", tmp_path / "e.PNG") == 0
    assert measured.curves == list(WIDTHS.values())
    ((curves, path),) = drawn
    assert path == tmp_path / "e.PNG"
    assert list(curves) == ["vqgen", "JPEG"]
    assert curves["vqgen"] == {"psnr": [(pytest.approx(700 / 24), 20.0)], "ms_ssim": []}
    assert len(curves["JPEG"]["psnr"]) == len(CURVE_QUALITIES)
    assert run(pictures, *FOUR) == 0
    assert measured.curves == 2 * list(WIDTHS.values())


def test_checkpoints_make_a_curve_with_a_bd_rate(run, pictures, measured, tmp_path, capsys):
    words = ("--json", tmp_path / "e.json", "--against", written(tmp_path / "p.json", PAPER))
    assert run(pictures, *FOUR, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("nearest in size to the first:")
    assert [line.split()[:2] for line in lines[2:6]] == [["vqgen", name] for name in ("c", "c2", "c3", "c4")]
    assert lines[7].split()[:5] == ["paper", "40.0000", "-", "20.00", "0.5000"]
    begin = lines.index("BD-rate of vqgen: bits that it saves (-) or needs more (+) at the same quality:")
    assert lines[begin + 1].split() == ["reference", "by", "PSNR", "over", "dB", "by", "MS-SSIM", "over", "dB"]
    # JPEG has 20 dB at 4 times the rate of its first point, which is twice ours: 8 times our bits.
    assert lines[begin + 2].split() == ["JPEG", "-87.5", "%", "20.0", "to", "29.0", "-", "-"]
    assert lines[begin + 3].split()[:3] == ["paper", f"{100 * (700 / 24 / 40 - 1):+.1f}", "%"]
    small = "3 of 3 images are smaller than its window of 11 x 11 pixels"
    assert lines[begin + 4] == f"  BD-rate against JPEG, paper by MS-SSIM: {small}"
    document = json.loads((tmp_path / "e.json").read_text())
    assert [point["checkpoint"] for point in document["curves"]["vqgen"]] == ["c", "c2", "c3", "c4"]
    assert document["bd_rates"]["JPEG"]["psnr"] == {
        "percent": pytest.approx(-87.5), "low": 20.0, "high": 29.0, "reason": None
    }  # fmt: skip
    assert list(document["against"]) == ["paper"]
    assert list(document["levels"]) == ["c", "c2", "c3", "c4"]


def test_own_json_is_read_again_beside_the_new_measurements(run, pictures, measured, tmp_path, capsys):
    old = tmp_path / "old.json"
    assert run(pictures, "--more-checkpoints", "c2", "--json", old) == 0
    capsys.readouterr()
    assert run(pictures, "--against", old) == 0
    rows = capsys.readouterr().out.splitlines()
    names = [row.split("  ")[0] for row in rows[2:6]]
    assert names == ["vqgen", "JPEG", f"vqgen ({old})", f"JPEG ({old})"]  # here curves of JPEG are not measured
    assert run(pictures, "--against", old, "--json", tmp_path / "new.json") == 0
    assert list(json.loads((tmp_path / "new.json").read_text())["against"]) == [f"vqgen ({old})"]
    assert "of other images" not in capsys.readouterr().out
    assert run(pictures, "--against", old, "--images", "2") == 0
    assert f"  {old}: its curves are of other images" in capsys.readouterr().out.splitlines()


def test_luma_is_compared_on_request_and_lpips_with_its_weights(run, pictures, measured, tmp_path, monkeypatch):
    monkeypatch.setattr("vqgen.evaluation.reconstruction.load_lpips", lambda path: lambda one, other: path)
    (tmp_path / "w.pth").touch()
    assert run(pictures, "--grey", "--lpips-weights", tmp_path / "w.pth") == 0
    yardstick = measured.yardsticks[0]
    assert yardstick.grey
    assert yardstick.lpips(None, None) == tmp_path / "w.pth"


def test_picture_that_cannot_be_measured_is_named_and_left_out(run, pictures, measured, tmp_path, capsys):
    (pictures / "a0.png").write_bytes(b"no picture")
    assert run(pictures, "--json", tmp_path / "e.json") == 1
    printed = capsys.readouterr()
    assert "a0.png" in printed.err
    assert printed.out.startswith("3 images; ")
    assert list(json.loads((tmp_path / "e.json").read_text())["images"]) == list(WIDTHS)


def test_picture_that_fails_has_no_part_in_the_prices(run, pictures, measured, monkeypatch, capsys):
    def nearest_peers(original, size, yardstick):
        if original.width == WIDTHS["b.png"]:
            raise DataError("too wide")
        return {}

    monkeypatch.setattr("vqgen.evaluation.rate_distortion.nearest_peers", nearest_peers)
    assert run(pictures) == 1
    assert capsys.readouterr().out.splitlines()[-2].split()[:2] == ["top", "8"]


def test_error_of_every_picture_is_printed_before_the_refusal(run, pictures, tmp_path, capsys, monkeypatch):
    def measure_ours(rate, original, yardstick):
        raise DataError(f"too wide: {original.width}")

    monkeypatch.setattr("vqgen.evaluation.rate_distortion.measure_ours", measure_ours)
    with pytest.raises(DataError, match="in: none of the 3 images could be measured"):
        run(pictures, "--json", tmp_path / "e.json")
    assert capsys.readouterr().err.splitlines() == [f"vqgen: {name}: too wide: {n}" for name, n in WIDTHS.items()]
    assert not (tmp_path / "e.json").exists()


@pytest.fixture
def unopened(monkeypatch):
    """Fails a test that opens a checkpoint."""
    monkeypatch.setattr("vqgen.pipeline.VQGenPipeline.from_pretrained", lambda *a, **k: pytest.fail("opened it"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--images", "0"), "--images: should be at least 1, found 0"),
        (("--images", "-3"), "--images: should be at least 1, found -3"),
        (("--plot", "e.jpg"), r"--plot: should end in one of \.png, \.pdf, \.svg, found 'e\.jpg'"),
        (("--plot", "png"), r"--plot: should end in one of"),
        (("--more-checkpoints", "d", "c"), "--more-checkpoints: should be different checkpoints, found c twice; leave"),
        (("--qualities", "90", "9e1"), "--qualities: should be different numbers, found 90 twice; leave one out"),
        (
            ("--against", "p.json", "p.json"),
            r"--against: should be different files, found p\.json twice; leave one out",
        ),
    ],
)
def test_wrong_option_is_refused_before_the_checkpoint_is_opened(call, unopened, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        call(evaluate_codec, "c", tmp_path, *words)


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_file_that_exists_is_refused_before_the_checkpoint_is_opened(call, unopened, tmp_path, option):
    (tmp_path / "e.png").touch()
    with pytest.raises(ConfigError, match=r"e\.png: exists; --overwrite replaces"):
        call(evaluate_codec, "c", tmp_path, option, tmp_path / "e.png")


@pytest.mark.parametrize("quality", ["0", "101"])
def test_wrong_quality_is_refused_before_the_first_picture(run, measured, pictures, quality):
    with pytest.raises(ConfigError, match=f"quality: should be from 1 to 100, found {quality}"):
        run(pictures, "--qualities", "100", quality)
    assert measured.rates == []


def test_each_quality_is_a_rate_of_each_checkpoint(run, measured, pictures, tmp_path, capsys):
    words = ("--qualities", "100", "60", "--more-checkpoints", "c2", "--coder", "static", "--json", tmp_path / "e.json")
    assert run(pictures, *words) == 0
    names = ["c", "c at 60", "c2", "c2 at 60"]
    document = json.loads((tmp_path / "e.json").read_text())
    assert list(document["levels"]) == names
    assert [name for name, _ in measured.rates[:4]] == ["c", "c", "c2", "c2"]


def test_wrong_curves_and_weights_are_refused_before_the_checkpoint_is_opened(call, unopened, tmp_path):
    with pytest.raises(DataError, match=r"gone\.json: there is no such file"):
        call(evaluate_codec, "c", tmp_path, "--against", tmp_path / "gone.json")
    with pytest.raises(DataError, match=r"p\.json: curve 'a', point 1: should have bpp"):
        call(evaluate_codec, "c", tmp_path, "--against", written(tmp_path / "p.json", {"curves": {"a": [{"psnr": 3}]}}))
    with pytest.raises(ConfigError, match="--lpips-weights: should be a file"):
        call(evaluate_codec, "c", tmp_path, "--lpips-weights", tmp_path / "gone.pth")
    (tmp_path / "w.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match=r"w\.pth"):
        call(evaluate_codec, "c", tmp_path, "--lpips-weights", tmp_path / "w.pth")


def test_curves_in_other_colours_are_refused_before_the_first_picture(run, pictures, measured, tmp_path):
    coloured = written(tmp_path / "p.json", PAPER | {"colours": "rgb"})
    with pytest.raises(DataError, match=r"--against: curves should be of pictures in grey, found rgb in .*p\.json"):
        run(pictures, "--against", coloured)
    assert measured.rates == []


def test_models_of_different_colours_make_no_curve(call, pipe, make_parts, pictures, measured, monkeypatch):
    coloured = VQGenPipeline(tiny_codec(make_parts, image_channels=3).parts, Compute.resolve("cpu"))
    opened = {"c": pipe, "c2": coloured}
    monkeypatch.setattr("vqgen.pipeline.VQGenPipeline.from_pretrained", lambda name, **options: opened[name])
    message = "--more-checkpoints: should have models of 1 channels as c has, found 3 in c2; measure it alone"
    with pytest.raises(ConfigError, match=message):
        call(evaluate_codec, "c", pictures, "--more-checkpoints", "c2")
