"""`vqgen archive` and previews with the models that ship: from pictures to an archive, and back one by one."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from small_runs import assert_refused, pixels, run_installed

from vqgen import VQGenPipeline
from vqgen.codec import read_header

pytestmark = pytest.mark.slow

PRETRAINED = Path(__file__).parents[2] / "checkpoints" / "pretrained"

MODELS = ["digits", pytest.param("fashion-mnist", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def pipes():
    return {}


@pytest.fixture
def checkpoint(request, pipes):
    folder = PRETRAINED / request.param
    if request.param not in pipes:
        pipes[request.param] = VQGenPipeline.from_pretrained(folder, device="cpu")
    return folder


@pytest.fixture
def pipe(checkpoint, pipes):
    return pipes[checkpoint.name]


@pytest.fixture
def drawn(pipe, tmp_path):
    """A folder of five pictures that the model draws, one of them so large that it is coded in tiles."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    images = pipe([3, 7], 2, seed=5).images
    for name, image in zip(("a.png", "b.png", "deep/c.png", "d.png"), images, strict=True):
        image.save(folder / name)
    images[0].resize((70, 45)).save(folder / "large.png")
    return folder


@pytest.mark.parametrize("checkpoint", MODELS, indirect=True)
def test_pictures_go_into_an_archive_and_come_back_one_by_one(vqgen, checkpoint, drawn, tmp_path):
    archive = tmp_path / "all.vqga"
    words = ("--checkpoint", checkpoint)
    assert vqgen("compress", checkpoint, drawn, "-o", archive, "--archive", "--label", "3").code == 0
    assert vqgen("decompress", checkpoint, archive, "-o", tmp_path / "back").code == 0

    listed = vqgen("archive", "list", archive, *words, "--json", tmp_path / "list.json")
    assert listed.code == 0, listed.err
    assert "5 images in" in listed.out
    images = json.loads((tmp_path / "list.json").read_text())["images"]
    assert [image["name"] for image in images] == ["a.png", "b.png", "d.png", "deep/c.png", "large.png"]
    assert (images[-1]["width"], images[-1]["height"]) == (70, 45)
    assert len({image["label"] for image in images} - {None}) == 1
    assert "?" in vqgen("archive", "list", archive).out

    finished = vqgen("archive", "extract", archive, "deep/c.png", "large.png", *words, "-o", tmp_path / "one")
    assert finished.code == 0, finished.err
    for name in ("deep/c.png.png", "large.png.png"):
        assert (pixels(tmp_path / "one" / name) == pixels(tmp_path / "back" / name)).all()
    assert_refused(vqgen("archive", "extract", archive, "larg.png", *words), "'larg.png' (nearest: 'large.png'")

    with Image.open(drawn / "a.png") as picture:
        picture.rotate(90).save(tmp_path / "new.png")
    assert vqgen("archive", "append", archive, tmp_path / "new.png", *words).code == 0
    finished = vqgen("archive", "verify", archive, *words)
    assert finished.code == 0
    assert finished.out.startswith("6 images in ")
    assert_refused(vqgen("archive", "append", archive, tmp_path / "new.png", *words), "of this name already")
    assert vqgen("decompress", checkpoint, archive, "-o", tmp_path / "again").code == 0
    for path in (tmp_path / "back").rglob("*.png"):
        assert (pixels(tmp_path / "again" / path.relative_to(tmp_path / "back")) == pixels(path)).all()


@pytest.mark.parametrize("checkpoint", MODELS, indirect=True)
def test_cut_files_are_seen_as_far_as_they_have_arrived(vqgen, checkpoint, pipe, drawn, tmp_path):
    small = tmp_path / "small"
    assert vqgen("compress", checkpoint, drawn, "-o", small).code == 0
    assert vqgen("decompress", checkpoint, small, "-o", tmp_path / "coarse", "--levels", "top").code == 0
    for path in small.rglob("*.vqg"):
        data = path.read_bytes()
        path.write_bytes(data[: read_header(data)[0].ends[0]])
    finished = vqgen("decompress", checkpoint, small, "-o", tmp_path / "back")
    assert finished.code == 2 and not (tmp_path / "back").exists()
    finished = vqgen("decompress", checkpoint, small, "-o", tmp_path / "back", "--allow-partial")
    assert finished.code == 1
    assert finished.err.count("it has top whole; a preview of it that no checksum covers") == 5
    assert "5 of 5 images are previews of cut files" in finished.out
    for path in (tmp_path / "coarse").rglob("*.png"):
        assert (pixels(tmp_path / "back" / path.relative_to(tmp_path / "coarse")) == pixels(path)).all()
    # As from the codes, without a file.
    # Pictures of one size are decoded together, and convolutions of some processors round differently in a batch.
    names = ("a.png", "b.png", "d.png", "deep/c.png")
    pictures = [Image.open(drawn / name).copy() for name in names]
    for name, expected in zip(names, pipe.decode(pipe.encode(pictures), levels=["top"]), strict=True):
        with Image.open(tmp_path / "coarse" / f"{name}.png") as found:
            assert found.tobytes() == expected.tobytes()
    finished = vqgen("decompress", checkpoint, small, "-o", tmp_path / "no", "--levels", "middle")
    assert_refused(finished, "levels: should be some of top, bottom, found 'middle'")


KILLED = """
import os, sys
from vqgen.cli import main
from vqgen.codec.archive_writer import ArchiveWriter
ArchiveWriter.finish = lambda self: os.kill(os.getpid(), 9)
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["digits"], indirect=True)
def test_archive_is_as_it_was_after_a_kill(vqgen, checkpoint, drawn, tmp_path):
    archive = tmp_path / "all.vqga"
    assert vqgen("compress", checkpoint, drawn / "deep", "-o", archive, "--archive").code == 0
    before = archive.read_bytes()
    words = ("archive", "append", archive, drawn / "a.png", "--checkpoint", checkpoint, "--quiet")
    assert run_installed(*words, launcher=(sys.executable, "-c", KILLED)).code == -9
    assert archive.read_bytes() == before
    assert vqgen(*words).code == 0
    assert "2 images in" in vqgen("archive", "verify", archive, "--checkpoint", checkpoint).out
