"""The commands compress, decompress, inspect and evaluate-codec, and their refusals."""

import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from small_runs import assert_refused, pixels, save_picture

from vqgen import VQGenPipeline
from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_writer import ArchiveWriter

pytestmark = pytest.mark.slow

NAMES = ["x.jpg", "a/x.jpg", "a/b/wide.png", "a/b/tall.webp", "grey.png"]


@pytest.fixture
def compressed(vqgen, trained, pictures, tmp_path):
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "small")
    assert finished.code == 0, finished.err
    return tmp_path / "small"


def test_images_come_back_under_the_same_names(vqgen, trained, pictures, compressed, tmp_path):
    assert {path.relative_to(compressed).as_posix() for path in compressed.rglob("*.*")} == {f"{n}.vqg" for n in NAMES}
    finished = vqgen("decompress", trained, compressed, "-o", tmp_path / "back")
    assert finished.code == 0, finished.err
    assert "5 images" in finished.out
    pipe = VQGenPipeline.from_pretrained(trained, device="cpu")
    for name in NAMES:
        with Image.open(pictures / name) as source:
            expected = pipe.decompress(pipe.compress(source.convert("L")))[0]
            assert expected.size == source.size
        assert (pixels(tmp_path / "back" / f"{name}.png") == np.asarray(expected)).all()


def test_summary_follows_one_warning_for_colours(vqgen, trained, pictures, tmp_path):
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "small", "--label", "auto", "--quiet")
    assert (
        finished.err == "vqgen: warning: pictures with colours are coded as grey: the model supports grey images only\n"
    )
    for part in ("5 images", "bpp", "times smaller than the source files", "coders"):
        assert part in finished.out
    assert "PSNR" not in finished.out


def test_report_adds_the_psnr_and_changes_no_file(vqgen, trained, pictures, compressed, tmp_path):
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "again", "--report")
    assert finished.code == 0, finished.err
    assert re.search(r"5 images .* bpp, .* source files, PSNR \d+\.\d\d dB; coders of the levels: ", finished.out)
    for name in NAMES:
        assert (tmp_path / "again" / f"{name}.vqg").read_bytes() == (compressed / f"{name}.vqg").read_bytes()


@pytest.mark.parametrize("coder", ["packed", "static", "prior", "auto"])
def test_archive_holds_the_same_images_as_files(vqgen, trained, pictures, compressed, tmp_path, coder):
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "one", "--archive", "--coder", coder)
    assert finished.code == 0, finished.err
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["images.vqga"]
    assert vqgen("decompress", trained, tmp_path / "one", "-o", tmp_path / "from-archive").code == 0
    assert vqgen("decompress", trained, compressed, "-o", tmp_path / "from-files").code == 0
    for name in NAMES:
        one, other = (pixels(tmp_path / where / f"{name}.png") for where in ("from-archive", "from-files"))
        assert (one == other).all()


def test_inspect_prints_the_contents_of_files_and_archives(vqgen, trained, compressed, pictures, tmp_path):
    alone = vqgen("inspect", compressed / "a" / "b" / "wide.png.vqg")
    assert alone.code == 0
    for part in ("40 x 24 grey, no label", "header 56 bytes", "3 x 5 codes", "bpp"):
        assert part in alone.out
    full = vqgen("inspect", compressed / "x.jpg.vqg", "--checkpoint", trained)
    assert full.out.count("; ideal ") == 2
    archive = tmp_path / "all.vqga"
    assert vqgen("compress", trained, pictures, "-o", archive, "--archive").code == 0
    assert "archive of 5 images in 1 block" in vqgen("inspect", archive).out
    full = vqgen("inspect", archive, "--checkpoint", trained).out
    assert "bpp of the whole file" in full
    table = [line.split() for line in full.splitlines()[-3:]]
    assert " ".join(table[0]) == "level coders bytes bpp ideal bytes ideal bpp"
    assert [line[0] for line in table[1:]] == ["top", "bottom"]
    assert all(line[2:5] == ["in", "1", "blocks"] and len(line) == 9 for line in table[1:])
    assert vqgen("compress", trained, pictures / "x.jpg", "-o", tmp_path / "seven", "--label", "7").code == 0
    assert "label 7 (7)" in vqgen("inspect", tmp_path / "seven" / "x.jpg.vqg", "--checkpoint", trained).out


