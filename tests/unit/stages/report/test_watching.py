import json

import pytest

from vqgen.errors import Interrupted
from vqgen.stages.report.after_stage import page_marks
from vqgen.stages.report.watching import watch_run


@pytest.fixture
def working(run_copy):
    """A run whose VQ-VAE is being trained by another process, which is about to end a line of the log."""
    record = run_copy / "vqvae" / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"complete": False}))
    with (run_copy / "vqvae" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    return run_copy


def test_watch_follows_the_log_and_ends_with_the_run(working):
    path = working / "report.html"
    seen = []

    def wait(seconds):
        assert seconds == 3
        seen.append((page_marks(path)[1], "at step 5" in path.read_text(), path.stat().st_mtime_ns))
        log = working / "vqvae" / "metrics.jsonl"
        if len(seen) == 2:
            log.write_text(log.read_text() + 'ss": 0.5}\n')
        if len(seen) == 3:
            record = working / "vqvae" / "stage.json"
            record.write_text(json.dumps(json.loads(record.read_text()) | {"complete": True}))

    told = []
    assert watch_run(working, seconds=3, tell=told.append, wait=wait) == path
    assert told == [path]
    assert [refresh for refresh, _, _ in seen] == [3, 3, 3]
    assert [has_step for _, has_step, _ in seen] == [False, False, True]
    assert seen[0][2] == seen[1][2] != seen[2][2]  # written only when something changed
    assert page_marks(path)[1] is None
    assert "The run is complete." in path.read_text()


def test_interrupted_watch_leaves_a_page_that_is_not_loaded_again(working):
    def wait(seconds):
        raise Interrupted(2)

    with pytest.raises(Interrupted):
        watch_run(working, seconds=3, wait=wait)
    assert page_marks(working / "report.html")[1] is None


def test_complete_run_is_written_once(run_copy, tmp_path):
    told = []
    assert watch_run(run_copy, tmp_path / "x.html", seconds=1, tell=told.append) == tmp_path / "x.html"
    assert told == [tmp_path / "x.html"]
