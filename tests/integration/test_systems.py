"""Windows, as far as Linux can play it: no POSIX module, no POSIX function, and flushes only where one may write."""

import subprocess
import sys

import pytest
from small_runs import ENVIRONMENT, small_document, write_recipe

WINDOWS = """
import ctypes, importlib, os, pkgutil, signal, sys, warnings

# Libraries know their system when they are imported; this test is about ours.
import accelerate, huggingface_hub, matplotlib.figure, psutil, sklearn.datasets, torch, torchmetrics, torchvision
import asyncio, multiprocessing, subprocess, tqdm.auto
from filelock import SoftFileLock

try:
    import gradio, uvicorn
except ImportError:
    pass  # an extra; without it the modules of the page name what is missing when they are used

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None  # an import finds nothing
for name in ("sched_getaffinity", "getuid", "geteuid", "fork", "killpg", "setsid", "O_DIRECTORY", "mkfifo"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGPIPE", "SIGHUP", "SIGKILL", "SIGSTOP", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
flags = ctypes.CDLL(None).fcntl
flush = os.fsync

def flush_as_windows(descriptor):
    if flags(descriptor, 3) & 3 == os.O_RDONLY:
        raise OSError(9, "Bad file descriptor")
    flush(descriptor)

os.fsync = flush_as_windows
sys.platform = "win32"
"""

IMPORTS = """
import vqgen

failed = {}
for module in pkgutil.walk_packages(vqgen.__path__, "vqgen."):
    # A kernel needs Triton, which its callers ask for first.
    if module.name not in ("vqgen.__main__", "vqgen.sampling.triton_kernels"):
        try:
            importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = repr(error)
assert not failed, failed
"""


def run_as_windows(program: str, *words: object) -> None:
    command = [sys.executable, "-c", WINDOWS + program, *map(str, words)]
    finished = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_every_module_is_imported_without_posix():
    run_as_windows(IMPORTS)


@pytest.mark.slow
def test_commands_work_without_posix(tmp_path):
    recipe = write_recipe(tmp_path / "tiny.toml", small_document())
    program = """
from vqgen.cli import main
root = sys.argv[1]
commands = [
    ["run", root + "/tiny.toml", "--checkpoints", root, "--parallel-stages", "2"],
    ["generate", root + "/tiny", "--images-per-label", "1", "-o", root + "/out"],
    ["compress", root + "/tiny", root + "/out", "-o", root + "/small"],
    ["decompress", root + "/tiny", root + "/small", "-o", root + "/back"],
    ["plan", root + "/tiny.toml", "--no-measure"],
    ["doctor"],
]
for words in commands:
    code = main(words)
    assert code == 0, (words, code)
"""
    run_as_windows(program, recipe.parent)
    assert len(list((tmp_path / "back").rglob("*.png"))) == 11
