import shutil

import pytest
import torch
from reported_runs import document, run_context

from vqgen.errors import VQGenWarning
from vqgen.stages.report import after_stage
from vqgen.stages.report.after_stage import page_marks, report_run, report_stage
from vqgen.stages.report.run_folder import read_run

pytestmark = pytest.mark.slow


@pytest.fixture
def context(run_copy):
    """The run in the copied folder, as a command that finds it complete."""
    return run_context(run_copy, document())


def test_report_has_the_digest_of_the_records(context):
    digest, refresh = page_marks(context.folder / "report.html")
    assert digest == read_run(context.folder).digest
    assert refresh is None


def test_newest_report_is_not_written_again(context):
    path = context.folder / "report.html"
    path.write_text(before := path.read_text() + "\n")
    report_run(context)
    assert path.read_text() == before
    report_stage(context)
    assert path.read_text() != before


def test_older_or_missing_report_is_written_at_the_end_of_a_run(context):
    path = context.folder / "report.html"
    path.write_text(path.read_text().replace(read_run(context.folder).digest, "another"))
    report_run(context)
    assert page_marks(path)[0] == read_run(context.folder).digest
    path.unlink()
    report_run(context)
    assert path.is_file()


def test_run_without_a_stage_writes_nothing(tmp_path):
    report_run(run_context(tmp_path / "new", document()))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [ValueError("odd\nand long"), MemoryError(), OSError(28, "No space left on device")])
def test_failure_is_a_warning_and_leaves_the_old_report(context, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(after_stage, "write_page", fail)
    before = (context.folder / "report.html").read_text()
    with pytest.warns(VQGenWarning, match=r"report\.html: the report could not be written \((Value|Memory|OS)Error"):
        report_stage(context)
    assert (context.folder / "report.html").read_text() == before


def test_interruption_is_no_failure(context, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(after_stage, "write_page", stop)
    with pytest.raises(KeyboardInterrupt):
        report_stage(context)


def test_report_draws_no_random_number_of_the_run(context):
    state = torch.get_rng_state()
    report_stage(context)
    assert torch.equal(torch.get_rng_state(), state)


def test_process_without_images_shows_the_kept_ones(context):
    before = (context.folder / "report.html").read_text()
    del context.images
    report_stage(context)
    after = (context.folder / "report.html").read_text()
    assert after.count("data:image/") == before.count("data:image/")
    shutil.rmtree(context.folder / "report")
    report_stage(context)
    assert "this command had no need of them" in (context.folder / "report.html").read_text()


def test_page_of_a_watch_keeps_its_refresh_until_the_run_is_complete(context):
    path = context.folder / "report.html"
    marked = path.read_text().replace("<title>", '<meta http-equiv="refresh" content="7">\n<title>')
    path.write_text(marked)
    assert page_marks(path)[1] == 7
    report_stage(context)
    assert page_marks(path)[1] is None
    (context.folder / "samples" / "stage.json").unlink()
    path.write_text(marked)
    report_stage(context)
    assert page_marks(path)[1] == 7


def test_marks_of_a_missing_page_are_empty(tmp_path):
    assert page_marks(tmp_path / "none.html") == ("", None)


def test_stages_in_a_folder_that_is_no_run_have_no_report(context):
    (context.folder / "recipe.toml").unlink()
    (context.folder / "report.html").unlink()
    report_run(context)
    assert not (context.folder / "report.html").exists()
