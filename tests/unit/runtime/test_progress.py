import sys

import pytest

from vqgen.runtime.progress import ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the test moves."""
    now = [0.0]
    monkeypatch.setattr("vqgen.runtime.progress.time.monotonic", lambda: now[0])
    return now


def test_log_receives_a_plain_line_now_and_then(clock, capsys):
    with ProgressBar(1000, "vqvae", "step", done=100) as bar:
        for step in range(100):
            clock[0] += 1
            bar.note({"loss": 1 / (step + 1)})
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == "vqvae: 120/1000 steps, loss 0.05, 1 steps/s, about 880 s left"


def test_long_work_prints_at_most_fifty_lines(clock, capsys):
    with ProgressBar(10_000, "codes", "image") as bar:
        for _ in range(10_000):
            clock[0] += 60
            bar.update()
    assert len(capsys.readouterr().err.splitlines()) == 50


def test_short_and_hidden_work_print_nothing(clock, capsys):
    with ProgressBar(100, "codes", "image") as bar:
        bar.update(100)
    with ProgressBar(100, "codes", "image", show=False) as bar:
        clock[0] += 100
        bar.update(50)
    assert capsys.readouterr().err == ""


def test_terminal_shows_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with ProgressBar(10, "vqvae", "step") as bar:
        bar.note({"loss": 0.5})
        bar.note({"val_mse": 0.25})
        bar.update(10)
    shown = capsys.readouterr().err
    assert "vqvae: 100%" in shown
    assert "10/10" in shown
    assert "loss 0.5, val_mse 0.25" in shown
