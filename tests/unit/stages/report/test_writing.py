import re
import shutil

import html5lib
import pytest
import torch
from reported_runs import EVIL, document, run_context

from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.report.writing import MOST_RUNS, distinct_names, write_comparison, write_report
from vqgen.stages.run import run_all

SECTIONS = ["overview", "recipe", "curves", "codes", "usage", "samples", "nearest", "making"]


def sections(text):
    return re.findall(r'<h2 id="([\w-]+)">', text)


def check_page(text):
    """Asserts that a page is valid, loads nothing, and takes no text for HTML."""
    html5lib.HTMLParser(strict=True).parse(text)
    assert len(text.encode()) < 5_000_000
    assert "<script" not in text
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)""", text) == []
    assert "url(" not in text
    assert EVIL not in text


def test_report_has_every_section_and_is_valid_html(finished):
    text = (finished / "report.html").read_text()
    assert sections(text) == SECTIONS
    check_page(text)
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "The run is complete." in text


def test_report_written_again_is_the_same(run_copy):
    before = write_report(run_copy).read_text()
    random_state = torch.get_rng_state()
    assert write_report(run_copy) == run_copy / "report.html"
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (run_copy / "report.html").read_text() == before


def test_report_of_a_run_in_its_first_stage_names_the_stages_to_come(run_copy):
    for name in ("codes", "prior-top", "prior-bottom", "classifier", "samples", "pipeline"):
        shutil.rmtree(run_copy / name)
    record = run_copy / "vqvae" / "stage.json"
    record.write_text(record.read_text().replace('"complete": true', '"complete": false'))
    text = write_report(run_copy).read_text()
    assert sections(text) == ["overview", "recipe", "curves", "making"]
    assert "at step 4 of 4 (100%)" in text
    assert text.count("to come") == 5
    check_page(text)


@pytest.mark.slow
def test_report_of_a_baseline_leaves_out_codes(tmp_path):
    context = run_context(tmp_path / "vae", document(baseline=True))
    run_all(context)
    text = (tmp_path / "vae" / "report.html").read_text()
    assert sections(text) == ["overview", "recipe", "curves", "codes", "samples", "nearest", "making"]
    assert "variational autoencoder" in text
    check_page(text)


def test_comparison_has_the_runs_side_by_side(finished, tmp_path):
    other = shutil.copytree(finished, tmp_path / "<b>other")
    text = write_comparison([finished, other], tmp_path / "both.html").read_text()
    check_page(text)
    assert sections(text) == SECTIONS
    assert "<b>other" not in text
    assert "cat: noise" in text and "cat: &lt;b&gt;other" in text


def test_wrong_runs_are_refused(finished, tmp_path):
    output = tmp_path / "page.html"
    with pytest.raises(CheckpointError, match="there is no such folder"):
        write_report(tmp_path / "none")
    with pytest.raises(CheckpointError, match="a pipeline folder"):
        write_report(finished / "pipeline")
    with pytest.raises(ConfigError, match="at most 6 run folders, found 7"):
        write_comparison([finished] * (MOST_RUNS + 1), output)
    with pytest.raises(ConfigError, match="twice"):
        write_comparison([finished, finished], output)
    assert not output.exists()


def test_names_are_the_shortest_that_differ(tmp_path):
    assert distinct_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    assert distinct_names([tmp_path / "x" / "a", tmp_path / "y" / "a"]) == ["x/a", "y/a"]
