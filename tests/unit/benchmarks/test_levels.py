"""Real codes down to a level and samples below it: real codes stay, and samples of all levels are the pipeline's."""

from pathlib import Path

import pytest
import torch

from benchmarks.levels import accuracy_scorer, measure, sample_below
from vqgen import VQGenPipeline
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.judge.real_images import open_real_images

SHIPPED = Path(__file__).parents[3] / "checkpoints" / "pretrained" / "digits"


@pytest.fixture(scope="module")
def pipe():
    return VQGenPipeline.from_pretrained(SHIPPED, device="cpu")


@pytest.fixture(scope="module")
def real(pipe):
    return open_real_images(pipe, None, most=100, splits=["validation"])["validation"]


def space_of(pipe):
    return ClassifierSpace(pipe.parts.classifier, pipe.parts.classifier_hash, pipe.compute)


def are_equal(one, other):
    return all(torch.equal(one.grids[level], other.grids[level]) for level in other.levels)


def test_kept_levels_are_the_real_ones(pipe, real):
    codes = pipe.encode_tensor(real.images)
    kept = sample_below(pipe, codes, real.labels, 1, seed=3)
    assert torch.equal(kept.grids["top"], codes.grids["top"])
    assert not torch.equal(kept.grids["bottom"], codes.grids["bottom"])
    assert are_equal(sample_below(pipe, codes, real.labels, 2, seed=3), codes)


def test_samples_of_all_levels_are_those_of_the_pipeline(pipe, real):
    sampled = sample_below(pipe, pipe.encode_tensor(real.images), real.labels, 0, seed=3)
    expected, _ = pipe.sample(real.labels.tolist(), range(len(real)), seed=3)
    assert are_equal(sampled, expected)


def test_real_images_are_at_no_distance_and_each_level_has_a_row(pipe, real):
    rows = list(measure(pipe, space_of(pipe), real, 0))
    assert [row["images"] for row in rows] == [
        "real", "reconstructions", "bottom sampled", "top and bottom sampled"
    ]  # fmt: skip
    assert rows[0]["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert rows[1]["frechet_distance"] > 1e-3


@pytest.mark.slow
def test_score_is_of_classifiers_that_are_trained_on_the_given_images_and_labels_alone(pipe):
    found = open_real_images(pipe, None, most=200, splits=["train", "validation"])
    score = accuracy_scorer(pipe, found["validation"], steps=60, seed=0)
    images = found["train"].images
    labels = found["train"].labels
    assert score(images, labels) > 0.7
    assert score(images, (labels + 1) % 10) < 0.2
    rows = list(measure(pipe, space_of(pipe), found["train"], 0, lambda images, labels: 0.5))
    assert [row["accuracy_score"] for row in rows] == [0.5] * 4
