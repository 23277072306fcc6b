"""The parameters of a request: hashable, written as JSON, and spread over the levels."""

import json

import pytest

from vqgen.config import PixelCNNConfig
from vqgen.errors import ConfigError
from vqgen.sampling import LevelParams, SamplingParams, numbers_of


def config(level, **changes):
    settings = {"height": 2, "width": 2, "codebook_size": 4, "num_classes": 3, "channels": 8, "layers": 1}
    return PixelCNNConfig(level=level, **(settings | {"label_dropout": 0.1} | changes))


@pytest.fixture
def priors():
    return {"top": config("top"), "bottom": config("bottom")}


def test_lists_become_tuples():
    params = SamplingParams(temperature=[0.5, 1.0], guidance_scale=[2.0, 1.0], autoguidance_scale=[1.0, 1.5])
    assert params.temperature == (0.5, 1.0)
    assert params.guidance_scale == (2.0, 1.0)
    assert params.autoguidance_scale == (1.0, 1.5)


def test_equal_params_have_one_hash():
    one = SamplingParams(temperature=[0.5, 1.0], top_k=3)
    other = SamplingParams(temperature=(0.5, 1.0), top_k=3)
    assert one == other
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(0.5, 10, 0.9, 2.0, 1.5),
        SamplingParams(temperature=[0.5, 1.0], guidance_scale=[1, 2.5]),
    ],
)
def test_params_return_from_their_document(params):
    document = params.as_document()
    assert list(document) == ["temperature", "top_k", "top_p", "guidance_scale", "autoguidance_scale"]
    assert json.loads(json.dumps(document)) == document
    assert SamplingParams(**json.loads(json.dumps(document))) == params


@pytest.mark.parametrize(("value", "numbers"), [(1, (1.0,)), (0.5, (0.5,)), ([1, 2.5], (1.0, 2.5)), ((), ())])
def test_numbers_of_a_parameter_are_a_tuple(value, numbers):
    assert numbers_of(value) == numbers


def test_one_number_is_for_all_levels(priors):
    params = SamplingParams(0.5, 10, 0.9, 2.0, 1.5)
    assert params.of_levels(priors, guides=["top", "bottom"]) == 2 * [LevelParams(0.5, 10, 0.9, 2.0, 1.5)]


def test_one_number_per_level_reaches_its_level(priors):
    params = SamplingParams([0.5, 1.0], None, 0.9, [1.0, 3.0], [2.0, 1.0])
    assert params.of_levels(priors, guides=["top"]) == [
        LevelParams(0.5, None, 0.9, 1.0, 2.0),
        LevelParams(1.0, None, 0.9, 3.0, 1.0),
    ]


def test_defaults_sample_every_level_as_it_is(priors):
    assert SamplingParams().of_levels(priors) == [LevelParams(), LevelParams()]


def test_level_without_a_trained_prior_is_not_checked_for_guidance(priors):
    params = SamplingParams(guidance_scale=2.0, autoguidance_scale=2.0)
    assert params.of_levels(priors | {"bottom": None}, guides=["top"]) == 2 * [
        LevelParams(guidance_scale=2.0, autoguidance_scale=2.0)
    ]


@pytest.mark.parametrize("name", ["temperature", "guidance_scale", "autoguidance_scale"])
@pytest.mark.parametrize(("value", "found"), [([1, 2, 3], r"\[1\.0, 2\.0, 3\.0\]"), ([], r"\[\]")])
def test_wrong_count_of_numbers_is_refused(priors, name, value, found):
    with pytest.raises(
        ConfigError, match=rf"^{name}: should be one number, or one per level \(top, bottom\), found {found}$"
    ):
        SamplingParams(**{name: value}).of_levels(priors)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        (SamplingParams(temperature=[1.0, -1.0]), r"temperature: should be at least 0, found -1\.0"),
        (SamplingParams(top_p=0.0), r"top_p: should be above 0 and at most 1 .*, found 0\.0"),
        (SamplingParams(guidance_scale=-1), r"guidance_scale: should be at least 0, found -1\.0"),
    ],
)
def test_numbers_out_of_range_are_refused(priors, params, match):
    with pytest.raises(ConfigError, match=match):
        params.of_levels(priors)


def test_guidance_of_a_prior_without_labels_is_refused():
    priors = {"top": config("top", num_classes=0, label_dropout=0.0)}
    with pytest.raises(ConfigError, match=r"guidance_scale: should be 1 for a model without labels, .*, found 2$"):
        SamplingParams(guidance_scale=2.0).of_levels(priors)


def test_guidance_of_a_prior_that_saw_every_label_is_refused(priors):
    priors["bottom"] = config("bottom", label_dropout=0.0)
    with pytest.raises(
        ConfigError, match=r"found 2: the bottom prior was trained with label_dropout 0 .*--priors\.N\.label-dropout"
    ):
        SamplingParams(guidance_scale=2.0).of_levels(priors)
    assert SamplingParams(guidance_scale=[2.0, 1.0]).of_levels(priors)[0].is_guided


@pytest.mark.parametrize(
    ("scale", "guides", "match"),
    [
        (2.0, [], r"found 2: the top prior has no guide; train it with --priors\.0\.guide-share 0\.1$"),
        ([1.0, 2.0], [], r"found 2: the bottom prior has no guide; train it with --priors\.1\.guide-share 0\.1$"),
        (2.0, ["bottom"], r"the top prior has no guide; give one scale per level \(--autoguidance-scale 1 2\), or"),
    ],
)
def test_autoguidance_without_a_guide_is_refused_with_its_remedy(priors, scale, guides, match):
    with pytest.raises(ConfigError, match=match):
        SamplingParams(autoguidance_scale=scale).of_levels(priors, guides=guides)