def test_transparency_is_kept_on_request(vqgen, trained, tmp_path):
    rgba = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8))
    rgba.save(tmp_path / "t.png")
    for alpha, mode in (("keep", "LA"), ("drop", "L")):
        assert vqgen("compress", trained, tmp_path / "t.png", "-o", tmp_path / alpha, "--alpha", alpha).code == 0
        assert vqgen("decompress", trained, tmp_path / alpha, "-o", tmp_path / alpha).code == 0
        with Image.open(tmp_path / alpha / "t.png.png") as restored:
            assert restored.mode == mode
            if alpha == "keep":
                assert restored.getchannel("A").tobytes() == rgba.getchannel("A").tobytes()


def test_evaluate_codec_measures_beside_other_formats(vqgen, trained, pictures, tmp_path):
    options = ("--json", tmp_path / "e.json", "--plot", tmp_path / "e.png", "--quiet")
    finished = vqgen("evaluate-codec", trained, pictures, *options)
    assert finished.code == 0, finished.err
    for name in ("vqgen", "JPEG", "WebP", "PSNR", "MS-SSIM"):
        assert name in finished.out
    figures = json.loads((tmp_path / "e.json").read_text())
    assert set(figures["images"]) == set(NAMES)
    assert 0 < figures["means"]["vqgen"]["bpp"] < figures["means"]["JPEG"]["bpp"]
    bpp = [point["bpp"] for point in figures["curves"]["JPEG"]]
    assert bpp == sorted(bpp)
    assert pixels(tmp_path / "e.png").shape[2] == 4


# Refusals


def test_damaged_files_are_named_and_sound_files_decoded(vqgen, trained, compressed, tmp_path):
    data = bytearray((compressed / "x.jpg.vqg").read_bytes())
    (compressed / "cut.vqg").write_bytes(data[:-2])
    data[-5] ^= 0xFF
    (compressed / "flipped.vqg").write_bytes(data)
    finished = vqgen("decompress", trained, compressed, "-o", tmp_path / "back")
    assert finished.code == 1
    assert sorted(line.split(":")[1].strip() for line in finished.err.splitlines()) == ["cut.vqg", "flipped.vqg"]
    assert len(list((tmp_path / "back").rglob("*.png"))) == 5


def test_every_damaged_file_is_named(vqgen, trained, tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.vqg").write_bytes(b"junk")
    finished = vqgen("decompress", trained, tmp_path, "-o", tmp_path / "back")
    assert finished.code == 2
    *lines, last = finished.err.splitlines()
    assert [line[:14] for line in lines] == [f"vqgen: {number:02d}.vqg:" for number in range(30)]
    assert last == f"vqgen: {tmp_path}: none of the 30 images could be decoded and written"


def test_unreadable_files_are_named_and_readable_files_decoded(vqgen, trained, compressed, tmp_path):
    (compressed / "folder.vqg").mkdir()
    (compressed / "gone.vqg").symlink_to(tmp_path / "nowhere")
    (compressed / ".x.123.tmp.vqg").write_bytes(b"left by a killed process")
    (compressed / "x.jpg.vqg").rename(compressed / "x.jpg.VQG")
    finished = vqgen("decompress", trained, compressed, "-o", tmp_path / "back")
    assert finished.code == 1
    assert finished.err == "vqgen: gone.vqg: No such file or directory; check the link, or leave it out\n"
    assert "5 images in" in finished.out
    assert "1 of 6 images failed" in finished.out
    assert (tmp_path / "back" / "x.jpg.png").is_file()


def test_picture_that_is_too_large_is_named_and_left_out(vqgen, trained, pictures, tmp_path):
    Image.new("L", (70_000, 1)).save(pictures / "b.png")
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "small")
    assert finished.code == 1
    assert "vqgen: b.png: an image should have at most" in finished.err
    assert "5 images in" in finished.out
    finished = vqgen("evaluate-codec", trained, pictures / "b.png")
    assert_refused(finished, "b.png: an image should have at most")


def test_broken_link_to_a_picture_is_left_out(vqgen, trained, pictures, tmp_path):
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere")
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "small")
    assert finished.code == 1
    assert "gone.png" in finished.err
    assert "5 images in" in finished.out


