import json
from dataclasses import replace

import numpy as np
import pytest
from codec_models import random_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import archive
from vqgen.errors import BitstreamError, ConfigError, DataError

NAMES = ["a.png", "deep/b.png", "c\n.png", "d.png", "e.png"]


@pytest.fixture
def path(pipe, tmp_path, monkeypatch):
    """An archive of five images in blocks of two; one has an alpha plane, and two have a label."""
    monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
    images = [random_codes(pipe.codec, *size, seed) for seed, size in enumerate([(8, 8), (40, 9), (8, 8), (8, 8)])]
    images[2] = replace(images[2], shape=replace(images[2].shape, label=1))
    plane = np.random.default_rng(0).bytes(64)
    images[3] = replace(images[3], shape=replace(images[3].shape, has_alpha=True), alpha=plane)
    path = tmp_path / "x.vqga"
    path.write_bytes(write_archive(pipe.codec, [*images, images[0]], NAMES, coder="static"))
    return path


@pytest.fixture
def listed(call, capsys):
    """Returns the rows that the act prints, split at two spaces, and its last line."""

    def run(*words, code=0):
        assert call(archive, "list", *words) == code
        *rows, last = capsys.readouterr().out.splitlines()
        return [[cell for cell in map(str.strip, row.split("  ")) if cell] for row in rows], last

    return run


def test_rows_have_the_names_and_sizes_of_all_images(path, listed):
    (head, *rows), last = listed(path)
    assert head == ["name", "pixels", "bytes", "bpp", "label", "coders"]
    assert [row[0] for row in rows] == ["a.png", "deep/b.png", "c\\n.png", "d.png", "e.png"]
    assert [row[1] for row in rows] == ["8 x 8", "40 x 9", "8 x 8", "8 x 8", "8 x 8"]
    assert all(row[5] == "static, static" for row in rows)
    size = path.stat().st_size
    assert last == f"5 images in {path}: {size} bytes, {8 * size / (4 * 64 + 360):.4g} bpp"


def test_bytes_of_the_images_add_up_to_those_of_the_blocks(path, listed):
    (_, *rows), _ = listed(path)
    with path.open("rb") as file:
        lengths = [entry.length for entry in read_index(file)]
    sizes = [int(row[2]) for row in rows]
    assert [sum(sizes[:2]), sum(sizes[2:4]), sizes[4]] == lengths
    assert abs(sizes[1] / sizes[0] - 360 / 64) < 0.3  # by their pixels
    assert sizes[3] > sizes[2] + 60  # its alpha plane is its own
    for row, pixels in zip(rows, (64, 360, 64, 64, 64), strict=True):
        assert row[3] == f"{8 * int(row[2]) / pixels:.4g}"


def test_labels_need_the_pipeline(path, listed, opens, pipe):
    (_, *rows), _ = listed(path)
    assert [row[4] for row in rows] == ["none", "none", "?", "?", "none"]
    opens(pipe)
    (_, *rows), _ = listed(path, "--checkpoint", "c")
    assert [row[4] for row in rows] == ["none", "none", "dog", "none", "none"]


def test_json_has_the_same(path, listed, opens, pipe, tmp_path):
    opens(pipe)
    (_, *rows), _ = listed(path, "--checkpoint", "c", "--json", tmp_path / "x.json")
    document = json.loads((tmp_path / "x.json").read_text())
    assert document.keys() == {"file", "bytes", "images"}
    assert [image["name"] for image in document["images"]] == NAMES
    assert [str(image["bytes"]) for image in document["images"]] == [row[2] for row in rows]
    assert [image["label"] for image in document["images"]] == [None, None, "dog", None, None]
    assert [image["alpha"] for image in document["images"]] == [False, False, False, True, False]
    with pytest.raises(ConfigError, match="exists; --overwrite replaces"):
        listed(path, "--json", tmp_path / "x.json")
    listed(path, "--json", tmp_path / "x.json", "--overwrite")
    images = json.loads((tmp_path / "x.json").read_text())["images"]
    assert ["label" in image for image in images] == [True, True, False, False, True]


def test_damaged_block_is_named_and_the_others_are_listed(path, listed, call, capsys):
    with path.open("rb") as file:
        first, *_ = read_index(file)
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + first.length + 3] ^= 0xFF
    path.write_bytes(data)
    assert call(archive, "list", path) == 1
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()[1:-1]] == ["a.png", "deep/b.png", "e.png"]
    assert printed.out.endswith("; 2 of 5 images failed\n")
    assert printed.err.startswith("vqgen: x.vqga: images 2 to 3, counted from 0: ")
    assert printed.err.count("\n") == 1


def test_archive_without_images_and_other_files(call, pipe, tmp_path, capsys):
    (tmp_path / "none.vqga").write_bytes(write_archive(pipe.codec, []))
    assert call(archive, "list", tmp_path / "none.vqga") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 images in ")
    (tmp_path / "junk.vqga").write_bytes(b"junk")
    with pytest.raises(BitstreamError, match=r"junk\.vqga: this is not an archive"):
        call(archive, "list", tmp_path / "junk.vqga")
    with pytest.raises(DataError, match="there is no such file"):
        call(archive, "list", tmp_path / "gone.vqga")
