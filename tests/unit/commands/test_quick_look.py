from argparse import ArgumentParser, Namespace

import pytest
from tiny_models import make_baseline

from vqgen.commands import evaluate
from vqgen.commands.arguments import add_evaluation_arguments, add_sampling_arguments
from vqgen.commands.evaluate import _FULL, GROUPS, _with_numbers
from vqgen.commands.quick_look import choose_quick_look
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.errors import ConfigError
from vqgen.evaluation.judge.build import OF_SPACE
from vqgen.pipeline import BaselinePipeline, VQGenPipeline
from vqgen.pipeline.baseline_parts import BaselineParts
from vqgen.runtime.compute import Compute

SLOW = ("score", "memorisation")


def parsed(*words):
    parser = ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args(["runs/tiny", *map(str, words)])


@pytest.fixture
def pipe(make_parts, make_classifier):
    """A pipeline of three labels whose classifier has 16 features."""
    parts = make_parts()
    parts.classifier = make_classifier(num_classes=3)
    return VQGenPipeline(parts, Compute.resolve("cpu"))


def look(pipe, *words):
    arguments = parsed("--quick", *words)
    return choose_quick_look(pipe, arguments.only or list(GROUPS), arguments)


def test_slow_groups_are_left_out_with_a_reason(pipe):
    found = look(pipe)
    assert found.groups == [group for group in GROUPS if group not in SLOW]
    assert found.left_out == {
        "score": "it trains classifiers",
        "memorisation": "it compares with all training images",
    }


def test_groups_that_need_a_classifier_are_left_out_without_one(make_parts):
    pipe = VQGenPipeline(make_parts(), Compute.resolve("cpu"))
    found = look(pipe)
    assert found.groups == [group for group in GROUPS if group not in (*SLOW, *OF_SPACE)]
    assert all("--classifier CHECKPOINT names one" in found.left_out[group] for group in OF_SPACE)
    for words in (("--classifier", "other"), ("--inception-weights", "file")):
        assert set(OF_SPACE) <= set(look(pipe, *words).groups)
    with pytest.raises(ConfigError, match=r"found distribution: there is no classifier, .*; leave out --quick, or the"):
        look(pipe, "--only", "codes", "distribution")


def test_groups_of_only_are_computed_or_refused(pipe):
    found = look(pipe, "--only", "codes", "reconstruction")
    assert (found.groups, found.left_out) == (["codes", "reconstruction"], {})
    with pytest.raises(ConfigError, match=r"--only: .* found score, memorisation: it trains classifiers; leave out"):
        look(pipe, "--only", "codes", "score", "memorisation")


def test_picture_of_neighbours_is_refused(pipe):
    with pytest.raises(ConfigError, match=r"--pictures: .*, found 'out'; leave out one of the two"):
        look(pipe, "--pictures", "out")


def test_numbers_that_the_user_gives_count(pipe):
    found = look(pipe)
    assert (found.images_per_label, found.real_images) == (67, 1000)  # 201 samples of three labels
    given = look(pipe, "--images-per-label", 5, "--real-images", 2000)
    assert (given.images_per_label, given.real_images) == (5, 2000)
    assert look(pipe, "--images-per-label", 0).images_per_label == 0  # refused with the request, as without --quick
    for part in ("quick look: 5 images a label", "at most 2,000 real images", "cannot be compared"):
        assert part in given.notice


def test_images_are_more_than_the_space_has_dimensions(pipe, make_classifier):
    found = look(pipe, "--inception-weights", "file")
    assert 3 * found.images_per_label > 2048
    assert found.real_images > 2048
    pipe.parts.classifier = make_classifier(num_classes=3, channels=1200, stages=1)
    assert pipe.parts.classifier.head.in_features == 1200
    found = look(pipe)
    assert 3 * found.images_per_label > 1200
    assert found.real_images > 1200
    assert look(pipe, "--only", "codes").real_images == 1000


def test_samples_of_a_model_without_labels_are_all_of_one_kind():
    data = DataConfig(source="digits", image_size=8, channels=1)
    parts = BaselineParts(name="b", data=data, label_map=LabelMap(("cat", "dog")), model=make_baseline())
    pipe = BaselinePipeline(parts, Compute.resolve("cpu"))
    assert not pipe.takes_labels
    arguments = parsed("--quick")
    assert choose_quick_look(pipe, ["reconstruction"], arguments).images_per_label == 200


def test_full_evaluation_has_the_defaults_of_its_siblings_unless_numbers_are_given():
    parser = ArgumentParser()
    add_evaluation_arguments(parser)
    add_sampling_arguments(parser, images_per_label=100)
    siblings = {name: parser.get_default(name) for name in _FULL}
    assert siblings == _FULL
    numbers = _with_numbers(parsed(), None)
    assert (numbers.images_per_label, numbers.real_images) == (100, 60_000)
    numbers = _with_numbers(parsed("--images-per-label", 3), None)
    assert (numbers.images_per_label, numbers.real_images) == (3, 60_000)


def test_numbers_of_a_quick_look_replace_the_defaults(pipe):
    numbers = _with_numbers(Namespace(images_per_label=None, real_images=None, seed=4), look(pipe))
    assert vars(numbers) == {"images_per_label": 67, "real_images": 1000, "seed": 4}