@pytest.mark.parametrize("beside_another", [False, True])
def test_blocks_around_the_damage_of_an_archive_come_back(vqgen, trained, tmp_path, monkeypatch, beside_another):
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 4)
    for number in range(9):
        save_picture(tmp_path / "in" / f"{number}.png", number)
    archive = tmp_path / "small" / "all.vqga"
    assert vqgen("compress", trained, tmp_path / "in", "-o", archive, "--archive").code == 0
    blocks = read_index(io.BytesIO(data := archive.read_bytes()))
    at = HEADER_BYTES + blocks[0].length + blocks[1].length
    archive.write_bytes(data[: at - 1] + bytes([data[at - 1] ^ 0x55]) + data[at:])
    if beside_another:
        save_picture(tmp_path / "other.png", 1)
        assert vqgen("compress", trained, tmp_path / "other.png", "-o", tmp_path / "small").code == 0
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "2.png.png").write_bytes(b"mine")
    finished = vqgen("decompress", trained, tmp_path / "small", "-o", tmp_path / "back")
    assert_refused(finished, "2.png.png: exists")
    (tmp_path / "back" / "2.png.png").unlink()
    finished = vqgen("decompress", trained, tmp_path / "small", "-o", tmp_path / "back")
    assert finished.code == 1
    assert finished.err.startswith("vqgen: all.vqga: images 4 to 7, counted from 0: ")
    assert finished.err.count("\n") == 1
    assert len(list((tmp_path / "back").iterdir())) == 5 + beside_another


def test_archive_with_names_that_lead_elsewhere_writes_nothing_there(vqgen, trained, pictures, tmp_path):
    codec = VQGenPipeline.from_pretrained(trained, device="cpu").codec
    for name in ("../evil", "/evil", "a/../../evil"):
        with (tmp_path / "evil.vqga").open("wb") as file:
            writer = ArchiveWriter(file, codec)
            with Image.open(pictures / "grey.png") as picture:
                writer.add(codec.encode([picture])[0], name)
            writer.finish()
        finished = vqgen("decompress", trained, tmp_path / "evil.vqga", "-o", tmp_path / "back" / "deep")
        assert_refused(finished, "evil.vqga", "leads out of the output folder")
        assert not list(tmp_path.rglob("evil.png"))


def test_archive_without_images_is_refused_by_decompress(vqgen, trained, tmp_path):
    with (tmp_path / "none.vqga").open("wb") as file:
        ArchiveWriter(file, VQGenPipeline.from_pretrained(trained, device="cpu").codec).finish()
    assert "archive of 0 images" in vqgen("inspect", tmp_path / "none.vqga", "--checkpoint", trained).out
    finished = vqgen("decompress", trained, tmp_path / "none.vqga", "-o", tmp_path / "back")
    assert_refused(finished, "none.vqga: the archive has no images")


def test_single_file_that_cannot_be_decoded_is_refused(vqgen, trained, compressed, pictures, tmp_path):
    def refused(path, *parts):
        assert_refused(vqgen("decompress", trained, path, "-o", tmp_path / "back"), path.name, *parts)
        assert not (tmp_path / "back").exists()

    refused(pictures / "grey.png", "this is not a compressed image", "PNG")
    data = (compressed / "x.jpg.vqg").read_bytes()
    for name, damaged, part in (
        ("new.vqg", data[:4] + b"\x03" + data[5:], "should be version 1 or 2, found 3; update vqgen"),
        ("cut.vqg", data[:30], "cut short"),
        ("flip.vqg", data[:8] + b"\x07" + data[9:], "CRC-32"),
        ("empty.vqg", b"", "not a compressed image"),
    ):
        (tmp_path / name).write_bytes(damaged)
        refused(tmp_path / name, part)
        assert_refused(vqgen("inspect", tmp_path / name), name, part)
    refused_archive = tmp_path / "x.vqga"
    refused_archive.write_bytes(data)
    refused(refused_archive, "not an archive of vqgen")


def test_file_of_a_missing_prior_is_refused_with_its_level(vqgen, trained, pictures, tmp_path):
    assert vqgen("compress", trained, pictures / "x.jpg", "-o", tmp_path / "small", "--coder", "prior").code == 0
    shutil.copytree(trained / "pipeline", tmp_path / "bare")
    for level in ("top", "bottom"):
        shutil.rmtree(tmp_path / "bare" / f"prior-{level}")
    finished = vqgen("decompress", tmp_path / "bare", tmp_path / "small", "-o", tmp_path / "back")
    assert_refused(finished, "x.jpg.vqg", "needs the prior for top that was trained beside VQ-VAE")
    assert_refused(
        vqgen("compress", tmp_path / "bare", pictures, "-o", tmp_path / "no", "--coder", "prior"),
        "coder: prior needs the prior of every level",
    )
    assert vqgen("compress", tmp_path / "bare", pictures, "-o", tmp_path / "yes").code == 0


def test_pipeline_without_frequencies_still_compresses(vqgen, trained, pictures, tmp_path):
    assert (trained / "pipeline" / "frequencies.safetensors").is_file()
    shutil.copytree(trained / "pipeline", tmp_path / "old")
    (tmp_path / "old" / "frequencies.safetensors").unlink()
    assert vqgen("compress", tmp_path / "old", pictures, "-o", tmp_path / "small").code == 0
    finished = vqgen("compress", tmp_path / "old", pictures, "-o", tmp_path / "no", "--coder", "static")
    assert_refused(finished, "static needs the frequencies", "`vqgen extract-codes` counts them")
    assert not (tmp_path / "no").exists()


