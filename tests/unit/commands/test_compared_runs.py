import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import make_baseline

from vqgen.commands.compared_runs import ComparedRun, _check_alike, _check_generates, _check_held_out, short_names
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.evaluation.judge.real_images import RealImages
from vqgen.pipeline import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.pipeline.request import GenerationRequest


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (["a/digits", "b/fashion"], ["digits", "fashion"]),
        (["a/digits", "b/digits"], ["a/digits", "b/digits"]),
        (["x/a/digits", "y/a/digits", "other"], ["x/a/digits", "y/a/digits", "other"]),
        (["runs/one/pipeline", "runs/two/pipeline"], ["one", "two"]),
        (["user/model", "someone/model"], ["user/model", "someone/model"]),
    ],
)
def test_names_are_the_shortest_ends_that_tell_runs_apart(runs, names):
    assert short_names(runs) == names


def test_one_run_and_a_run_given_twice_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"RUN: should be at least two to compare, found 1; `vqgen evaluate`"):
        short_names(["one"])
    with pytest.raises(ConfigError, match=r"RUN: each should be given once, found .* twice"):
        short_names([str(tmp_path), str(tmp_path / "pipeline")])


@pytest.fixture
def compared(make_parts):
    def build(checkpoint, change=lambda parts: parts, **settings):
        return ComparedRun(checkpoint, checkpoint, VQGenPipeline(change(make_parts(**settings))))

    return build


def test_parameters_are_counted_without_classifier_and_guides(compared, make_classifier):
    judged = compared(
        "a", lambda parts: replace(parts, classifier=make_classifier(), guides=copy.deepcopy(parts.priors))
    )
    models = [judged.pipe.vqvae, *judged.pipe.priors]
    assert judged.pipe.num_parameters == sum(parameter.numel() for model in models for parameter in model.parameters())


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"labels": ("cat", "dog", "bird")}, ["labels cat, dog, bird instead of cat, dog, 10"]),
        ({"image_channels": 3}, ["channels 3 instead of 1"]),
        ({"image_size": 16}, ["image size 16 x 16 instead of 8 x 8"]),
    ],
)
def test_runs_of_other_images_are_refused(compared, settings, parts):
    with pytest.raises(DataError) as refusal:
        _check_alike(compared("a"), compared("b", **settings))
    for part in ["run b: should be of the same images as a", *parts]:
        assert part in str(refusal.value)


def test_difference_far_down_the_labels_is_found(compared):
    names = tuple("abcdef")
    with pytest.raises(DataError, match="found label 5 'g' instead of 'f'"):
        _check_alike(compared("a", labels=names), compared("b", labels=(*names[:5], "g")))


def test_runs_with_other_sources_or_held_out_images_are_refused(compared):
    def of_mnist(parts):
        return replace(parts, data=parts.data.model_copy(update={"source": "mnist"}))

    with pytest.raises(DataError, match="found source mnist instead of digits"):
        _check_alike(compared("a"), compared("b", of_mnist))
    other = compared("b", lambda parts: replace(parts, split={"train": [0, 1], "validation": [2]}))
    with pytest.raises(DataError, match=r"run b: should have the same validation images as a, .* trained on some"):
        _check_alike(compared("a"), other)
    tested = [
        compared(name, lambda parts, v=v: replace(parts, split={"train": [1 - v], "validation": [v], "test": [2]}))
        for v, name in enumerate("ab")
    ]
    _check_alike(*tested)  # another seed draws other validation images, but no run has seen a test image


def test_run_that_cannot_generate_is_refused(compared, make_parts):
    parts = make_parts()
    del parts.priors["bottom"]
    run = ComparedRun("a", "a", VQGenPipeline(parts))
    with pytest.raises(CheckpointError, match="has no prior for bottom"):
        _check_generates(run, GenerationRequest(), with_score=True)
    with pytest.raises(ConfigError, match="images_per_label: should be at least 1, found 0"):
        _check_generates(compared("b"), GenerationRequest(images_per_label=0), with_score=True)


def test_unconditional_run_is_refused_only_for_the_score(make_parts):
    parts = make_parts()
    baseline = BaselineParts(name="b", data=parts.data, label_map=parts.label_map, model=make_baseline())
    run = ComparedRun("b", "runs/b", BaselinePipeline(baseline))
    with pytest.raises(
        ConfigError, match=r"run runs/b: should generate images of a label, found an unconditional model"
    ):
        _check_generates(run, GenerationRequest(), with_score=True)
    _check_generates(run, GenerationRequest(), with_score=False)


@pytest.mark.parametrize("change", ["images", "labels", "all"])
def test_run_with_other_held_out_pictures_is_refused(compared, change):
    images = torch.arange(2, dtype=torch.uint8)[:, None, None, None]
    labels = torch.tensor([0, 1])
    expected = RealImages("test", images, labels)
    other = {
        "images": RealImages("test", images + 1, labels), "labels": RealImages("test", images, labels + 1), "all": None,
    }[change]  # fmt: skip
    _check_held_out(expected, RealImages("test", images.clone(), labels.clone()), compared("a"))
    with pytest.raises(
        DataError, match="run a: should have the same test images as the first run, found other ones; name"
    ):
        _check_held_out(expected, other, compared("a"))
