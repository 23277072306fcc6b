"""What the shipped recipe and the shipped model are good for, judged by classifiers of real digits."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.quality import digits
from vqgen import VQGenPipeline

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "pretrained" / "digits"


def assert_good(checkpoint: Path) -> None:
    figures = digits(VQGenPipeline.from_pretrained(checkpoint))
    print(figures)
    assert figures["sample_accuracy"] >= 0.95
    assert figures["classification_accuracy_score"] >= 0.945
    assert figures["near_copies"] <= 0.01


def test_the_shipped_model_draws_digits_that_a_classifier_reads() -> None:
    assert_good(SHIPPED)


@pytest.mark.slow
def test_the_recipe_trains_a_model_that_draws_digits_that_a_classifier_reads(tmp_path: Path) -> None:
    subprocess.run(["vqgen", "run", "digits", "--checkpoints", tmp_path, "--quiet"], check=True)
    assert_good(tmp_path / "digits")
