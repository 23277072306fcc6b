import numpy as np
import pytest
from codec_models import noise_picture, random_codes, write_archive
from PIL import Image

from vqgen.codec import FileStart
from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.commands import decompress
from vqgen.commands.decompress import _Decompression, _picture_name, _pixels, _planned
from vqgen.commands.outputs import OutputFolder
from vqgen.commands.tally import Tally
from vqgen.errors import BitstreamError, ConfigError, DataError
from vqgen.runtime.progress import ProgressBar


@pytest.fixture
def work(pipe, tmp_path):
    return _Decompression(pipe.codec, OutputFolder(tmp_path / "out"), Tally(100))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


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


def test_planned_names_are_those_of_files_and_then_of_archives(pipe, archive, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch, names=["b/1.jpg", "", "b/3"])
    names, total = _planned(pipe.codec, {"a/x.png.vqg": tmp_path / "a" / "x.png.vqg"}, {"all.vqga": path})
    assert names == ["a/x.png", "b/1.jpg", "00001", "b/3"]  # an image without a name is called by its index
    assert total == 4


def test_planned_names_of_a_damaged_block_are_missing_and_counted(pipe, archive, monkeypatch):
    path, _ = archive(monkeypatch, count=5)
    with path.open("rb") as file:
        first, _, _ = read_index(file)
    damage(path, HEADER_BYTES + first.length + 3)
    assert _planned(pipe.codec, {}, {"all.vqga": path}) == (["00000", "00001", "00004"], 5)


def test_archive_that_cannot_be_opened_counts_as_one(pipe, tmp_path):
    (tmp_path / "junk.vqga").write_bytes(b"junk")
    archives = {"junk.vqga": tmp_path / "junk.vqga", "gone.vqga": tmp_path / "gone.vqga"}
    assert _planned(pipe.codec, {}, archives) == ([], 2)


def test_pictures_of_two_files_with_one_name_are_refused(pipe, archive, monkeypatch, tmp_path):
    path, _ = archive(monkeypatch, names=["x", "y", "z"])
    with pytest.raises(ConfigError, match=r"y\.png: several of the images would be written there, one of y\.vqg and"):
        _planned(pipe.codec, {"y.vqg": tmp_path / "y.vqg"}, {"all.vqga": path})


def test_damaged_file_is_named_and_the_others_are_decoded(work, write, bar, pipe, tmp_path, out, capsys):
    files = {name: write(name, seed) for seed, name in enumerate(["a.vqg", "b.vqg", "c.vqg"])}
    damage(files["b.vqg"], -3)
    expected = pipe.codec.decompress([files[name].read_bytes() for name in ("a.vqg", "c.vqg")])
    work.decompress(files | {"gone.vqg": tmp_path / "gone.vqg"}, bar)
    assert (work.tally.done, work.tally.failed) == (2, 2)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png"]
    assert (pixels(out / "a.png") == np.asarray(expected[0])).all()
    assert (pixels(out / "c.png") == np.asarray(expected[1])).all()
    lines = sorted(capsys.readouterr().err.splitlines())
    assert lines[0].startswith("vqgen: b.vqg: ")
    assert lines[1:] == ["vqgen: gone.vqg: No such file or directory; check the link, or leave it out"]


def test_images_of_an_archive_are_named_by_their_index(work, archive, bar, pipe, monkeypatch, out):
    path, images = archive(monkeypatch)
    work.decompress_archive("all.vqga", path, bar)
    assert (work.tally.done, work.tally.failed) == (3, 0)
    for number, picture in enumerate(pipe.codec.decode(images)):
        assert (pixels(out / f"{number:05d}.png") == np.asarray(picture)).all()


