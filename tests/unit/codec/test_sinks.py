import errno
import io

import pytest
from codec_models import decoded, varied_codes, write_archive

from vqgen.codec.archive_layout import HEADER_BYTES, read_index
from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.sinks import FolderSink, open_appending_sink, open_archive_sink
from vqgen.errors import BitstreamError, ConfigError, DataError
from vqgen.storage import files

NAMES = ["a", "b/c", "d"]


def written_to(folder, refused=()):
    """Returns a function that writes files into a folder, and refuses some names."""

    def write(files):
        results = []
        for name, writer in files:
            path = folder / f"{name}.vqg"
            if name in refused:
                results.append(OSError(errno.EISDIR, "Is a directory"))
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            writer(path)
            results.append(path)
        return results

    return write


def test_image_that_cannot_be_written_is_not_counted(codec, tmp_path):
    images = varied_codes(codec, 3)
    sink = FolderSink(codec, written_to(tmp_path, refused=["b/c"]), coder="static")
    first, error, last = sink.write(list(zip(NAMES, images, strict=True)))
    assert isinstance(error, OSError)
    assert sink.bytes_written == first.stat().st_size + last.stat().st_size
    assert sink.coders == {"static": 4}


def test_name_that_an_archive_cannot_hold_is_left_out_of_it(codec, tmp_path):
    images = varied_codes(codec, 3)
    with open_archive_sink(codec, tmp_path / "all.vqga") as sink:
        first, error, last = sink.write(list(zip(["a", "b\0", "c"], images, strict=True)))
    assert first == last == tmp_path / "all.vqga"
    assert isinstance(error, DataError)
    with (tmp_path / "all.vqga").open("rb") as file:
        assert list(ArchiveReader(file, codec).names()) == ["a", "c"]


@pytest.mark.parametrize(
    ("error", "cause"),
    [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (MemoryError(), "there is not enough memory")],
)
def test_error_of_an_archive_ends_more_than_one_image(codec, tmp_path, monkeypatch, error, cause):
    def fail(self, codes, name):
        raise error

    monkeypatch.setattr("vqgen.codec.archive_writer.ArchiveWriter.add", fail)
    with (
        pytest.raises(ConfigError, match=rf"all\.vqga: {cause}; the archive is not written"),
        open_archive_sink(codec, tmp_path / "all.vqga") as sink,
    ):
        sink.write([("a", varied_codes(codec, 1)[0])])
    assert list(tmp_path.iterdir()) == []


def test_folder_has_a_file_for_each_image(codec, tmp_path):
    images = varied_codes(codec, 3)
    sink = FolderSink(codec, written_to(tmp_path), coder="static")
    named = list(zip(NAMES, images, strict=True))
    assert [*sink.write(named[:2]), *sink.write(named[2:])] == [tmp_path / f"{name}.vqg" for name in NAMES]
    written = [(tmp_path / f"{name}.vqg").read_bytes() for name in NAMES]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [tmp_path / f"{n}.vqg" for n in NAMES]
    assert all(decoded(codec, data).equals(image) for data, image in zip(written, images, strict=True))
    assert sink.bytes_written == sum(map(len, written))
    assert sink.coders == {"static": 6}


def test_archive_has_all_images(codec, tmp_path):
    images = varied_codes(codec, 3)
    with open_archive_sink(codec, tmp_path / "new" / "all.vqga", coder="static") as sink:
        named = list(zip(NAMES, images, strict=True))
        results = [*sink.write(named[:2]), *sink.write(named[2:])]
    assert results == [tmp_path / "new" / "all.vqga"] * 3
    data = (tmp_path / "new" / "all.vqga").read_bytes()
    assert data == write_archive(codec, images, NAMES, coder="static")
    assert [name for name, _ in ArchiveReader(io.BytesIO(data), codec)] == NAMES
    assert sink.bytes_written == len(data)
    assert sink.coders == {"static": 2}


def test_archive_appears_only_if_all_is_well(codec, tmp_path):
    with pytest.raises(KeyError), open_archive_sink(codec, tmp_path / "all.vqga") as sink:
        sink.write([("a", varied_codes(codec, 1)[0])])
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_unknown_coder_leaves_nothing_behind(codec, tmp_path):
    with pytest.raises(ConfigError, match="coder: should be one of"):
        FolderSink(codec, written_to(tmp_path / "new"), coder="zip")
    with (
        pytest.raises(ConfigError, match="coder: should be one of"),
        open_archive_sink(codec, tmp_path / "x", coder="zip"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


# Appending


@pytest.fixture
def path(codec, tmp_path):
    """An archive of three images."""
    path = tmp_path / "all.vqga"
    path.write_bytes(write_archive(codec, varied_codes(codec, 3), NAMES))
    return path


def test_new_images_come_behind_the_old_blocks(codec, path):
    images = varied_codes(codec, 5)
    old = path.read_bytes()
    end = HEADER_BYTES + sum(entry.length for entry in read_index(io.BytesIO(old)))
    for number, name in ((3, "e"), (4, "f")):
        with open_appending_sink(codec, path) as sink:
            assert sink.write([(name, images[number])]) == [path]
        assert sink.bytes_written == path.stat().st_size
    assert path.read_bytes()[:end] == old[:end]
    with path.open("rb") as file:
        assert len(read_index(file)) == 3
        file.seek(0)
        found = list(ArchiveReader(file, codec))
    assert [name for name, _ in found] == [*NAMES, "e", "f"]
    assert all(codes.equals(image) for (_, codes), image in zip(found, images, strict=True))


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, OSError])
def test_archive_stays_as_it_was_after_an_error(codec, path, error):
    old = path.read_bytes()
    with pytest.raises(error), open_appending_sink(codec, path) as sink:
        sink.write([("e", varied_codes(codec, 1)[0])])
        raise error
    assert path.read_bytes() == old
    assert list(path.parent.iterdir()) == [path]


def test_archive_is_whole_at_every_moment_of_an_append(codec, path, monkeypatch):
    """A kill may come before any write and before the rename: the file under the name is the old one till then."""
    old = path.read_bytes()
    seen = []
    move = files.move

    def watched(source, target):
        seen.append(target.read_bytes() == old and source.read_bytes() != old)
        move(source, target)

    monkeypatch.setattr(files, "move", watched)
    with open_appending_sink(codec, path) as sink:
        for name, image in zip("efg", varied_codes(codec, 3), strict=True):
            sink.write([(name, image)])
            seen.append(path.read_bytes() == old)
    assert seen == [True] * 4
    assert path.read_bytes() != old


def test_archive_that_another_program_changes_meanwhile_keeps_that_change(codec, path):
    other = write_archive(codec, varied_codes(codec, 4))
    with (
        pytest.raises(ConfigError, match=r"all\.vqga: should stay as it is while .* found it changed; nothing is"),
        open_appending_sink(codec, path) as sink,
    ):
        sink.write([("e", varied_codes(codec, 1)[0])])
        path.write_bytes(other)
    assert path.read_bytes() == other
    assert list(path.parent.iterdir()) == [path]


def test_damaged_archive_is_not_appended_to(codec, path):
    path.write_bytes(cut := path.read_bytes()[:-1])
    with pytest.raises(BitstreamError, match="no index at its end"), open_appending_sink(codec, path):
        pass
    assert path.read_bytes() == cut
