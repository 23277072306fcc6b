"""The quality of the shipped recipe and the shipped model, judged by classifiers of real digits."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.quality import digits
from vqgen import VQGenPipeline

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "pretrained" / "digits"


def assert_good(checkpoint: Path) -> None:
    metrics = digits(VQGenPipeline.from_pretrained(checkpoint))
    print(metrics)
    assert metrics["sample_accuracy"] >= 0.95
    assert metrics["classification_accuracy_score"] >= 0.945
    assert metrics["near_copies"] <= 0.01


def test_shipped_model_draws_digits_that_a_classifier_recognises() -> None:
    assert_good(SHIPPED)


@pytest.mark.slow
def test_recipe_trains_a_model_of_digits_that_a_classifier_recognises(tmp_path: Path) -> None:
    subprocess.run(["vqgen", "run", "digits", "--checkpoints", tmp_path, "--quiet"], check=True)
    assert_good(tmp_path / "digits")
