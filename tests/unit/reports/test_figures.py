import os
import subprocess
import sys

import pytest
from PIL import Image

from vqgen.reports.figures import written_figure


def draw(path):
    with written_figure(path, 3, 2) as figure:
        axes = figure.add_subplot()
        axes.plot([1, 2], [3, 4])
        axes.set_xlabel("100 %_of $x")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_figure_has_its_size(tmp_path, suffix):
    draw(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as picture:
        assert picture.size == (360, 240)
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_failed_figure_leaves_no_picture(tmp_path):
    with pytest.raises(KeyError), written_figure(tmp_path / "a.png", 1, 1):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_user_have_no_effect_and_stay(tmp_path):
    import matplotlib

    draw(tmp_path / "plain.png")
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "red", "savefig.dpi": 10}):
        draw(tmp_path / "styled.png")
        assert matplotlib.rcParams["text.usetex"]
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


@pytest.mark.parametrize("backend", ["module://nothing", "module://matplotlib_inline.backend_inline", "qtagg", "?"])
def test_backend_of_a_notebook_has_no_effect(tmp_path, backend):
    program = (
        "import sys; from pathlib import Path; from vqgen.reports.plots import plot_losses\n"
        "plot_losses([{'step': 1, 'loss': 1.0}], Path(sys.argv[1]), {'loss': 'training'}, 'nats')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    variables = os.environ | {"MPLBACKEND": backend}
    command = [sys.executable, "-c", program, str(tmp_path / "a.png")]
    subprocess.run(command, env=variables, check=True, timeout=60)
    assert (tmp_path / "a.png").stat().st_size > 0
