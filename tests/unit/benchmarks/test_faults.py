import pytest

from benchmarks.fault_runs import Bench, Trial
from benchmarks.faults import is_killed, is_refused_plainly, rows_of


@pytest.mark.parametrize(
    ("code", "error", "is_good"),
    [
        (2, "vqgen: x.png: No space left on device; nothing has changed", True),
        (1, "vqgen: x.png: No space left on device", False),
        (2, "vqgen: x.png: Permission denied", False),
        (2, "Traceback ...\nOSError: No space left on device", False),
    ],
)
def test_full_disk_should_be_refused_in_plain_lines(code, error, is_good):
    assert (is_refused_plainly(code, error) == "") is is_good


def test_killed_process_has_the_code_of_the_signal():
    assert is_killed(-9, "") == ""
    assert "ended with 0" in is_killed(0, "")


def test_rows_count_the_good_trials_of_each_stage_and_the_slowest_end():
    trials = [
        Trial("kills", "vqvae", -9, 0.0, ""),
        Trial("kills", "vqvae", -9, 0.0, "other files"),
        Trial("disk", "10", 2, 3.0, ""),
        Trial("disk", "20", 2, 1.0, ""),
    ]
    assert rows_of(trials) == [
        {"part": "kills", "moment": "vqvae", "trials": 2, "good": 1, "slowest end (s)": 0.0},
        {"part": "disk", "moment": "all", "trials": 2, "good": 2, "slowest end (s)": 3.0},
    ]


def test_result_that_differs_or_is_left_over_is_named(tmp_path, monkeypatch):
    bench = Bench(tmp_path, end=0.0)
    run = tmp_path / "hurt" / "tiny"
    (run / "vqvae" / "model").mkdir(parents=True)
    (run / "vqvae" / "model" / "config.json").write_text("{}")
    (run / ".0123.tmp.json").write_text("")
    bench.expected[1] = {"vqvae/model/config.json": "another hash"}

    class Ended:
        returncode = 0

        def communicate(self, timeout):
            return "", ""

    monkeypatch.setattr(bench, "start", lambda name: Ended())
    assert bench.go_on("hurt") == "other files than undisturbed: vqvae/model/config.json, .0123.tmp.json"
