import re
import sys
from types import SimpleNamespace

import pytest

from vqgen.errors import VQGenWarning
from vqgen.runtime.progress import ProgressBar, ProgressReport, SharedDisplay, is_notebook, reported_progress


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


def test_notebook_shows_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("vqgen.runtime.progress.is_notebook", lambda: True)
    with ProgressBar(10, "samples", "image") as bar:
        bar.update(10)
    shown = capsys.readouterr().err
    assert "samples: 100%" in shown
    assert "ipywidgets" not in shown
    with ProgressBar(10, "samples", "image", show=False) as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("shell", "expected"), [("ZMQInteractiveShell", True), ("TerminalInteractiveShell", False)])
def test_notebook_is_told_from_a_terminal(monkeypatch, shell, expected):
    assert not is_notebook()
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    finder = SimpleNamespace(get_ipython=lambda: type(shell, (), {})())
    monkeypatch.setitem(sys.modules, "IPython.core.getipython", finder)
    for name in ("IPython", "IPython.core"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    assert is_notebook() is expected


# progress that another process shows


@pytest.fixture
def reports():
    """The reports of the bars of a test."""
    received = []
    with reported_progress(received.append):
        yield received


def test_bar_reports_its_begin_its_progress_and_its_end_and_shows_nothing(clock, reports, capsys):
    with ProgressBar(1000, "vqvae", "step", done=100) as bar:
        bar.note({"loss": 0.5})
        for _ in range(40):
            clock[0] += 0.051
            bar.update()
    assert reports[0] == ProgressReport(1000, "vqvae", "step", 100, 100)
    assert reports[-1] == ProgressReport(1000, "vqvae", "step", 100, 140, {"loss": 0.5}, is_over=True)
    assert len(reports) == 1 + 20 + 1  # at most ten in a second
    assert capsys.readouterr().err == ""


def test_hidden_bar_reports_nothing(reports):
    with ProgressBar(10, "vqvae", "step", show=False) as bar:
        bar.update(10)
    assert reports == []


def test_bars_show_themselves_again_after_the_block(clock, capsys):
    with reported_progress(lambda report: None):
        pass
    with ProgressBar(100, "codes", "image") as bar:
        clock[0] += 100
        bar.update(50)
    assert capsys.readouterr().err == "codes: 50/100 images, 0.5 images/s, about 100 s left\n"


def test_display_shows_reports_as_the_bar_itself_would(clock, capsys):
    def work(bar):
        for step in range(100):
            clock[0] += 1
            bar.note({"loss": 1 / (step + 1)})
            bar.update()

    with ProgressBar(1000, "vqvae", "step", done=100) as bar:
        work(bar)
    expected = capsys.readouterr().err
    display = SharedDisplay()
    with reported_progress(lambda report: None):
        hidden = ProgressBar(1000, "vqvae", "step", done=100)
    hidden._receive = lambda report: display.show("a child", report)
    hidden._send()
    work(hidden)
    hidden.close()
    assert capsys.readouterr().err == expected != ""
    assert display._bars == {}


def test_display_keeps_the_bars_of_different_senders_apart(clock, capsys):
    display = SharedDisplay()
    for sender in ("a", "b"):
        display.show(sender, ProgressReport(100, sender, "step", 0, 0))
    clock[0] += 50
    display.show("a", ProgressReport(100, "a", "step", 0, 25, {"loss": 2.0}))
    display.show("b", ProgressReport(100, "b", "step", 0, 50))
    assert capsys.readouterr().err.splitlines() == [
        "a: 25/100 steps, loss 2, 0.5 steps/s, about 150 s left",
        "b: 50/100 steps, 1 steps/s, about 50 s left",
    ]
    display.close("a")
    assert list(display._bars) == [("b", "b")]
    display.close("b")


def test_bars_that_go_on_move_up_to_the_bar_that_ended(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = SharedDisplay()
    for sender in "abc":
        display.show(sender, ProgressReport(10, sender, "step", 0, 5))
    capsys.readouterr()
    display.close("b")
    drawn = capsys.readouterr().err
    assert [bar._bar.pos for bar in display._bars.values()] == [0, 1]
    # The lines of all bars are cleared; "b" is drawn in the first line for good, "a" below it, "c" below "a".
    parts = re.split(r"(?=\b[abc]: )", drawn)
    assert [part[:8] for part in parts[1:]] == ["b:  50%|", "a:  50%|", "c:  50%|"]
    assert parts[0].count("\r") >= 6
    assert parts[1].endswith("\n\r")
    assert parts[2].endswith("\n\r")
    for sender in "ca":
        display.close(sender)
    assert capsys.readouterr().err.endswith("\n")


def test_text_stands_above_the_bars_in_a_line_of_its_own(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    display = SharedDisplay()
    display.show("a", ProgressReport(10, "vqvae", "step", 0, 5))
    display.print("codes: 3 images\nand more")
    with pytest.warns(VQGenWarning, match="is old"):
        display.warn("is old")
    display.close("a")
    captured = capsys.readouterr()
    assert captured.out == "codes: 3 images\nand more\n"
    assert captured.err.count("\r") >= 3  # the bar was cleared, and drawn again
