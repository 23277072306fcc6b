"""Judgement whose classifiers train in processes of their own: its figures, a plain script, and its end by a signal."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from accelerate.state import AcceleratorState

from vqgen.evaluation import accuracy_score

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

CHECKOUT = Path(__file__).parents[2]

SCRIPT = """
import sys

import vqgen.evaluation.accuracy_score as accuracy_score
from vqgen import open_pipeline
from vqgen.evaluation.judge.build import JudgeOptions, build_judge
from vqgen.evaluation.judge.judge import draw
from vqgen.pipeline.request import GenerationRequest

print("once")
accuracy_score._LEAST_PIXELS = 0
accuracy_score.available_cores = lambda: int(sys.argv[2])
pipe = open_pipeline(sys.argv[1], device="cpu")
options = JudgeOptions(classifier_steps=12, score_seeds=2, quiet=True)
judge = build_judge(pipe, sys.argv[1], options, needs_space=False, needs_score=True, without_score="")
samples = draw(pipe, GenerationRequest(images_per_label=5))
for score in judge.accuracy_scores([judge.scored_samples(samples), judge.scored_real_images(samples)]):
    print(*((metric.name, metric.value) for metric in score))
print("accelerate" in sys.modules)
"""
"""A script without a `__main__` guard."""


@pytest.mark.slow
def test_script_without_a_main_guard_gets_the_same_scores_from_two_processes(judged, tmp_path, monkeypatch, capsys):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    words = [str(path), str(judged)]
    finished = subprocess.run([sys.executable, *words, "2"], capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert finished.returncode == 0, finished.stderr
    first, *scores, has_trained = finished.stdout.splitlines()
    assert (first, len(scores), has_trained) == ("once", 2, "False")
    monkeypatch.setattr(accuracy_score, "_LEAST_PIXELS", 0)  # the script sets both; here they are set back afterwards
    monkeypatch.setattr(accuracy_score, "available_cores", None)
    monkeypatch.setattr(sys, "argv", [*words, "1"])
    runpy.run_path(str(path))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert capsys.readouterr().out.splitlines() == [first, *scores, "True"]  # trained in this process


PROGRAM = "import os, sys, vqgen.cli; os.sched_getaffinity = lambda _: {0, 1}; sys.exit(vqgen.cli.main())"
"""The command line on a machine of two cores."""


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM, signal.SIGKILL]
)
def test_signal_ends_an_evaluation_with_all_its_processes(tmp_path, number):
    pretrained = CHECKOUT / "checkpoints" / "pretrained" / "digits"
    words = ["evaluate", pretrained, "--only", "score", "--images-per-label", "3", "--device", "cpu", "--quiet"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], env=environment, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True
    ) as program:
        watched = psutil.Process(program.pid)
        while len(children := watched.children()) < 2:
            assert program.poll() is None
            time.sleep(0.05)
        time.sleep(1)  # they train, or at least import
        program.send_signal(number)
        message = program.stderr.read()
    assert program.returncode == (-number if number == signal.SIGKILL else 128 + number)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    if number != signal.SIGKILL:
        assert message == "vqgen: stopped; run the same command again to go on\n"
        assert list(tmp_path.iterdir()) == []