def test_damaged_block_is_named_and_the_blocks_behind_it_are_decoded(
    work, archive, bar, pipe, monkeypatch, out, capsys
):
    path, images = archive(monkeypatch, count=7)
    with path.open("rb") as file:
        first, *_ = read_index(file)
    damage(path, HEADER_BYTES + first.length + 3)
    work.decompress_archive("all.vqga", path, bar)
    assert (work.tally.done, work.tally.failed) == (5, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("vqgen: all.vqga: images 2 to 3, counted from 0: ")
    decoded = pipe.codec.decode(images)
    assert sorted(path.name for path in out.iterdir()) == [f"{n:05d}.png" for n in (0, 1, 4, 5, 6)]
    for number in (0, 1, 4, 5, 6):
        assert (pixels(out / f"{number:05d}.png") == np.asarray(decoded[number])).all()


def test_bad_names_in_an_archive_end_only_their_images(work, archive, bar, monkeypatch, tmp_path, out, capsys):
    names = ["a", "../evil", "n" * 255, "/evil", "a", "taken", "b/c", "a/../../evil", "n" * 251]
    path, _ = archive(monkeypatch, names=names, count=len(names))
    (out / "taken.png").mkdir(parents=True)
    work.decompress_archive("all.vqga", path, bar)
    assert (work.tally.done, work.tally.failed) == (3, 6)
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("vqgen: all.vqga: ") for line in lines)
    assert sorted(line.split(": ")[2] for line in lines) == sorted(
        ["../evil", "n" * 255, "/evil", "a", "taken", "a/../../evil"]
    )
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png") if path.is_file())
    assert found == sorted(["out/a.png", "out/b/c.png", f"out/{'n' * 251}.png"])


def test_cut_archive_yields_its_images_and_one_failure(work, archive, bar, monkeypatch, tmp_path, out, capsys):
    path, _ = archive(monkeypatch)
    path.write_bytes(path.read_bytes()[:-1])
    work.decompress_archive("gone.vqga", tmp_path / "gone.vqga", bar)
    work.decompress_archive("all.vqga", path, bar)
    gone, failure = capsys.readouterr().err.splitlines()
    assert gone == "vqgen: gone.vqga: No such file or directory; check the link, or leave it out"
    assert failure.startswith("vqgen: all.vqga: image 3, counted from 0: the archive is cut short")
    assert len(list(out.iterdir())) == work.tally.done == 3


def test_archive_without_images_is_a_failure(work, archive, bar, monkeypatch, capsys):
    path, _ = archive(monkeypatch, count=0)
    work.decompress_archive("all.vqga", path, bar)
    assert capsys.readouterr().err == "vqgen: all.vqga: the archive has no images\n"


def test_picture_that_takes_too_much_memory_leaves_the_others(work, write, bar, pipe, monkeypatch, out, capsys):
    files = {name: write(name, seed) for seed, name in enumerate(["a.vqg", "b.vqg", "c.vqg"])}
    codes = pipe.codec.unpack([files["b.vqg"].read_bytes()])[0]
    decode = type(pipe.codec).decode

    def limited(self, images):
        if any(each.equals(codes) for each in images):
            raise MemoryError
        return decode(self, images)

    monkeypatch.setattr(type(pipe.codec), "decode", limited)
    work.decompress(files, bar)
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "c.png"]
    assert capsys.readouterr().err.startswith("vqgen: b.vqg: there is not enough memory for it")


def test_pixels_are_those_of_the_header_and_zero_if_it_is_damaged(pipe):
    data = pipe.codec.compress([noise_picture(9, 5)], coder="packed")[0]
    assert _pixels(FileStart(data, len(data))) == 45
    assert _pixels(FileStart(data[:10], 10)) == 0
    assert _pixels(FileStart(b"", 0)) == 0


def test_damaged_file_is_reported_and_the_others_are_decoded(call, opens, pipe, write, tmp_path, capsys):
    opens(pipe)
    damage(write("bad.vqg"), -3)
    write("good.vqg")
    out = tmp_path / "out"
    assert call(decompress, "c", tmp_path / "bad.vqg", tmp_path / "good.vqg", "-o", out, "--quiet") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: bad.vqg: ")
    assert printed.out == f"1 image in {out}; 1 of 2 images failed\n"
    assert call(decompress, "c", tmp_path / "good.vqg", "-o", out, "--quiet", "--overwrite") == 0
    assert capsys.readouterr().out == f"1 image in {out}\n"
    write("other.vqg")
    assert call(decompress, "c", tmp_path / "other.vqg", "-o", out, "--quiet") == 0
    assert capsys.readouterr().out == f"1 image in {out}; 1 older file is there too\n"


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
    with pytest.raises(DataError, match="none of the 2 images could be decoded and written"):
        call(decompress, "c", tmp_path, "-o", tmp_path / "out", "--quiet")
    assert [line.split(":")[1].strip() for line in capsys.readouterr().err.splitlines()] == ["a.vqg", "b.vqga"]
