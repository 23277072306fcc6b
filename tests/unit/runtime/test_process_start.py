import os
import subprocess
import sys

import pytest

from vqgen.runtime import process_start
from vqgen.runtime.process_start import keep_freed_memory, wait_without_spinning


def test_waiting_threads_sleep_unless_the_user_chose_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    wait_without_spinning()
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.delenv("GOMP_SPINCOUNT")
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_settings_need_no_torch():
    code = "from vqgen.runtime.process_start import prepare_process; prepare_process(); import sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch" not in found.stdout.split()


@pytest.mark.slow
def test_cycles_are_searched_seldom_in_a_process_of_our_own_alone():
    code = "import gc; {host}from vqgen.cli import main; main({words}); print(gc.isenabled(), *gc.get_threshold())"

    def thresholds(host, words):
        call = [sys.executable, "-c", code.format(host=host, words=words), "recipes"]
        found = subprocess.run(call, capture_output=True, text=True, check=True)
        return found.stdout.splitlines()[-1]

    assert thresholds("", "") == "True 10000 20 100"
    assert thresholds("gc.set_threshold(500, 5, 5); ", "['recipes']") == "True 500 5 5"
    assert thresholds("gc.disable(); ", "").startswith("False")


@pytest.mark.parametrize(
    ("name", "value"), [("MALLOC_TRIM_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=65536")]
)
def test_allocator_that_the_user_set_is_left_alone(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(process_start.ctypes, "CDLL", lambda library: pytest.fail("sets the allocator"))
    keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_used_again_without_page_faults():
    """Four blocks of 8 MiB: the system would take them back, and every page of the next ones would be a fault."""
    code = """
import ctypes, resource
from vqgen.runtime.process_start import keep_freed_memory
{act}
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def use():
    blocks = [libc.malloc(8 << 20) for _ in range(4)]
    for block in blocks:
        ctypes.memset(block, 1, 8 << 20)
        libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    set_by_user = ("MALLOC_", "GLIBC_TUNABLES")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(set_by_user)}
    run = lambda act: int(  # noqa: E731
        subprocess.run(
            [sys.executable, "-c", code.format(act=act)], capture_output=True, text=True, check=True, env=environment
        ).stdout
    )
    assert run("keep_freed_memory()") < 100
    if os.confstr("CS_GNU_LIBC_VERSION"):
        assert run("") > 20 * 1000  # of 8,192 pages of 4 KiB: otherwise this test would show nothing


@pytest.mark.skipif(sys.platform != "linux", reason="the files of /proc")
def test_memory_goes_back_to_the_system_while_large_pictures_pass():
    code = """
import ctypes
from pathlib import Path
from vqgen.runtime.process_start import keep_freed_memory, returning_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
def use():
    blocks = [libc.malloc(8 << 20) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, 8 << 20)
    last = libc.malloc(1 << 10)  # so that the heap cannot shrink at its end
    for block in blocks:
        libc.free(block)
    return last
keep_freed_memory()
before = resident()
use()
kept = resident() - before
with returning_memory():
    entered = resident() - before
    with returning_memory():
        pass
    use()  # a block that ends, as in another thread, leaves the setting to the others
    inside = resident() - before
use()
print(kept, entered, inside, resident() - before)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, entered, inside, after = (int(word) for word in found.stdout.split())
    assert (entered < 8, inside < 8) == (True, True)
    if os.confstr("CS_GNU_LIBC_VERSION") and not any(name.startswith("MALLOC_") for name in os.environ):
        assert (kept > 60, after > 60) == (True, True)  # in a process of our own, and again afterwards
