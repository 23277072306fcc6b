"""The figures of the losses: equal images have no distance, rows differ in their losses alone, steps fill the time."""

import argparse
import json

import pytest
import torch

from benchmarks.losses import JUDGE, VARIANTS, Bench, figures, held_out, main, make_recipe, steps_within
from vqgen.config import stage_fields
from vqgen.data import open_images
from vqgen.evaluation.features import ClassifierSpace
from vqgen.models.classifiers import build_classifier
from vqgen.runtime.compute import Compute
from vqgen.training.perceptual import ClassifierDistance

SMALL = ["--vqvae.channels", "8", "--vqvae.codebook-size", "8", "--vqvae.residual-layers", "1",
         "--classifier.channels", "8", "--classifier.stages", "1", "--classifier.train.steps", "4",
         "--vqvae.losses.discriminator-channels", "8", "--vqvae.losses.discriminator-layers", "1"]  # fmt: skip


def recipe(*overrides, root=None, size=64):
    return make_recipe(argparse.Namespace(data_root=root, image_size=size), list(overrides))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    shared = recipe(*SMALL)
    compute = Compute.resolve("cpu", "float32")
    return Bench(shared, open_images(shared.data, 0), tmp_path_factory.mktemp("work"), compute, 2.0)


def test_images_are_those_of_the_folder_or_the_digits(tmp_path):
    assert recipe().data.source == "digits"
    found = recipe(root=tmp_path, size=32).data
    assert (found.source, found.root, found.image_size, found.channels) == ("folder", str(tmp_path), 32, 3)
    assert recipe("--vqvae.codebook-size", "64").vqvae.codebook_size == 64


def test_steps_fill_the_time_with_an_adversary_in_the_second_half():
    """100 seconds: steps of 1 s and of 3 s take 2 s on average. A fifth more, which the limit of time takes away."""
    assert steps_within(100, 1.0, 3.0) == 60
    assert steps_within(0.1, 1.0, 3.0) == 1


def test_rows_differ_in_their_losses_alone(bench):
    fields = {name: stage_fields(bench.context(name, losses, {}).recipe, "vqvae") for name, losses in VARIANTS.items()}
    assert [bench.context(name, VARIANTS[name], {}).recipe.losses.text for name in VARIANTS] == [
        "", "l2 + classifier, ", "l2 + classifier + hinge, "
    ]  # fmt: skip
    for name in VARIANTS:
        assert {each: value for each, value in fields[name].items() if "losses" not in each} == {
            each: value for each, value in fields["l2"].items() if "losses" not in each
        }
    named = bench.context("perceptual", VARIANTS["perceptual"], {}).recipe.losses
    assert named.classifier == str(bench.work / "l2")
    assert not named.uses_own_classifier


def test_judge_is_another_network_than_that_of_the_losses(bench):
    judge = bench.recipe.classifier.model_copy(update=JUDGE)
    assert (judge.channels, judge.blocks) != (bench.recipe.classifier.channels, bench.recipe.classifier.blocks)


def test_figures_of_equal_images_are_perfect_and_noise_makes_all_of_them_worse(bench):
    images, labels = held_out(bench)
    assert len(images) == len(labels) == len(bench.images.validation)
    config = bench.recipe.classifier_config(10)
    torch.manual_seed(0)
    space = ClassifierSpace(build_classifier(config).eval(), "judge", bench.compute)
    distance = ClassifierDistance(build_classifier(config))
    found = []
    for noise in (0, 10, 60):
        draws = torch.randint(-noise, noise + 1, images.shape)
        noisy = (images.int() + draws).clamp(0, 255).to(torch.uint8)
        found.append(figures(images, noisy, space, distance))
    assert found[0]["psnr"] == 100
    assert found[0]["features"] == pytest.approx(0, abs=1e-6)
    assert found[0]["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert found[0]["psnr"] > found[1]["psnr"] > found[2]["psnr"]
    assert found[1]["features"] < found[2]["features"]
    assert found[1]["frechet_distance"] < found[2]["frechet_distance"]


@pytest.mark.slow
def test_program_writes_a_table_and_a_picture_and_reads_finished_rows(tmp_path, capsys, monkeypatch):
    words = ["--minutes", "0.02", "--work", tmp_path / "work", "--json", tmp_path / "x.json"]
    words = [*map(str, words), "--picture", str(tmp_path / "x.png"), "--device", "cpu", *SMALL]
    assert main(words) == 0
    found = json.loads((tmp_path / "x.json").read_text())
    assert [row["losses"] for row in found["rows"]] == list(VARIANTS)
    assert all(row["steps"] > 0 and row["frechet_distance"] > 0 for row in found["rows"])
    assert (tmp_path / "x.png").is_file()
    monkeypatch.setattr("benchmarks.losses.time_of_steps", lambda *_: pytest.fail("timed again"))
    assert main(words) == 0
    assert json.loads((tmp_path / "x.json").read_text())["rows"] == found["rows"]
    assert "vqvae: complete" in capsys.readouterr().out
