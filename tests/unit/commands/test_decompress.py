import numpy as np
import pytest
from codec_models import noise_picture, random_codes, write_archive
from PIL import Image

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import decompress
from vqgen.commands.decompress import _Decompression, _picture_name, _pixels, _print_failures
from vqgen.errors import BitstreamError, ConfigError
from vqgen.runtime.progress import ProgressBar


@pytest.fixture
def work(pipe, tmp_path):
    return _Decompression(pipe.codec, tmp_path / "out")


@pytest.fixture
def bar():
    return ProgressBar(1, "decompress", "image", show=False)


@pytest.fixture
def write(pipe, tmp_path):
    """Writes an 8 x 8 image as a `.vqg` file, and returns its path."""

    def write_file(name, seed=0):
        path = tmp_path / name
        path.write_bytes(pipe.codec.compress([noise_picture(8, 8, seed=seed)], coder="packed")[0])
        return path

    return write_file


@pytest.fixture
def archive(pipe, tmp_path):
    """Writes an archive of three images, with names or without, in blocks of two images."""

    def write_file(monkeypatch, names=(), count=3):
        monkeypatch.setattr("vqgen.codec.archive_writer._IMAGES_PER_BLOCK", 2)
        images = [random_codes(pipe.codec, 8, 8, seed) for seed in range(count)]
        path = tmp_path / "all.vqga"
        path.write_bytes(write_archive(pipe.codec, images, names, coder="packed"))
        return path, images

    return write_file


