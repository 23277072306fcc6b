import pytest

from vqgen.config import stage_fields
from vqgen.config.lengths import (
    Length,
    length_in,
    length_of,
    training_path,
    training_stages,
    with_length,
    without_length,
)


@pytest.mark.parametrize(
    ("now", "before", "finished", "longer"),
    [
        (Length(5), Length(4), 4, True),
        (Length(4), Length(4), 4, False),
        (Length(3), Length(4), 4, False),
        (Length(8), Length(10), 6, False),  # patience ended it; a smaller number is no wish for more
        (Length(1, 3.0), Length(1, 2.0), 9, True),
        (Length(9, 2.0), Length(1, 2.0), 9, False),
        (Length(10), Length(1, 2.0), 9, True),
        (Length(9), Length(1, 2.0), 9, False),
        (Length(1, 2.0), Length(4), 4, False),  # their steps are not known here
    ],
)
def test_length_is_longer_if_the_training_has_steps_to_do(now, before, finished, longer):
    assert now.is_longer_than(before, finished) == longer


def test_lengths_are_words():
    assert [Length(2000).text, Length(1, 2.5).text] == ["2,000 steps", "2.5 epochs"]


@pytest.mark.parametrize(
    ("stage", "path"),
    [
        ("vqvae", "vqvae.train"),
        ("prior-top", "priors.0.train"),
        ("prior-bottom", "priors.1.train"),
        ("classifier", "classifier.train"),
    ],
)
def test_length_of_one_stage_changes_and_no_other_field(tiny_recipe, stage, path):
    recipe = tiny_recipe(classifier={"train": {"steps": 4}})
    assert training_path(recipe, stage) == path
    longer = with_length(recipe, stage, Length(1, 2.5))
    assert length_of(recipe, stage) == Length(4)
    assert length_of(longer, stage) == Length(1, 2.5) == length_in(stage_fields(longer, stage), path)
    for each in recipe.stage_names:
        before, after = stage_fields(recipe, each), stage_fields(longer, each)
        if each == stage:
            before, after = without_length(before, path), without_length(after, path)
        assert before == after
    assert with_length(longer, stage, Length(4)) == recipe


def test_length_of_a_baseline_changes(baseline):
    assert length_of(with_length(baseline, "autoencoder", Length(7)), "autoencoder") == Length(7)


def test_new_length_has_no_limit_of_time(tiny_recipe):
    recipe = tiny_recipe(vqvae={"train": {"max_seconds": 5.0}})
    longer = with_length(recipe, "vqvae", Length(9))
    assert (recipe.vqvae.train.max_seconds, longer.vqvae.train.max_seconds) == (5.0, None)


def test_stages_that_train_are_found(tiny_recipe, baseline):
    recipe = tiny_recipe(classifier={})
    assert training_stages(recipe, recipe.stage_names) == ["vqvae", "prior-top", "prior-bottom", "classifier"]
    assert training_stages(tiny_recipe(), ["codes", "samples"]) == []
    assert training_stages(baseline, baseline.stage_names) == ["autoencoder"]


@pytest.fixture
def baseline():
    from vqgen.config.loading import validate_recipe

    document = {"name": "b", "data": {"source": "digits", "image_size": 16, "channels": 1}, "autoencoder": {}}
    return validate_recipe(document, origin="b")
