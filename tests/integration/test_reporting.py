"""The report of a run: written after every stage, and opened in a browser without a network."""

import json
import re
import shutil
import signal

import html5lib
import pytest
from browser import chromium, visit  # noqa: F401
from small_runs import assert_refused, final_hashes, start, wait_for

from vqgen.stages.report.after_stage import page_marks


def check_page(text):
    html5lib.HTMLParser(strict=True).parse(text)
    assert len(text.encode()) < 5_000_000
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", text) == []


@pytest.fixture
def run_copy(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "tiny")


def test_run_writes_its_report(trained):
    text = (trained / "report.html").read_text()
    check_page(text)
    assert "The run is complete." in text
    assert text.count('<li class="done">') == 5


@pytest.mark.slow
def test_report_is_written_after_every_stage(vqgen, tiny_toml, tmp_path):
    root = tmp_path / "checkpoints"
    path = root / "tiny" / "report.html"
    for number, command in enumerate(["train-vqvae", "extract-codes"], 1):
        assert vqgen(command, tiny_toml, "--checkpoints", root, "--quiet").code == 0
        text = path.read_text()
        check_page(text)
        assert text.count('<li class="done">') == number
        assert f"The run has finished {number} of 5 stages." in text
    before = path.stat().st_mtime_ns
    assert vqgen("extract-codes", tiny_toml, "--checkpoints", root, "--quiet").code == 0
    assert path.stat().st_mtime_ns == before


def test_command_writes_one_page_of_one_run_or_of_several(vqgen, run_copy, trained, tmp_path):
    (run_copy / "report.html").unlink()
    assert vqgen("report", run_copy).out == f"report: {run_copy / 'report.html'}\n"
    check_page((run_copy / "report.html").read_text())
    page = tmp_path / "both.html"
    assert vqgen("report", run_copy, trained, "-o", page).code == 0
    check_page(page.read_text())
    assert_refused(vqgen("report", run_copy, trained, "-o", page), "--overwrite replaces")
    assert_refused(vqgen("report", run_copy, trained), "-o: should name the page of the 2 runs")
    assert_refused(vqgen("report", run_copy, run_copy, "-o", page, "--overwrite"), "twice")
    assert_refused(vqgen("report", tmp_path), "should be a run folder with a recipe.toml")
    assert_refused(vqgen("report", tmp_path / "none"), "there is no such folder")


@pytest.mark.slow
def test_failure_of_the_report_does_not_end_the_run(vqgen, tiny_toml, tmp_path, trained):
    blocked = tmp_path / "checkpoints" / "tiny" / "report.html"
    (blocked / "inside").mkdir(parents=True)
    finished = vqgen("run", tiny_toml, "--checkpoints", tmp_path / "checkpoints", "--quiet")
    assert finished.code == 0
    assert "the report could not be written" in finished.err
    assert "Traceback" not in finished.err
    assert final_hashes(tmp_path / "checkpoints" / "tiny") == final_hashes(trained)


@pytest.mark.slow
def test_watch_ends_on_ctrl_c_with_a_page_that_stays(run_copy):
    record = run_copy / "samples" / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"complete": False}))
    (run_copy / "report.html").unlink()
    process = start("report", run_copy, "--watch", "0.2")
    wait_for(run_copy / "report.html", process)
    assert page_marks(run_copy / "report.html")[1] == 1
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Ctrl-C ends the watch" in out and "Traceback" not in err
    assert page_marks(run_copy / "report.html")[1] is None


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_report_opens_from_disk_without_a_network(trained, visit, width, scheme):  # noqa: F811
    watched = visit((trained / "report.html").as_uri(), width, scheme, offline=True)
    page = watched.page
    assert page.title() == "Run tiny"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.evaluate("[...document.images].map(image => [image.complete, image.naturalWidth])")
    assert len(sizes) > 40 and all(complete and pixels > 0 for complete, pixels in sizes)
    page.get_by_role("link", name="Samples").click()
    assert page.url.endswith("#samples")
    assert page.get_by_role("heading", name="Samples").is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert {address.partition(":")[0] for address in watched.addresses} <= {"file", "data"}
    watched.check()
