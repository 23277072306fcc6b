import errno
import os
import re
from pathlib import Path

import numpy as np
import pytest
from codec_models import noise_picture
from PIL import Image

from vqgen.codec import Codec, read_header
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.commands import compress
from vqgen.errors import ConfigError, DataError
from vqgen.evaluation.codec_totals import psnr


@pytest.fixture
def pictures(tmp_path):
    """A folder of three pictures, one of them below another folder."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    for seed, (name, width, height) in enumerate([("a.png", 8, 8), ("b.png", 20, 9), ("deep/c.png", 5, 12)]):
        noise_picture(width, height, seed=seed).save(folder / name)
    return folder


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    """Compresses with the packed coder into the folder `out`."""
    opens(pipe)

    def run_command(paths, *words, output=tmp_path / "out"):
        return call(compress, "c", paths, "-o", output, "--coder", "packed", "--quiet", *words)

    return run_command


def test_totals_are_those_of_the_files(run, pictures, tmp_path, capsys):
    assert run(pictures) == 0
    sizes = [path.stat().st_size for path in (tmp_path / "out").rglob("*.vqg")]
    source = sum(path.stat().st_size for path in pictures.rglob("*.png"))
    area = 8 * 8 + 20 * 9 + 5 * 12
    assert len(sizes) == 3
    assert capsys.readouterr().out == (
        f"3 images in {tmp_path / 'out'}: {sum(sizes)} bytes, {8 * sum(sizes) / area:.4g} bpp, "
        f"{source / sum(sizes):.3g} times smaller than the source files; coders of the levels: packed 6\n"
    )


def test_totals_do_not_depend_on_the_batches(run, pictures, capsys, monkeypatch):
    assert run(pictures, "--report") == 0
    together = capsys.readouterr().out
    monkeypatch.setattr("vqgen.commands.inputs._IMAGES_AT_A_TIME", 1)
    assert run(pictures, "--report", "--overwrite") == 0
    assert capsys.readouterr().out == together


def test_report_prints_the_mean_psnr_of_decoded_images(run, pipe, pictures, capsys):
    assert run(pictures, "--report") == 0
    (printed,) = re.findall(r", PSNR (\S+) dB; coders", capsys.readouterr().out)
    values = []
    for path in pictures.rglob("*.png"):
        with Image.open(path) as picture:
            values.append(psnr(picture, pipe.codec.decompress(pipe.codec.compress([picture], coder="packed"))[0]))
    assert printed == f"{np.mean(values):.2f}"


def test_images_are_not_decoded_without_report_and_verification(run, pictures, monkeypatch, capsys):
    for name in ("decode", "unpack"):
        monkeypatch.setattr(Codec, name, lambda *words, name=name: pytest.fail(f"called {name}"))
    assert run(pictures, "--no-verify") == 0
    assert "PSNR" not in capsys.readouterr().out
    for words, called in ((["--no-verify", "--report"], "decode"), ([], "unpack")):
        with pytest.raises(pytest.fail.Exception, match=f"called {called}"):
            run(pictures, *words, "--coder", "prior", "--overwrite")


@pytest.mark.parametrize(("output", "archive"), [("out", "out/images.vqga"), ("out/mine.vqga", "out/mine.vqga")])
def test_archive_lies_in_the_folder_or_at_the_path(run, pictures, tmp_path, capsys, output, archive):
    assert run(pictures, "--archive", output=tmp_path / output) == 0
    (written,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written == tmp_path / archive
    size = written.stat().st_size
    assert capsys.readouterr().out.startswith(f"3 images in {written}: {size} bytes, ")


def test_archive_that_exists_is_refused(run, pictures, tmp_path):
    (tmp_path / "mine.vqga").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"mine\.vqga: exists; --overwrite replaces"):
        run(pictures, "--archive", output=tmp_path / "mine.vqga")
    assert (tmp_path / "mine.vqga").read_bytes() == b"mine"


@pytest.mark.parametrize(("words", "index"), [((), None), (("--label", "dog"), 1), (("--label", "index:2"), 2)])
def test_label_is_written_into_every_file(run, pictures, tmp_path, words, index):
    assert run(pictures, *words) == 0
    headers = [read_header(path.read_bytes())[0] for path in (tmp_path / "out").rglob("*.vqg")]
    assert [header.label for header in headers] == [index] * 3


@pytest.mark.parametrize("alpha", ["keep", "drop"])
def test_transparency_is_written_only_on_request(run, tmp_path, alpha):
    noise_picture(8, 8, "LA").save(tmp_path / "t.png")
    assert run(tmp_path / "t.png", "--alpha", alpha) == 0
    header, _ = read_header((tmp_path / "out" / "t.png.vqg").read_bytes())
    assert (header.alpha_length is not None) == (alpha == "keep")


def test_unreadable_picture_is_left_out_of_the_totals(run, pictures, tmp_path, capsys):
    run(pictures)
    sound = capsys.readouterr().out
    (pictures / "a0.png").write_bytes(b"no picture" * 1000)
    assert run(pictures, "--overwrite") == 1
    printed = capsys.readouterr()
    assert printed.out == sound.replace("\n", "; 1 of 4 images failed\n")
    assert "a0.png" in printed.err
    assert not (tmp_path / "out" / "a0.png.vqg").exists()


@pytest.mark.parametrize("words", [(), ("--archive",)])
def test_folder_without_a_readable_picture_is_refused(run, tmp_path, words):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match="in: none of the 2 images could be read and written"):
        run(tmp_path / "in", *words)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_picture_that_cannot_be_coded_is_named_and_the_others_are_written(run, pictures, tmp_path, capsys, monkeypatch):
    encode = Codec.encode

    def limited(self, images, **options):
        if any(image.size == (20, 9) for image in images):
            raise MemoryError
        return encode(self, images, **options)

    run(pictures, output=tmp_path / "all")
    monkeypatch.setattr(Codec, "encode", limited)
    capsys.readouterr()
    assert run(pictures) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: b.png: there is not enough memory for it; ")
    assert printed.out.startswith("2 images in ")
    assert printed.out.endswith("; 1 of 3 images failed\n")
    for name in ("a.png.vqg", "deep/c.png.vqg"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "all" / name).read_bytes()


@pytest.mark.parametrize("words", [(), ("--archive",)])
def test_picture_of_too_many_pixels_is_named_and_left_out(run, pictures, capsys, words):
    Image.new("1", (70_000, 1)).save(pictures / "wide.png")
    assert run(pictures, *words) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: wide.png: an image should have at most")
    assert printed.out.startswith("3 images in ")


def test_long_name_fails_alone_and_an_archive_keeps_it(run, pictures, pipe, tmp_path, capsys):
    longest = "n" * 251 + ".png"
    noise_picture(4, 4).save(pictures / longest)
    noise_picture(4, 4).save(pictures / longest[4:])  # with the suffix it has 255 bytes
    assert run(pictures) == 1
    printed = capsys.readouterr()
    remedy = "rename it, or write an archive (--archive), which takes any name"
    assert printed.err == f"vqgen: {longest}: File name too long with its new suffix; {remedy}\n"
    assert printed.out.startswith("4 images in ")
    assert (tmp_path / "out" / f"{longest[4:]}.vqg").is_file()
    assert run(pictures, "--archive", output=tmp_path / "all.vqga") == 0
    with (tmp_path / "all.vqga").open("rb") as file:
        assert longest in list(ArchiveReader(file, pipe.codec).names())


def test_folder_with_the_name_of_an_output_ends_only_that_one(run, pictures, tmp_path, capsys):
    (tmp_path / "out" / "b.png.vqg" / "mine").mkdir(parents=True)
    (tmp_path / "out" / "deep").write_text("mine")
    assert run(pictures) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["b.png", "deep/c.png"]
    assert (tmp_path / "out" / "a.png.vqg").is_file()
    assert (tmp_path / "out" / "b.png.vqg" / "mine").is_dir()
    assert (tmp_path / "out" / "deep").read_text() == "mine"


def test_full_disk_ends_the_command_with_the_number_of_files(run, pictures, tmp_path, capsys, monkeypatch):
    write_bytes = Path.write_bytes

    def fill_up(path, data):
        if len(list((tmp_path / "out").rglob("*.vqg"))) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    monkeypatch.setattr("vqgen.storage.files._FILES_AT_A_TIME", 1)
    with pytest.raises(DataError, match=r"No space left on device; stopped\. 2 of 3 images are written and whole"):
        run(pictures)
    assert capsys.readouterr().err == ""
    monkeypatch.undo()


def test_archive_on_a_full_disk_is_not_written(run, pictures, tmp_path, monkeypatch):
    def fail(self, codes, name):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("vqgen.codec.archive_writer.ArchiveWriter.add", fail)
    with pytest.raises(ConfigError, match=r"all\.vqga: No space left on device; the archive is not written"):
        run(pictures, "--archive", output=tmp_path / "all.vqga")
    assert not [path for path in tmp_path.iterdir() if "vqga" in path.name]


def test_older_files_are_kept_and_counted(run, pictures, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "older.png.vqg").write_bytes(b"mine")
    assert run(pictures) == 0
    assert capsys.readouterr().out.endswith("; 1 older file is there too\n")
    assert (tmp_path / "out" / "older.png.vqg").read_bytes() == b"mine"


def test_unknown_label_is_refused_before_the_first_picture(run, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(Codec, "encode", lambda *words, **options: pytest.fail("encoded a picture"))
    with pytest.raises(DataError, match="label should be a name or an index"):
        run(pictures, "--label", "cow")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--quality", "0"), "quality: should be from 1 to 100, found 0"),
        (("--quality", "50"), "quality, target_bpp: should be left out with this coder"),  # of `run`: packed
        (("--target-bpp", "-1"), "target_bpp: should be above 0, found -1"),
        (("--target-bpp", "1", "--quality", "50"), "target_bpp: should be given without a quality"),
    ],
)
def test_wrong_rate_is_refused_before_the_first_picture(run, pictures, monkeypatch, tmp_path, words, message):
    monkeypatch.setattr(Codec, "encode", lambda *words, **options: pytest.fail("encoded a picture"))
    with pytest.raises(ConfigError, match=message):
        run(pictures, *words)
    assert not (tmp_path / "out").exists()


def test_lower_quality_makes_other_files(run, pictures, tmp_path):
    for quality in ("100", "5"):
        assert run(pictures, "--coder", "static", "--quality", quality, output=tmp_path / quality) == 0
    best, worst = ([path.read_bytes() for path in sorted((tmp_path / q).rglob("*.vqg"))] for q in ("100", "5"))
    assert len(best) == len(worst) == 3
    assert sum(map(len, worst)) <= sum(map(len, best))
    assert best != worst


def test_target_out_of_reach_names_the_range_and_writes_nothing(run, pictures, tmp_path, capsys):
    with pytest.raises(DataError, match="none of the 3 images could be read and written"):
        run(pictures, "--coder", "static", "--target-bpp", "0.001")
    assert capsys.readouterr().err.count("target_bpp: should be from") == 3
    assert not list((tmp_path / "out").rglob("*.vqg"))
