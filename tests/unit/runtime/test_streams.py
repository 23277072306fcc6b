import io
import os
import subprocess
import sys

import pytest

from vqgen.runtime.streams import usable_streams


def stream(encoding: str, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors)


def written(text: io.TextIOWrapper) -> bytes:
    text.flush()
    return text.buffer.getvalue()


@pytest.mark.parametrize(
    ("encoding", "errors", "expected"),
    [
        ("ascii", "strict", b"\\udcff \\xe9"),
        ("ascii", "surrogateescape", b"\\udcff \\xe9"),
        ("utf-8", "strict", b"\\udcff \xc3\xa9"),
        ("latin-1", "strict", b"\\udcff \xe9"),
        ("ascii", "replace", b"? ?"),
        ("ascii", "ignore", b" "),
    ],
)
def test_every_name_is_printed_in_every_encoding(monkeypatch, encoding, errors, expected):
    out = stream(encoding, errors)
    monkeypatch.setattr(sys, "stdout", out)
    with usable_streams():
        print("\udcff é", end="")
    assert written(out) == expected
    assert out.errors == errors


def test_stream_of_a_notebook_is_left_alone(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", object())
    with usable_streams():
        print("\udcff é", end="")
    assert out.getvalue() == "\udcff é"


def test_missing_streams_are_the_empty_device_in_the_block(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with usable_streams():
        print("nobody reads this")
        print("nor this", file=sys.stderr, flush=True)
        assert sys.stdin.read() == ""
        assert not sys.stdin.isatty()
    assert (sys.stdin, sys.stdout, sys.stderr) == (None, None, None)


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_file_that_is_opened_later_does_not_take_the_place_of_a_closed_stream():
    program = (
        "import os, sys; from vqgen.runtime.streams import usable_streams\n"
        "with usable_streams():\n    number = os.open(sys.argv[1], os.O_RDONLY)\n    sys.exit(number < 3)"
    )
    command = ["sh", "-c", 'exec "$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable, program, os.devnull]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