def test_outputs_that_exist_are_kept_unless_overwritten(vqgen, trained, pictures, compressed, tmp_path):
    before = {path: path.read_bytes() for path in compressed.rglob("*.vqg")}
    finished = vqgen("compress", trained, pictures, "-o", compressed, "--coder", "packed")
    assert_refused(finished, "exists, and 4 more; --overwrite replaces")
    assert {path: path.read_bytes() for path in compressed.rglob("*.vqg")} == before
    assert vqgen("compress", trained, pictures, "-o", compressed, "--overwrite").code == 0
    assert vqgen("decompress", trained, compressed, "-o", tmp_path / "back").code == 0
    assert_refused(vqgen("decompress", trained, compressed, "-o", tmp_path / "back"), "--overwrite replaces")
    assert vqgen("decompress", trained, compressed, "-o", tmp_path / "back", "--overwrite").code == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("compress", "CHECKPOINT", "EMPTY", "-o", "OUT"), "there is no image"),
        (("compress", "CHECKPOINT", "GONE", "-o", "OUT"), "there is no such file or folder"),
        (("decompress", "CHECKPOINT", "EMPTY", "-o", "OUT"), "there is no compressed file"),
        (("decompress", "CHECKPOINT", "GONE", "-o", "OUT"), "there is no such file or folder"),
        (("compress", "CHECKPOINT", "PICTURES", "-o", "OUT", "--coder", "zip"), "coder: should be one of auto"),
        (("compress", "CHECKPOINT", "PICTURES", "-o", "OUT", "--alpha", "blend"), "alpha: should be one of drop, keep"),
        (("compress", "CHECKPOINT", "PICTURES", "-o", "OUT", "--label", "cat"), "label should be one of the names"),
        (("inspect", "GONE"), "there is no such file"),
        (("inspect", "EMPTY"), "this is a folder"),
        (("compress", "CHECKPOINT", "PICTURES", "PICTURES", "-o", "OUT"), "written to the same place"),
        (("compress", "CHECKPOINT", "PICTURES", "-o", "FILE"), "-o: should be a folder, and "),
        (("compress", "CHECKPOINT", "PICTURES", "-o", "FILE", "--archive"), "-o: should be a folder, and "),
        (("decompress", "CHECKPOINT", "PICTURES/grey.png", "-o", "FILE"), "-o: should be a folder, and "),
        (("decompress", "CHECKPOINT", "PICTURES/grey.png", "-o", "OUT"), "this is not a compressed image"),
        (("evaluate-codec", "CHECKPOINT", "EMPTY"), "there is no image"),
        (("evaluate-codec", "CHECKPOINT", "GONE"), "there is no such file or folder"),
        (("evaluate-codec", "CHECKPOINT", "PICTURES", "--images", "0"), "--images: should be at least 1, found 0"),
        (("evaluate-codec", "CHECKPOINT", "PICTURES", "--plot", "OUT"), "--plot: should end in one of .png"),
        (("evaluate-codec", "CHECKPOINT", "PICTURES", "--coder", "zip"), "coder: should be one of auto"),
        (("evaluate-codec", "EMPTY", "PICTURES"), ""),
        (("compress", "CHECKPOINT", "-o", "OUT"), "PATH"),
    ],
)
def test_wrong_words_leave_nothing_behind(vqgen, trained, pictures, tmp_path, words, part):
    (tmp_path / "empty").mkdir()
    places = {
        "CHECKPOINT": trained, "EMPTY": tmp_path / "empty", "GONE": tmp_path / "gone", "OUT": tmp_path / "out",
        "PICTURES": pictures, "FILE": tmp_path / "a file", "PICTURES/grey.png": pictures / "grey.png",
    }  # fmt: skip
    (tmp_path / "a file").write_bytes(b"mine")
    finished = vqgen(*(places.get(word, word) for word in words))
    assert_refused(finished, part)
    assert (tmp_path / "a file").read_bytes() == b"mine"
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_unreadable_picture_is_left_out(vqgen, trained, pictures, tmp_path):
    (pictures / "broken.png").write_bytes(b"no picture")
    finished = vqgen("compress", trained, pictures, "-o", tmp_path / "small")
    assert finished.code == 1
    assert "broken.png" in finished.err
    assert len(list((tmp_path / "small").rglob("*.vqg"))) == 5
