"""The commands as processes, in the environment of the tests. `.ci/environments` runs this file in other ones."""

import os

import pytest
from small_runs import pixels, run_installed, save_picture

pytestmark = pytest.mark.slow


@pytest.fixture
def odd_names(tmp_path):
    """A folder of pictures with names that few terminals can print."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["plain.png", "caf\u00e9.png", "\u6f22\u5b57.png", os.fsdecode(b"latin-\xe9.png")]):
        save_picture(root / name, number)
    return root


def run(*words):
    finished = run_installed(*words)
    assert finished.code == 0, finished.out + finished.err
    assert "Traceback" not in finished.err
    return finished


def test_generating_writes_pictures(trained, tmp_path):
    assert "10 images in" in run("generate", trained, "--images-per-label", 1, "-o", tmp_path / "out").out
    assert len(list((tmp_path / "out").rglob("*.png"))) == 11


def test_compressing_brings_every_name_back(trained, odd_names, tmp_path):
    run("compress", trained, odd_names, "-o", tmp_path / "small")
    run("inspect", tmp_path / "small" / os.fsdecode(b"latin-\xe9.png.vqg"))
    run("decompress", trained, tmp_path / "small", "-o", tmp_path / "back")
    found = {path.name for path in (tmp_path / "back").iterdir()}
    assert found == {f"{path.name}.png" for path in odd_names.iterdir()}


def test_codes_of_odd_names_are_decoded(trained, odd_names, tmp_path):
    run("encode", trained, odd_names, "-o", tmp_path / "codes")
    run("decode", trained, tmp_path / "codes", "-o", tmp_path / "back")
    assert len([path for path in (tmp_path / "back").rglob("*.png") if path.name != "grid.png"]) == 4


def test_plots_are_drawn(trained, odd_names, tmp_path):
    run("evaluate-codec", trained, odd_names, "--plot", tmp_path / "plot.png", "--json", tmp_path / "codec.json")
    assert pixels(tmp_path / "plot.png").shape[:2] == (528, 1008)


def test_error_is_one_line(trained, tmp_path):
    finished = run_installed("compress", trained, tmp_path / "caf\u00e9", "-o", tmp_path / "small")
    assert finished.code == 2
    assert finished.err.startswith("vqgen: ")
    assert len(finished.err.splitlines()) == 1
