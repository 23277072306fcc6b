"""C functions are compiled once, and never get in the way."""

import ctypes
import logging
import shutil
import stat
import tempfile

import pytest

from vqgen.runtime import c_library
from vqgen.runtime.c_library import load_library

needs_compiler = pytest.mark.skipif(c_library._compiler() is None, reason="there is no C compiler")

DOUBLE = "int twice(int x) { return 2 * x; }\n"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the compiled libraries, empty. No library is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("VQGEN_C", raising=False)
    load_library.cache_clear()
    yield tmp_path / "cache" / "vqgen"
    load_library.cache_clear()


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "double.c"
    path.write_text(DOUBLE)
    return path


@pytest.fixture
def make_compiler(tmp_path, monkeypatch):
    """Puts a script in the place of the C compiler: it notes its arguments, and then runs the given line of shell."""

    def make(line):
        script = tmp_path / "compiler"
        script.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path / "calls"}"\n{line}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CC", str(script))
        return tmp_path / "calls"

    return make


@needs_compiler
def test_function_is_compiled_and_can_be_called(source, cache):
    library = load_library(source)
    assert isinstance(library, ctypes.CDLL)
    assert library.twice(21) == 42
    assert len(list(cache.iterdir())) == 1


@needs_compiler
def test_library_is_compiled_once_for_each_source(source, cache, make_compiler):
    calls = make_compiler(f'exec {shutil.which("cc") or shutil.which("gcc")} "$@"')
    for _ in range(2):
        load_library.cache_clear()  # as another process
        assert load_library(source).twice(3) == 6
    assert sum("-shared" in call for call in calls.read_text().splitlines()) == 1
    source.write_text(DOUBLE.replace("2 * x", "3 * x"))
    load_library.cache_clear()
    assert load_library(source).twice(3) == 9
    assert len(list(cache.iterdir())) == 2


@needs_compiler
def test_compiler_without_openmp_compiles_too(source, make_compiler):
    real = shutil.which("cc") or shutil.which("gcc")
    calls = make_compiler(f'case "$*" in *-fopenmp*) exit 1;; *) exec {real} "$@";; esac')
    assert load_library(source).twice(4) == 8
    assert sum("-shared" in call for call in calls.read_text().splitlines()) == 2


@needs_compiler
def test_source_that_does_not_compile_gives_none_and_leaves_nothing(source, cache, caplog):
    source.write_text("not C")
    with caplog.at_level(logging.DEBUG, logger="vqgen"):
        assert load_library(source) is None
    assert "double.c: not compiled" in caplog.text
    assert list(cache.iterdir()) == []


def test_machine_without_a_compiler_gives_none(source, cache, monkeypatch):
    monkeypatch.setattr(c_library.shutil, "which", lambda name: None)
    assert load_library(source) is None
    assert not cache.exists()


def test_compiler_that_fails_or_hangs_gives_none(source, make_compiler, monkeypatch):
    make_compiler("exit 1")
    assert load_library(source) is None
    make_compiler("sleep 5")
    monkeypatch.setattr(c_library, "_SECONDS", 0.05)
    load_library.cache_clear()
    assert load_library(source) is None


@needs_compiler
def test_environment_switches_compiled_functions_off(source, monkeypatch):
    monkeypatch.setenv("VQGEN_C", "0")
    assert load_library(source) is None


@needs_compiler
def test_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(source, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert load_library(source) is not None
    assert [path.suffix for path in tmp_path.glob("vqgen-*/*")] == [".so"]


@needs_compiler
def test_change_of_an_included_file_is_compiled(source, cache):
    part = source.with_name("part.c")
    part.write_text("#define FACTOR 2\n")
    source.write_text('#include "part.c"\n' + DOUBLE.replace("2 * x", "FACTOR * x"))
    assert load_library(source, part).twice(3) == 6
    part.write_text("#define FACTOR 5\n")
    load_library.cache_clear()
    assert load_library(source, part).twice(3) == 15


@needs_compiler
def test_damaged_library_gives_none(source):
    library = c_library._compiled((source,), c_library._compiler())
    library.write_bytes(library.read_bytes()[:100])
    assert load_library(source) is None
