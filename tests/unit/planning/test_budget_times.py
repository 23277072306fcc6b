from dataclasses import replace

import pytest

from vqgen.data import ImageCounts
from vqgen.planning import budget_times
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import Rates
from vqgen.planning.budget_times import (
    FORWARD_SHARE,
    PREPARATION,
    Places,
    StageTime,
    overlapped,
    stage_times,
    wall_seconds,
)

PICTURES = Pictures(ImageCounts(90, 10, 20, 5), 8, True, 0.01, ())
RATES = Rates(
    {"vqvae": 1.0, "prior-top": 0.5, "prior-bottom": 2.0, "classifier": 0.25}, 0.1, 0.2, centre=0.001, random=0.003
)


@pytest.fixture(autouse=True)
def free_steps(monkeypatch):
    """Leaves out the time of a step beside its model."""
    monkeypatch.setattr(budget_times, "_OF_STEP", 0.0)
    monkeypatch.setattr(budget_times, "_OF_CODES", 0.0)


def times(recipe, cores=1, pictures=PICTURES, rates=RATES):
    return {time.stage: time for time in stage_times(recipe, pictures, rates, cores)}


def work(recipe, stage, **options):
    """The seconds of a part without its overhead, which an empty part has, too."""
    return times(recipe, **options)[stage].seconds


def test_parts_have_the_order_of_a_run(tiny_recipe):
    recipe = tiny_recipe(classifier={})
    assert [time.stage for time in stage_times(recipe, PICTURES, RATES, 1)] == [PREPARATION, *recipe.stage_names]


def test_preparation_reads_every_picture_on_all_cores(tiny_recipe):
    alone, both = (times(tiny_recipe(), cores=cores)[PREPARATION].seconds for cores in (1, 2))
    assert alone - both == pytest.approx(120 * 0.01 / 2)


def test_training_is_steps_validations_and_one_reading_of_the_pictures(tiny_recipe):
    time = times(tiny_recipe())["vqvae"]
    forward = FORWARD_SHARE * 1.0 / 8 + 0.01 + 0.001
    assert time.steps == 4
    assert time.step_seconds == 1.0
    assert time.training_seconds == pytest.approx(4 * 1.0 + 2 * 10 * forward + 90 * (0.01 + 0.001))
    assert time.seconds > time.training_seconds


def test_last_step_is_validated_too(tiny_recipe):
    four, five = (times(tiny_recipe(vqvae={"train": {"steps": steps}}))["vqvae"] for steps in (4, 5))
    forward = FORWARD_SHARE * 1.0 / 8 + 0.01 + 0.001
    assert five.training_seconds - four.training_seconds == pytest.approx(1.0 + 10 * forward)  # every two steps


def test_stage_has_its_threads(tiny_recipe):
    found = times(tiny_recipe(classifier={}), rates=replace(RATES, threads={"vqvae": 2, "prior-top": 3}))
    threads = {stage: time.threads for stage, time in found.items()}
    assert threads == dict.fromkeys(found, 1) | {"vqvae": 2, "prior-top": 3}


def test_prior_is_evaluated_on_its_training_images_which_no_limit_shortens(tiny_recipe):
    time = times(tiny_recipe())["prior-top"]
    forward = FORWARD_SHARE * 0.5 / 8
    assert time.training_seconds == pytest.approx(4 * 0.5 + 2 * 10 * forward)
    overhead = times(tiny_recipe())["vqvae"].seconds - times(tiny_recipe())["vqvae"].training_seconds
    assert time.seconds - time.training_seconds - overhead == pytest.approx(90 * forward)


def test_step_takes_time_beside_its_model(tiny_recipe, monkeypatch):
    monkeypatch.setattr(budget_times, "_OF_STEP", 0.25)
    monkeypatch.setattr(budget_times, "_OF_CODES", 0.125)
    assert times(tiny_recipe())["vqvae"].step_seconds == 1.25
    assert times(tiny_recipe())["prior-top"].step_seconds == 0.5 + 0.25 + 8 * 0.125
    assert times(tiny_recipe(), cores=2)["prior-top"].step_seconds < 0.5 + 0.25 + 8 * 0.125


def test_label_contrast_doubles_its_share_of_the_steps(tiny_recipe):
    prior = {"label_contrast": 1.0, "label_contrast_share": 0.5}
    plain = {"layers": 1, "channels": 8, "train": {"steps": 4, "batch_size": 8}}
    found = times(tiny_recipe(priors=[plain, prior | plain]))
    assert found["prior-top"].step_seconds == 0.5
    assert found["prior-bottom"].step_seconds == pytest.approx(1.5 * 2.0)


def test_random_crops_read_the_picture_in_every_step(tiny_recipe):
    recipe = tiny_recipe(data={"random_crop": 0.8})
    assert times(recipe)["vqvae"].step_seconds == pytest.approx(1.0 + 8 * (0.01 + 0.003))


