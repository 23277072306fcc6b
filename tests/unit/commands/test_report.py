import pytest

from vqgen.commands import report
from vqgen.errors import CheckpointError, ConfigError


@pytest.fixture
def written(monkeypatch):
    """The calls of the functions that write pages, in place of the pages."""
    calls = []

    def note(name):
        def write(*arguments, **options):
            calls.append((name, *arguments, *options.values()))
            return arguments[-1] or arguments[0] / "report.html"

        monkeypatch.setattr(f"vqgen.stages.report.{name}", write)

    for name in ("write_report", "write_comparison", "watch_run"):
        note(name)
    return calls


def test_one_run_has_its_report_in_its_folder(call, written, tmp_path, capsys):
    assert call(report, tmp_path) == 0
    assert written == [("write_report", tmp_path, None)]
    assert capsys.readouterr().out == f"report: {tmp_path / 'report.html'}\n"


def test_several_runs_share_a_page(call, written, tmp_path):
    assert call(report, tmp_path / "a", tmp_path / "b", "-o", tmp_path / "both.html") == 0
    assert written == [("write_comparison", [tmp_path / "a", tmp_path / "b"], tmp_path / "both.html")]


@pytest.mark.parametrize(("words", "seconds"), [(["--watch"], 10), (["--watch", "0.5"], 0.5)])
def test_watch_takes_the_seconds_between_two_looks(call, written, tmp_path, words, seconds):
    assert call(report, tmp_path, *words) == 0
    assert written[0][:4] == ("watch_run", tmp_path, None, seconds)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["a", "b"], "-o: should name the page of the 2 runs"),
        (["a", "b", "-o", "x.html", "--watch"], "--watch: should be given with one RUN, found 2"),
        (["a", "--watch", "0"], "--watch: should be from 0.1 to 86400 seconds, found 0"),
        (["a", "--watch", "nan"], "--watch: should be from 0.1"),
    ],
)
def test_wrong_words_are_refused(call, written, words, text):
    with pytest.raises(ConfigError, match=text):
        call(report, *words)
    assert written == []


def test_page_that_exists_is_replaced_only_if_asked(call, written, tmp_path):
    page = tmp_path / "x.html"
    page.write_text("old")
    with pytest.raises(ConfigError, match="--overwrite"):
        call(report, tmp_path, "-o", page)
    assert call(report, tmp_path, "-o", page, "--overwrite") == 0


def test_folder_that_is_no_run_is_refused(call, tmp_path):
    with pytest.raises(CheckpointError, match=r"should be a run folder with a recipe\.toml, found nothing"):
        call(report, tmp_path)
