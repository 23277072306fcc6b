import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from small_runs import Finished, run_installed, save_picture, small_document, write_recipe

from vqgen.cli import main


@pytest.fixture(autouse=True)
def unchecked(unchecked_annotations: None) -> None:
    """Runs whole programs at their own speed: the unit tests check the annotations, which takes twice the time."""


@pytest.fixture
def vqgen(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Finished]]:
    """Runs the program in this process, which saves the seconds of its imports."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*words: object) -> Finished:
        capsys.readouterr()
        # pytest's streams take every text; `.ci/environments` asks for those of a terminal that does not.
        if encoding := os.environ.get("PYTHONIOENCODING"):
            for stream in (sys.stdout, sys.stderr):
                stream.reconfigure(encoding=encoding, errors="strict")
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # of argparse
            code = stop.code if isinstance(stop.code, int) else 0
        captured = capsys.readouterr()
        return Finished(code, captured.out, captured.err)

    yield run
    # The program sets global state, which the next test must not find.
    AcceleratorState._reset_state(reset_partial_state=True)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny run of digits, made by the installed command. Tests only read it."""
    root = tmp_path_factory.mktemp("trained")
    recipe = write_recipe(root / "tiny.toml", small_document())
    finished = run_installed("run", recipe, "--checkpoints", root / "checkpoints")
    assert finished.code == 0, finished.err
    return root / "checkpoints" / "tiny"


@pytest.fixture
def tiny_toml(tmp_path: Path) -> Path:
    """The recipe of `trained`."""
    return write_recipe(tmp_path / "tiny.toml", small_document())


@pytest.fixture
def classifier_toml(tmp_path: Path) -> Path:
    """The recipe of `trained`, with a classifier."""
    train = {"steps": 12, "batch_size": 16, "validate_every": 6, "save_every": 5, "log_every": 4}
    classifier = {"channels": 8, "stages": 2, "train": train}
    return write_recipe(tmp_path / "tiny.toml", small_document() | {"classifier": classifier})


@pytest.fixture
def judged(vqgen: Callable[..., Finished], trained: Path, classifier_toml: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, with a classifier."""
    root = tmp_path / "checkpoints"
    shutil.copytree(trained, root / "tiny")
    assert vqgen("train-classifier", classifier_toml, "--checkpoints", root, "--quiet").code == 0
    return root / "tiny"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five pictures in nested folders, in several formats and sizes. Two have the same name."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["x.jpg", "a/x.jpg", "a/b/wide.png", "a/b/tall.webp", "grey.png"]):
        save_picture(root / name, number, size=(40, 24) if "wide" in name else (20, 33), grey="grey" in name)
    return root