def test_other_random_changes_read_the_picture_once(tiny_recipe):
    recipe = tiny_recipe(data={"random_rotation": 5.0})
    assert times(recipe)["vqvae"].step_seconds == pytest.approx(1.0 + 8 * 0.003)
    plain = tiny_recipe(data={"random_rotation": 5.0}, vqvae={"augment": False})
    assert times(plain)["vqvae"].step_seconds == 1.0


def test_second_core_hides_most_of_the_reading(tiny_recipe):
    recipe = tiny_recipe(data={"random_crop": 0.8})
    assert 1.0 < times(recipe, cores=2)["vqvae"].step_seconds < 1.0 + 8 * (0.01 + 0.003)


def test_set_that_fits_in_no_cache_is_read_in_every_step(tiny_recipe, monkeypatch):
    read = pytest.approx(1.0 + 8 * (0.01 + 0.001))
    monkeypatch.setattr("vqgen.planning.budget_times.CACHE_LIMIT", 90 * 64)
    assert times(tiny_recipe())["vqvae"].step_seconds == 1.0
    assert times(tiny_recipe(data={"channels": 3}))["vqvae"].step_seconds == read
    monkeypatch.setattr("vqgen.planning.budget_times.CACHE_LIMIT", 90 * 64 - 1)
    assert times(tiny_recipe())["vqvae"].step_seconds == read


def test_extraction_encodes_every_copy(tiny_recipe):
    plain = work(tiny_recipe(), "codes")
    copies = work(tiny_recipe(data={"augmented_copies": 3, "random_rotation": 5.0}), "codes")
    assert copies - plain == pytest.approx(3 * 90 * (0.1 + 0.003))
    crops = work(tiny_recipe(data={"augmented_copies": 3, "random_crop": 0.8}), "codes")
    assert crops - plain == pytest.approx(3 * 90 * (0.1 + 0.003 + 0.01))
    mirrored = work(tiny_recipe(data={"mirrored_copies": True}), "codes")
    assert mirrored - plain == pytest.approx(90 * (0.1 + 0.01 + 0.001))


def test_samples_take_their_number(tiny_recipe):
    one, two = (work(tiny_recipe(generate={"images_per_label": count}), "samples") for count in (1, 2))
    assert two - one == pytest.approx(5 * 0.2)


def test_run_of_one_stage_after_the_other_is_the_sum(tiny_recipe):
    parts = stage_times(tiny_recipe(classifier={}), PICTURES, RATES, 1)
    assert wall_seconds(parts) == pytest.approx(sum(part.seconds for part in parts))


def group(threads=1, **changes):
    seconds = {"vqvae": 50, "codes": 30, "prior-top": 40, "prior-bottom": 60, "classifier": 40, "samples": 10} | changes
    return [StageTime(stage, float(count), threads=threads) for stage, count in seconds.items()]


@pytest.mark.parametrize(
    ("places", "threads", "expected"),
    [
        (Places(1, 1), 1, 140),
        (Places(2, 2), 1, 2 * 3 + 80),  # the two shorter ones, one after the other
        (Places(3, 3), 1, 3 + 60),
        (Places(3, 2), 1, 2 * 3 + 80),
        (Places(2, 2), 2, 3 * 3 + 140),  # each takes both cores
        (Places(2, 9), 3, 3 * 3 + 140),  # more threads than cores: alone
        (Places(4, 9), 2, 2 * 3 + 80),
    ],
)
def test_priors_and_classifier_share_the_places(places, threads, expected):
    assert wall_seconds(group(threads), places) == 90 + expected


def test_short_stages_are_not_worth_a_process():
    parts = group(**{"prior-top": 4, "classifier": 5})
    assert wall_seconds(parts, Places(2, 2)) == wall_seconds(parts)


def test_run_without_stages_side_by_side_has_a_time():
    parts = [StageTime("autoencoder", 50.0), StageTime("samples", 3.0)]
    assert wall_seconds(parts, Places(2, 2)) == 53


def test_second_core_takes_over_the_shorter_work():
    assert overlapped(3.0, 1.0, free_cores=0) == 4.0
    assert 3.0 < overlapped(3.0, 1.0, free_cores=1) < 3.5
    assert overlapped(3.0, 1.0, free_cores=1) == overlapped(1.0, 3.0, free_cores=1)


def test_core_that_computes_does_not_read(tiny_recipe):
    recipe = tiny_recipe(data={"random_crop": 0.8})
    busy = replace(RATES, threads={"vqvae": 2})
    assert times(recipe, cores=2, rates=busy)["vqvae"].step_seconds == pytest.approx(1.0 + 8 * (0.01 + 0.003))
    assert times(recipe, cores=3, rates=busy)["vqvae"].step_seconds < 1.03
