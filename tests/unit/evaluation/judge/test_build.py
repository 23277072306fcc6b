from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.judge.build import JudgeOptions, build_judge
from vqgen.evaluation.judge.real_images import feature_origin
from vqgen.evaluation.stored_features import save_features
from vqgen.pipeline import VQGenPipeline

OPTIONS = JudgeOptions(real_images=40, quiet=True)
TINY = {"classifier": {"channels": 8, "stages": 2, "train": {"steps": 3, "batch_size": 8}}}


@pytest.fixture(autouse=True)
def released():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def build(pipe, *, needs_space=False, needs_score=False, without_score="--no-score", **options):
    return build_judge(
        pipe,
        "runs/tiny",
        replace(OPTIONS, **options),
        needs_space=needs_space,
        needs_score=needs_score,
        without_score=without_score,
    )


def with_classifier(pipe, classifier):
    pipe.parts.classifier = classifier
    pipe.parts.classifier_hash = "5e" * 32
    return pipe


def test_judge_without_samples_has_neither_space_nor_scorer(make_pipe):
    judge = build(make_pipe())
    assert judge.space is None
    assert judge.scorer is None
    assert (judge.train.split, judge.held_out.split) == ("train", "validation")
    assert judge.reference is judge.held_out
    assert build(judge.pipe, reference="train").reference.split == "train"


def test_space_is_the_classifier_of_the_pipeline(make_pipe, make_classifier):
    classifier = make_classifier(num_classes=10)
    judge = build(with_classifier(make_pipe(), classifier), needs_space=True)
    assert isinstance(judge.space, ClassifierSpace)
    assert judge.space.classifier is classifier
    assert judge.space.name == "classifier 5e5e5e5e5e5e"


def test_space_of_a_pipeline_without_classifier_is_trained_on_the_spot(make_pipe, capsys):
    judge = build(make_pipe(**TINY), needs_space=True, classifier_steps=2)
    assert "tiny has no classifier; training one on 40 real images" in capsys.readouterr().out
    assert judge.section.train.steps == 2
    assert judge.space(judge.held_out.images).log_probabilities.shape == (len(judge.held_out), 10)
    again = build(make_pipe(**TINY), needs_space=True, classifier_steps=2)
    assert again.space.name == judge.space.name  # the hash of equal weights


def test_classifier_and_score_of_another_checkpoint_judge(make_pipe, make_classifier, tmp_path):
    judging = make_pipe(classifier={"channels": 24})
    with_classifier(judging, make_classifier(num_classes=10)).save_pretrained(tmp_path / "judging")
    saved = VQGenPipeline.from_pretrained(tmp_path / "judging", device="cpu")
    judge = build(make_pipe(**TINY), needs_space=True, needs_score=True, classifier=str(tmp_path / "judging"))
    assert judge.space.name == f"classifier {saved.parts.classifier_hash[:12]}"
    assert judge.section.channels == 24


def test_other_checkpoints_without_a_fitting_classifier_are_refused(make_pipe, make_classifier, tmp_path):
    name = str(tmp_path / "judging")
    make_pipe().save_pretrained(name)
    with pytest.raises(CheckpointError, match=r"--classifier .*: should have a classifier, found none; `vqgen train-"):
        build(make_pipe(), needs_space=True, classifier=name)
    larger = make_classifier(num_classes=10, image_size=16)
    with_classifier(make_pipe(), larger).save_pretrained(tmp_path / "larger")
    with pytest.raises(CheckpointError, match=r"8 x 8 pixels with 1 channels .*, found 16 x 16 pixels, .*0, 1, 2, 3, "):
        build(make_pipe(), needs_space=True, classifier=str(tmp_path / "larger"))


def test_numbers_out_of_range_are_refused(make_pipe):
    for options, message in [
        ({"score_seeds": 0}, "--score-seeds: should be at least 1, found 0"),
        ({"classifier_steps": 0}, "--classifier-steps: should be at least 1, found 0"),
        ({"real_images": 0}, "--real-images: should be at least 1, found 0"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build(make_pipe(), **options)


def test_metrics_that_need_labels_are_refused_for_a_model_without_labels(make_pipe):
    pipe = make_pipe(labels=())
    with pytest.raises(ConfigError, match=r"runs/tiny: has no labels, .* leave the score out: --no-score$"):
        build(pipe, needs_score=True, needs_space=True)
    with pytest.raises(ConfigError, match=r"has no labels, .* give --inception-weights FILE$"):
        build(pipe, needs_space=True)
    with pytest.raises(ConfigError, match=r"give --inception-weights FILE, or judge --only codes$"):
        build(pipe, needs_space=True, without_score="--only codes")


def test_score_of_a_model_that_takes_no_labels_is_refused(make_pipe, monkeypatch):
    monkeypatch.setattr(VQGenPipeline, "takes_labels", False)
    with pytest.raises(ConfigError, match=r"runs/tiny: cannot generate images of a given label, .* sweep --no-score"):
        build(make_pipe(), needs_score=True)


def test_missing_weights_of_inception_are_refused(make_pipe):
    with pytest.raises(ConfigError, match="--inception-weights nowhere: there is no such file"):
        build(make_pipe(), needs_space=True, inception_weights=Path("nowhere"))


def test_scorer_has_the_held_out_images_and_the_seeds_of_the_options(make_pipe):
    judge = build(make_pipe(**TINY), needs_score=True, seed=6, score_seeds=3)
    assert torch.equal(judge.scorer.test.images, judge.held_out.images)
    assert torch.equal(judge.scorer.test.labels, judge.held_out.labels)
    assert judge.scorer.split == judge.held_out.split
    assert list(judge.scorer.config.seeds) == [6, 7, 8]
    assert (judge.seed, judge.score_seeds) == (6, 3)


def test_stored_features_of_other_images_or_networks_are_refused_before_the_first_training_and_sample(
    make_pipe, make_classifier, tmp_path, capsys
):
    path = tmp_path / "f.safetensors"
    pipe = with_classifier(make_pipe(), make_classifier(num_classes=10))
    judge = build(pipe, needs_space=True)
    save_features(judge.space(judge.reference.images), feature_origin(judge.reference, judge.space), path)
    assert build(pipe, needs_space=True, reference_features=path).features_file == path
    # as many other images
    with pytest.raises(DataError, match=r"features of 40 images .*: other images, or another transform"):
        build(make_pipe(seed=9, **TINY), needs_space=True, reference_features=path)
    assert capsys.readouterr().out == ""
    pipe.parts.classifier_hash = "6f" * 32
    with pytest.raises(DataError, match=r"in the space 'classifier 6f6f6f6f6f6f' .*: another network"):
        build(pipe, needs_space=True, reference_features=path)
