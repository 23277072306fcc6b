import io

import pytest
from codec_models import decoded, varied_codes, write_archive

from vqgen.codec.archive_reader import ArchiveReader
from vqgen.codec.sinks import FolderSink, open_archive_sink
from vqgen.errors import ConfigError

NAMES = ["a", "b/c", "d"]


def test_folder_has_a_file_for_each_image(codec, tmp_path):
    images = varied_codes(codec, 3)
    sink = FolderSink(codec, tmp_path, coder="static")
    sink.write(NAMES[:2], images[:2])
    sink.write(NAMES[2:], images[2:])
    files = [(tmp_path / f"{name}.vqg").read_bytes() for name in NAMES]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [tmp_path / f"{n}.vqg" for n in NAMES]
    assert all(decoded(codec, data).equals(image) for data, image in zip(files, images, strict=True))
    assert sink.bytes_written == sum(map(len, files))
    assert sink.coders == {"static": 6}


def test_archive_has_all_images(codec, tmp_path):
    images = varied_codes(codec, 3)
    with open_archive_sink(codec, tmp_path / "new" / "all.vqga", coder="static") as sink:
        sink.write(NAMES[:2], images[:2])
        sink.write(NAMES[2:], images[2:])
    data = (tmp_path / "new" / "all.vqga").read_bytes()
    assert data == write_archive(codec, images, NAMES, coder="static")
    assert [name for name, _ in ArchiveReader(io.BytesIO(data), codec)] == NAMES
    assert sink.bytes_written == len(data)
    assert sink.coders == {"static": 2}


def test_archive_appears_only_if_all_is_well(codec, tmp_path):
    with pytest.raises(KeyError), open_archive_sink(codec, tmp_path / "all.vqga") as sink:
        sink.write(["a"], varied_codes(codec, 1))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_unknown_coder_leaves_nothing_behind(codec, tmp_path):
    with pytest.raises(ConfigError, match="coder: should be one of"):
        FolderSink(codec, tmp_path / "new", coder="zip")
    with (
        pytest.raises(ConfigError, match="coder: should be one of"),
        open_archive_sink(codec, tmp_path / "x", coder="zip"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
