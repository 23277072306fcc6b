import errno
import io

import pytest
from codec_models import decoded, varied_codes, write_archive

from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.sinks import FolderSink, open_archive_sink
from vqgen.errors import ConfigError, DataError

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
    files = [(tmp_path / f"{name}.vqg").read_bytes() for name in NAMES]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [tmp_path / f"{n}.vqg" for n in NAMES]
    assert all(decoded(codec, data).equals(image) for data, image in zip(files, images, strict=True))
    assert sink.bytes_written == sum(map(len, files))
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