def damage(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(
    ("file", "name"),
    [("a/x.jpg.vqg", "a/x.jpg"), ("x.VQG", "x"), ("x.vqg.vqg", "x.vqg"), ("grey.png", "grey.png"), ("vqg", "vqg")],
)
def test_picture_has_the_name_of_its_file_without_the_ending(file, name):
    assert _picture_name(file) == name


def test_targets_are_pictures_of_files_and_then_of_archives(work, archive, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch, names=["b/1.jpg", "", "b/3"])
    targets = work.targets({"all.vqga": path, "a/x.png.vqg": tmp_path / "a" / "x.png.vqg"})
    assert [target.relative_to(work.folder).as_posix() for target in targets] == [
        "a/x.png.png",
        "b/1.jpg.png",
        "00001.png",  # an image without a name is called by its index
        "b/3.png",
    ]


def test_targets_behind_damage_in_an_archive_are_missing(work, archive, monkeypatch):
    path, _ = archive(monkeypatch)
    with path.open("rb") as file:
        first, _ = read_index(file)
    damage(path, HEADER_BYTES + first.length + 3)
    assert [target.name for target in work.targets({"all.vqga": path})] == ["00000.png", "00001.png"]


def test_targets_that_are_the_same_are_refused(work, archive, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch, names=["x", "y", "z"])
    with pytest.raises(ConfigError, match=r"y\.png: several of the images would be written there; decompress them one"):
        work.targets({"y.vqg": tmp_path / "y.vqg", "all.vqga": path})


def test_damaged_file_is_noted_and_the_others_are_decoded(work, write, bar, pipe, tmp_path):
    files = {name: write(name, seed) for seed, name in enumerate(["a.vqg", "b.vqg", "c.vqg"])}
    damage(files["b.vqg"], -3)
    expected = pipe.codec.decompress([files[name].read_bytes() for name in ("a.vqg", "c.vqg")])
    work.decompress(files | {"gone.vqg": tmp_path / "gone.vqg"}, bar)
    assert work.written == 2
    assert sorted(path.name for path in work.folder.iterdir()) == ["a.png", "c.png"]
    assert (pixels(work.folder / "a.png") == np.asarray(expected[0])).all()
    assert (pixels(work.folder / "c.png") == np.asarray(expected[1])).all()
    assert sorted(failure.split(":")[0] for failure in work.failures) == ["b.vqg", "gone.vqg"]
    assert "gone.vqg: No such file or directory" in work.failures


def test_images_of_an_archive_are_named_by_their_index(work, archive, bar, pipe, monkeypatch):
    path, images = archive(monkeypatch)
    work.decompress_archive("all.vqga", path, bar)
    assert work.failures == []
    assert work.written == 3
    for number, picture in enumerate(pipe.codec.decode(images)):
        assert (pixels(work.folder / f"{number:05d}.png") == np.asarray(picture)).all()


def test_cut_archive_yields_its_images_and_one_failure(work, archive, bar, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    work.decompress_archive("gone.vqga", tmp_path / "gone.vqga", bar)
    work.decompress_archive("all.vqga", path, bar)
    gone, failure = work.failures
    assert gone == "gone.vqga: No such file or directory"
    assert failure.startswith("all.vqga: ")
    assert failure.endswith("; the 3 images before it are written")
    assert len(list(work.folder.iterdir())) == work.written == 3


def test_failure_of_a_second_archive_counts_its_own_images_only(work, archive, bar, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch)
    work.decompress_archive("all.vqga", path, bar)
    (tmp_path / "junk.vqga").write_bytes(b"junk")
    work.decompress_archive("junk.vqga", tmp_path / "junk.vqga", bar)
    work.decompress_archive("gone.vqga", tmp_path / "gone.vqga", bar)
    junk, gone = work.failures
    assert junk.startswith("junk.vqga: ")
    assert "are written" not in junk
    assert gone == "gone.vqga: No such file or directory"


def test_archive_without_images_is_a_failure(work, archive, bar, monkeypatch):
    path, _ = archive(monkeypatch, count=0)
    work.decompress_archive("all.vqga", path, bar)
    assert work.failures == ["all.vqga: the archive has no images"]


def test_pixels_are_those_of_the_header_and_zero_if_it_is_damaged(pipe):
    data = pipe.codec.compress([noise_picture(9, 5)], coder="packed")[0]
    assert _pixels(data) == 45
    assert _pixels(data[:10]) == 0
    assert _pixels(b"") == 0


@pytest.mark.parametrize(("count", "last"), [(0, None), (20, "vqgen: 19"), (21, "vqgen: and 1 more like these")])
def test_failures_are_printed_up_to_twenty(capsys, count, last):
    _print_failures([str(number) for number in range(count)])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == count
    assert lines[:20] == [f"vqgen: {number}" for number in range(min(count, 20))]
    assert (lines[-1] if lines else None) == last


def test_damaged_file_is_reported_and_the_others_are_decoded(call, opens, pipe, write, tmp_path, capsys):
    opens(pipe)
    damage(write("bad.vqg"), -3)
    write("good.vqg")
    out = tmp_path / "out"
    assert call(decompress, "c", tmp_path / "bad.vqg", tmp_path / "good.vqg", "-o", out, "--quiet") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: bad.vqg: ")
    assert printed.out == f"1 images in {out}; 1 of 2 files failed\n"
    assert call(decompress, "c", tmp_path / "good.vqg", "-o", out, "--quiet", "--overwrite") == 0
    assert capsys.readouterr().out == f"1 images in {out}\n"


def test_damage_of_the_only_file_is_the_error(call, opens, pipe, write, tmp_path, capsys):
    opens(pipe)
    damage(write("bad.vqg"), -3)
    with pytest.raises(BitstreamError, match=r"^bad\.vqg: "):
        call(decompress, "c", tmp_path / "bad.vqg", "-o", tmp_path / "out", "--quiet")
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "out").exists()


def test_damage_of_all_files_is_reported_before_the_error(call, opens, pipe, tmp_path, capsys):
    opens(pipe)
    for name in ("a.vqg", "b.vqga"):
        (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(BitstreamError, match="no image could be decoded"):
        call(decompress, "c", tmp_path, "-o", tmp_path / "out", "--quiet")
    assert [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines()] == ["a.vqg", "b.vqga"]
