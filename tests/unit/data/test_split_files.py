import errno
import logging
import os
from pathlib import Path

import pytest

from tests.image_folders import labelled, opened
from vqgen.config import DataConfig
from vqgen.data import content, readable
from vqgen.data.image_set import FileReader
from vqgen.data.sources import open_images
from vqgen.errors import DataError, ReadError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_MANY", 0)
    monkeypatch.setattr(content, "_SETTLED", -(10**12))
    return labelled(tmp_path / "images", "cat", "dog")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    measure = FileReader.measure

    def record(self: FileReader, index: int):
        names.append(self.paths[index].as_posix()[-9:])
        return measure(self, index)

    monkeypatch.setattr(FileReader, "measure", record)
    return names


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def test_second_start_decodes_no_picture(folder: Path, decoded: list[str]) -> None:
    first = opened(folder)
    assert len(decoded) == 20
    decoded.clear()
    second = opened(folder)
    assert decoded == []
    assert (second.fingerprint, second.indices) == (first.fingerprint, first.indices)


def test_new_and_changed_files_are_decoded_alone(folder: Path, decoded: list[str]) -> None:
    opened(folder)
    decoded.clear()
    (folder / "cat" / "3.png").write_bytes((folder / "cat" / "4.png").read_bytes())  # known bytes at a new place
    spoil(folder / "dog" / "5.png")
    spoil(folder / "dog" / "6.png")
    assert [*opened(folder, max_unreadable=0.1).unreadable] == ["dog/5.png", "dog/6.png"]
    assert decoded == ["dog/5.png", "dog/6.png"]


def test_failing_disk_changes_no_set(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("vqgen.data.reading.open_watched", fail)
    with pytest.raises(ReadError, match=r"cat/0\.png': Input/output error"):
        opened(folder, max_unreadable=1.0)


def test_files_that_a_run_left_out_stay_out(folder: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    spoil(folder / "cat" / "3.png")
    config = DataConfig(source="folder", image_size=4, root=str(folder), max_unreadable=0.1)
    first = open_images(config, 0)
    assert first.unreadable["cat/3.png"].sha256 == content.contents_of([folder / "cat" / "3.png"]).hashes[0]
    # A newer reader that is more lenient.
    monkeypatch.setattr(readable, "_decode", lambda images, indices: [(index, None) for index in indices])
    assert open_images(config, 0).unreadable == {}
    with caplog.at_level(logging.WARNING, "vqgen.data"):
        again = open_images(config, 0, exclusions=first.unreadable)
    assert (again.unreadable, again.fingerprint) == (first.unreadable, first.fingerprint)
    assert "1 of 20 images cannot be read and are left out" in caplog.records[0].message


def test_file_that_was_mended_is_tried_again(folder: Path) -> None:
    sound = (folder / "cat" / "3.png").read_bytes()
    spoil(folder / "cat" / "3.png")
    config = DataConfig(source="folder", image_size=4, root=str(folder), max_unreadable=0.1)
    listed = open_images(config, 0).unreadable
    (folder / "cat" / "3.png").write_bytes(sound)
    assert open_images(config, 0, exclusions=listed).unreadable == {}


def test_file_that_appears_while_the_folder_is_opened_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = content.contents_of

    def before(paths):
        found = hashes(paths)
        return content.Contents([None, *found.hashes[1:]], found.sizes, None)

    monkeypatch.setattr("vqgen.data.split_files.contents_of", before)
    with pytest.raises(DataError, match=r"cat/0\.png': has changed while the folder was opened; run again"):
        opened(folder)
