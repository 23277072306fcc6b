import errno
import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from vqgen.data import content
from vqgen.data.content import contents_of
from vqgen.errors import ReadError
from vqgen.storage.home import cache_folder


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files of an hour ago, and a cache of their own for sets of any size."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_WORTH_A_CACHE", 0)
    monkeypatch.setattr(content, "_SETTLED", -(10**12))  # ctime is the time of the test
    paths = [tmp_path / "images" / os.fsdecode(name) for name in (b"a.bmp", b"\xff.bmp", b"sub/\n.bmp")]
    for number, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * 9)
        os.utime(path, (time.time() - 3600,) * 2)
    return paths


def expected(paths: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def hashed(paths: list[Path]) -> list[str | None]:
    return contents_of(paths).hashes


def test_hash_is_of_the_bytes_and_comes_from_the_cache_the_second_time(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hashed(files) == expected(files)
    read: list[Path] = []
    monkeypatch.setattr(content, "sha256_of_file", lambda path: read.append(path))
    assert hashed(files) == expected(files)
    assert read == []


@pytest.mark.parametrize("restored", [False, True])
def test_change_of_the_same_size_is_noticed(files: list[Path], restored: bool) -> None:
    hashed(files)
    before = files[0].stat()
    files[0].write_bytes(b"\xff" * 9)
    if restored:  # a program that sets the time back, as rsync and exiftool can
        os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashed(files) == expected(files)


def test_file_in_the_place_of_another_is_noticed(files: list[Path]) -> None:
    hashed(files)
    files[0].rename(files[0].with_name("aside"))
    files[1].rename(files[0])
    assert hashed([files[0], files[2]]) == expected([files[0], files[2]])


def test_file_that_changed_just_now_is_not_kept(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_SETTLED", 10**12)
    hashed(files)
    (cache,) = cache_folder().glob("images/*.json")
    assert json.loads(cache.read_text()) == {}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": 3}', '{"a": [1, 2, 3, 4, "x"]}', "\0"])
def test_damaged_cache_is_made_again(files: list[Path], text: str) -> None:
    hashed(files)
    (cache,) = cache_folder().glob("images/*.json")
    whole = cache.read_text()
    cache.write_text(text)
    assert hashed(files) == expected(files)
    assert cache.read_text() == whole


def test_small_set_has_no_cache(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_WORTH_A_CACHE", 2**26)
    assert hashed(files) == expected(files)
    assert not (cache_folder() / "images").exists()


def test_cache_that_cannot_be_written_is_done_without(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (cache_folder() / "images").touch()
    assert hashed(files) == expected(files)


def test_missing_file_has_no_hash(files: list[Path]) -> None:
    files[1].unlink()
    files[2].unlink()
    files[2].symlink_to("gone")
    found = contents_of(files)
    assert found.hashes == [*expected(files[:1]), None, None]
    assert found.sizes == [9, 0, 0]


def test_failing_disk_is_an_error_and_not_a_missing_file(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr(content, "sha256_of_file", fail)
    with pytest.raises(ReadError, match=r"cannot read '.*a\.bmp': Input/output error"):
        contents_of(files)
    monkeypatch.setattr(content.os, "stat", fail)
    with pytest.raises(ReadError, match=r"cannot read '.*a\.bmp': Input/output error"):
        contents_of(files)


def test_many_small_files_have_a_cache_that_is_written_for_new_files_only(files, monkeypatch) -> None:
    monkeypatch.setattr(content, "_WORTH_A_CACHE", 2**26)
    monkeypatch.setattr(content, "_MANY", 3)
    first = contents_of(files)
    assert first.cache is not None
    before = first.cache.stat().st_ino
    assert contents_of(files) == first
    assert first.cache.stat().st_ino == before
