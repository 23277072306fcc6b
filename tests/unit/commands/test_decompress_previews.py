"""Some levels of compressed files alone, and the previews of cut files."""

import numpy as np
import pytest
from codec_models import noise_picture, random_codes, write_archive
from PIL import Image

from vqgen.codec import ImageCodes
from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import decompress
from vqgen.errors import BitstreamError, ConfigError


@pytest.fixture
def write(pipe, tmp_path):
    """Writes an 8 x 8 image as a `.vqg` file, and returns its path."""

    def write_file(name):
        path = tmp_path / name
        path.write_bytes(pipe.codec.compress([noise_picture(8, 8)], coder="packed")[0])
        return path

    return write_file


def damage(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_levels_alone_are_decoded_and_the_line_says_that_nothing_is_checked(call, opens, pipe, write, tmp_path, capsys):
    opens(pipe)
    data = write("a.vqg").read_bytes()
    damage(write("b.vqg"), -1)  # behind the coarse level
    out = tmp_path / "out"
    assert call(decompress, "c", tmp_path, "-o", out, "--quiet", "--levels", "top") == 0
    assert capsys.readouterr().out == (
        f"2 images in {out}; they show top alone, unchecked: a file has one checksum for all its levels\n"
    )
    expected = np.asarray(pipe.decompress(data, ["top"])[0])
    assert (pixels(out / "a.png") == expected).all() and (pixels(out / "b.png") == expected).all()
    assert call(decompress, "c", tmp_path, "-o", out, "--quiet", "--levels", "bottom", "--overwrite") == 1
    printed = capsys.readouterr()
    assert "vqgen: b.vqg: the decoded codes of an image differ" in printed.err
    assert "unchecked" not in printed.out


def test_level_that_the_files_do_not_have_is_refused_with_those_that_they_have(call, opens, pipe, write, tmp_path):
    opens(pipe)
    write("a.vqg")
    with pytest.raises(ConfigError, match="levels: should be some of top, bottom, found 'middle'"):
        call(decompress, "c", tmp_path, "-o", tmp_path / "out", "--quiet", "--levels", "middle")
    assert not (tmp_path / "out").exists()


def test_cut_files_are_previews_with_the_permission_only(call, opens, pipe, write, tmp_path, capsys):
    opens(pipe)
    data = write("cut.vqg").read_bytes()
    (tmp_path / "cut.vqg").write_bytes(data[:-1])
    write("whole.vqg")
    (tmp_path / "stub.vqg").write_bytes(data[:57])
    out = tmp_path / "out"
    assert call(decompress, "c", tmp_path, "-o", out, "--quiet") == 1
    assert capsys.readouterr().out == f"1 image in {out}; 2 of 3 images failed\n"
    assert call(decompress, "c", tmp_path, "-o", out, "--quiet", "--overwrite", "--allow-partial") == 1
    printed = capsys.readouterr()
    assert printed.out == f"2 images in {out}; 1 of 3 images failed; 1 of 3 images is a preview of a cut file\n"
    stub, cut = sorted(printed.err.splitlines(), reverse=True)
    assert "stub.vqg: the file is cut short" in stub and stub.endswith("it has none whole")
    assert "cut.vqg: the file is cut short" in cut
    assert cut.endswith("it has top whole; a preview of it that no checksum covers is written as its image")
    assert (pixels(out / "cut.png") == np.asarray(pipe.decompress(data, ["top"])[0])).all()
    assert (pixels(out / "whole.png") == np.asarray(pipe.decompress(data)[0])).all()


def test_preview_of_the_only_file_is_written_with_exit_code_1(call, opens, pipe, write, tmp_path):
    opens(pipe)
    path = write("cut.vqg")
    path.write_bytes(path.read_bytes()[:-1])
    words = ("c", path, "-o", tmp_path / "out", "--quiet")
    with pytest.raises(BitstreamError, match=r"cut\.vqg: the file is cut short"):
        call(decompress, *words)
    assert call(decompress, *words, "--allow-partial") == 1
    assert (tmp_path / "out" / "cut.png").is_file()


def test_block_in_which_an_archive_ends_gives_previews(call, opens, pipe, monkeypatch, tmp_path, capsys):
    opens(pipe)
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    images = [random_codes(pipe.codec, 8, 8, seed) for seed in range(5)]
    path = tmp_path / "all.vqga"
    path.write_bytes(write_archive(pipe.codec, images, list("abcde"), coder="packed"))
    with path.open("rb") as file:
        first, second, _ = read_index(file)
    path.write_bytes(path.read_bytes()[: HEADER_BYTES + first.length + second.length - 1])
    out = tmp_path / "out"
    assert call(decompress, "c", path, "-o", out, "--quiet", "--allow-partial") == 1
    printed = capsys.readouterr()
    assert printed.out == f"4 images in {out}; 2 of 4 images are previews of cut files\n"
    assert printed.err.startswith("vqgen: all.vqga: images 2 to 3, counted from 0: the archive is cut short: a block")
    assert printed.err.endswith(
        "it has top whole; previews of them that no checksum covers are written as their images\n"
    )
    expected = pipe.codec.decode(images[:2]) + [
        pipe.codec.decode([ImageCodes(each.shape, {"top": each.grids["top"]})])[0] for each in images[2:4]
    ]
    for name, picture in zip("abcd", expected, strict=True):
        assert (pixels(out / f"{name}.png") == np.asarray(picture)).all()
    with pytest.raises(ConfigError, match="exists"):  # the names of the cut block are planned for, too
        (out / "a.png").unlink()
        (out / "b.png").unlink()
        call(decompress, "c", path, "-o", out, "--quiet", "--allow-partial")
