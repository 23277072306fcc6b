import errno
import io
import os
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from vqgen.data import watching
from vqgen.data.reading import measure_image, read_image
from vqgen.data.watching import open_watched, read_error, system_cause
from vqgen.errors import DataError, ReadError

SUFFIXES = (".png", ".jpg", ".tif", ".bmp", ".gif", ".webp", ".pgm")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Lets every read of a watched file fail from byte `after` on."""

    def fail(number: int, after: int = 0) -> None:
        def readinto(self: io.FileIO, buffer) -> int:
            if self.tell() >= after:
                raise OSError(number, os.strerror(number))
            return io.FileIO.readinto(self, memoryview(buffer)[: after - self.tell()])

        def readall(self: io.FileIO) -> bytes:
            raise OSError(number, os.strerror(number))

        kind = SimpleNamespace(readinto=readinto, readall=readall)
        monkeypatch.setattr(watching, "io", SimpleNamespace(FileIO=kind, BufferedReader=io.BufferedReader))

    return fail


def picture(folder: Path, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    Image.effect_noise((64, 64), 90).save(path)
    return path


@pytest.mark.parametrize("after", [0, 1500])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failing_disk_is_no_verdict_on_any_format(tmp_path: Path, failing, suffix: str, after: int) -> None:
    path = picture(tmp_path, suffix)
    read_image(path)
    failing(errno.EIO, after)
    for read in (read_image, measure_image):
        with pytest.raises(ReadError, match=rf"a{suffix}': Input/output error; the file may be sound: check the disk"):
            read(path)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "limit of open files of this machine"),
        (errno.ENOMEM, "more memory"),
        (errno.ESTALE, "and run again"),
        (errno.ETIMEDOUT, "and run again"),
    ],
)
def test_file_that_the_system_cannot_open_is_no_verdict(tmp_path, monkeypatch, number: int, remedy: str) -> None:
    def refuse(path: Path) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(watching, "_Watched", refuse)
    with pytest.raises(ReadError, match=f"^cannot read image '.*a.png': {os.strerror(number)}; .*{remedy}"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory error when reading image file")])
def test_lack_of_memory_is_no_verdict(tmp_path, monkeypatch, error: Exception) -> None:
    def decode(file: object) -> None:
        try:
            raise error
        except Exception as reason:  # as a lenient decoder does
            raise DataError("damaged") from reason

    monkeypatch.setattr("vqgen.data.reading.decode_file", decode)
    with pytest.raises(ReadError, match=r"a\.png': there is not enough memory for it; close other programs"):
        read_image(picture(tmp_path, ".png"))


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "circle", "cut", "text"])
def test_file_that_is_to_blame_itself_is_a_verdict(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind in ("link", "circle"):
        path.symlink_to(tmp_path / ("gone" if kind == "link" else "a.png"))
    elif kind != "missing":
        path.write_bytes(picture(tmp_path, ".jpg").read_bytes()[:1000] if kind == "cut" else b"text")
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert not isinstance(caught.value, ReadError)


def test_error_that_a_reader_swallows_is_raised_at_the_end(tmp_path: Path, failing) -> None:
    path = picture(tmp_path, ".png")
    failing(errno.EIO)
    with pytest.raises(OSError, match="Input/output error"), open_watched(path) as file, suppress(OSError):
        file.read(4)


def test_cause_of_a_circle_of_errors_is_found_or_none() -> None:
    one, other = ValueError(), KeyError()
    one.__context__ = other
    other.__context__ = one
    assert system_cause(one) is None
    other.__cause__ = MemoryError()
    assert system_cause(one) is other.__cause__
    assert "not enough memory" in str(read_error("a", MemoryError()))
