import pytest

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app import runs_tab  # noqa: E402
from vqgen.app.runs_tab import RunViews, build  # noqa: E402


@pytest.fixture
def views(context):
    return RunViews(context)


def test_tab_is_built_inside_tabs(context):
    with gr.Blocks() as page, gr.Tabs(), gr.Tab("Runs"):
        build(context)
    assert any(isinstance(block, gr.Timer) for block in page.blocks.values())


def test_report_of_a_complete_run_is_framed_without_any_right(views, run_folder):
    listed, curves, report, saved, stamp = views.all("noise")
    assert "complete" in listed
    assert curves == ""  # the report has them
    assert 'sandbox=""' in report
    assert "<h1" not in report  # inside an attribute, with escapes
    assert saved.interactive
    assert len(stamp) == 3


def test_run_that_trains_has_curves(views, run_folder):
    (run_folder / "report.html").unlink()
    _, curves, report, saved, _ = views.all("noise")
    assert curves.count("<svg") > 3
    assert "has no report yet" in report
    assert not saved.interactive


def test_curves_are_sent_only_when_they_changed(views, run_folder):
    (run_folder / "report.html").unlink()
    stamp = views.all("noise")[-1]
    assert views.live("noise", stamp) == (gr.skip(), gr.skip(), gr.skip())
    with (run_folder / "vqvae" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "loss": 1.0}\n')
    listed, curves, new = views.live("noise", stamp)
    assert "<table>" in listed
    assert "<svg" in curves
    assert new != stamp


def test_report_is_written_beside_the_run_and_not_into_it(views, run_folder, monkeypatch):
    (run_folder / "report.html").unlink()

    def write(run, output):
        assert run == run_folder
        output.write_text("<h1>new</h1>")
        return output

    monkeypatch.setattr("vqgen.stages.report.writing.write_report", write)
    report, saved = views.write("noise")
    assert "srcdoc" in report
    assert saved.interactive
    assert not (run_folder / "report.html").exists()


def test_unknown_run_is_a_plain_line(views):
    with pytest.raises(gr.Error, match="should be one of the list"):
        views.all("<b>none</b>")


def test_choice_stays_as_long_as_the_run_is_there(views, run_folder):
    assert views.choices("noise").value == "noise"
    assert views.choices("gone").value == "noise"


def test_empty_root_names_the_command(views, context):
    listed, *_ = views.all(None)
    assert "vqgen run digits" in listed
    assert runs_tab._choices([]) == []
