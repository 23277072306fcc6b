from pathlib import Path

import numpy as np
import pytest
from codec_models import CountingFile, random_codes, write_archive
from PIL import Image

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import archive
from vqgen.errors import BitstreamError, ConfigError

NAMES = ["a.png", "deep/b.png", "c.png", "../evil", "c.png", "last.png"]


@pytest.fixture
def images(pipe):
    return [random_codes(pipe.codec, 40, 24, seed) for seed in range(6)]


@pytest.fixture
def path(pipe, images, opens, tmp_path, monkeypatch):
    """An archive of six images in blocks of two, whose pipeline is the one that commands open."""
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    monkeypatch.chdir(tmp_path)
    opens(pipe)
    path = tmp_path / "x.vqga"
    path.write_bytes(write_archive(pipe.codec, images, NAMES))
    return path


@pytest.fixture
def extract(call, path):
    def run(*names, output="out"):
        words = ["-o", output] if output else []
        return call(archive, "extract", path, *names, "--checkpoint", "c", *words)

    return run


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).tolist()


def decoded(pipe, codes):
    return np.asarray(pipe.codec.decode([codes])[0]).tolist()


def files():
    return sorted(path.as_posix() for path in Path().rglob("*.png"))


def test_images_are_those_of_their_names(extract, pipe, images, capsys):
    assert extract("deep/b.png", "last.png") == 0
    assert files() == ["out/deep/b.png.png", "out/last.png.png"]
    assert pixels("out/deep/b.png.png") == decoded(pipe, images[1])
    assert pixels("out/last.png.png") == decoded(pipe, images[5])
    assert capsys.readouterr().out == "2 images in out\n"


def test_folder_is_named_like_the_archive(extract):
    assert extract("a.png", output=None) == 0
    assert files() == ["x/a.png.png"]


def test_data_of_the_other_blocks_are_not_read(extract, path, monkeypatch):
    monkeypatch.setattr("vqgen.codec.archive_blocks._HEAD_BYTES", 16)
    files_read = []
    opener = Path.open
    whole = path.read_bytes()

    def opened(self, *words, **options):
        if self != path:
            return opener(self, *words, **options)
        files_read.append(CountingFile(whole))
        return files_read[-1]

    with path.open("rb") as file:
        first, second, third = (entry.length for entry in read_index(file))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        assert extract("last.png") == 0
    begin = HEADER_BYTES + first + second
    (file,) = files_read
    assert set(range(begin, begin + third)) <= file.offsets
    # Of the other blocks only their heads, whose last byte is a part of a segment at most.
    others = {at for at in file.offsets if HEADER_BYTES <= at < begin}
    assert len(others) < (first + second) / 3


def test_image_beside_damaged_ones_is_extracted(extract, path, pipe, images, capsys):
    with path.open("rb") as file:
        first, second, third = (entry.length for entry in read_index(file))
    data = bytearray(path.read_bytes())
    for block in (0, first + second):  # all but the heads of the first and of the last block
        length = first if block == 0 else third
        data[HEADER_BYTES + block + 60 : HEADER_BYTES + block + length] = bytes(length - 60)
    path.write_bytes(data)
    assert extract("c.png", "a.png") == 1
    printed = capsys.readouterr()
    assert pixels("out/c.png.png") == decoded(pipe, images[2])
    assert "vqgen: x.vqga: a.png: the decoded codes of a block differ" in printed.err
    with pytest.raises(BitstreamError, match=r"^x\.vqga: a\.png: the decoded codes"):
        extract("a.png", output="alone")


def test_missing_names_are_told_with_the_nearest_ones_and_nothing_is_written(extract, path):
    with pytest.raises(
        ConfigError,
        match=r"NAME: should be names of images of .*x\.vqga, found 'a\.jpg' \(nearest: 'a\.png'.*\), "
        r"'zzz' \(no name is like it\); `vqgen archive list` shows all names$",
    ):
        extract("last.png", "a.jpg", "zzz")
    with pytest.raises(ConfigError, match=r"found .* and 2 more; `vqgen"):
        extract(*(f"{number}" for number in range(7)))
    assert files() == []


def test_missing_name_may_be_one_that_is_damaged(extract, path):
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 9] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"found 'a\.png' .*; 2 of its images have names that are damaged; `vqgen"):
        extract("a.png")


def test_name_that_leads_out_of_the_folder_is_not_written(extract, tmp_path, capsys):
    assert extract("../evil", "a.png") == 1
    assert files() == ["out/a.png.png"]
    assert "x.vqga: ../evil: its name leads out of the output folder; not written" in capsys.readouterr().err


def test_second_image_of_a_name_fails_alone(extract, pipe, images, capsys):
    assert extract("c.png") == 1
    assert pixels("out/c.png.png") == decoded(pipe, images[2])
    assert "another output of this call is written to" in capsys.readouterr().err


def test_file_that_exists_is_kept(extract):
    assert extract("a.png") == 0
    before = Path("out/a.png.png").read_bytes()
    with pytest.raises(ConfigError, match="exists; --overwrite replaces"):
        extract("a.png", "last.png")
    assert Path("out/a.png.png").read_bytes() == before
    assert files() == ["out/a.png.png"]
    assert extract("a.png", "last.png", "--overwrite") == 0


def test_image_without_a_name_is_called_by_its_number(extract, path, pipe, images):
    path.write_bytes(write_archive(pipe.codec, images, with_names=False))
    assert extract("00003") == 0
    assert pixels("out/00003.png") == decoded(pipe, images[3])


def test_image_of_a_cut_archive_is_extracted(extract, path, pipe, images):
    path.write_bytes(path.read_bytes()[:-1])
    assert extract("last.png") == 0
    assert pixels("out/last.png.png") == decoded(pipe, images[5])
