import pytest

from vqgen.config import find_recipe, read_recipe
from vqgen.data import ImageCounts
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import (
    Rates,
    estimate_rates,
    images_of,
    sampled_images,
    steps_of,
    training_sections,
)
from vqgen.planning.build import build_planner
from vqgen.planning.estimates import SECONDS_PER_IMAGE
from vqgen.runtime.compute import Compute

PICTURES = Pictures(ImageCounts(90, 10, 20, 10), 8, True, 0.0, ())
RATES = Rates({"vqvae": 2.0, "prior-top": 3.0}, encode=0.5, sample=0.25, centre=0.1, random=0.2)


def test_ratios_turn_one_machine_into_the_other():
    other = Rates({"vqvae": 4.0, "prior-top": 9.0}, encode=1.0, sample=0.75)
    found = RATES.times(other.over(RATES))
    assert (found.steps, found.encode, found.sample) == (other.steps, other.encode, other.sample)
    assert (found.centre, found.random) == (RATES.centre, RATES.random)


def test_stage_without_a_ratio_takes_the_mean():
    ratios = Rates({"vqvae": 2.0, "prior-top": 4.0}, encode=1.0, sample=1.0)
    assert RATES.times(ratios).steps == {"vqvae": 4.0, "prior-top": 12.0}
    more = Rates({"classifier": 5.0}, encode=1.0, sample=1.0)
    assert more.times(ratios).steps == {"classifier": 15.0}


def test_ratio_to_nothing_is_finite():
    baseline = Rates({"autoencoder": 1.0}, encode=0.0, sample=1.0)
    assert baseline.times(baseline.over(baseline)) == baseline


def test_slower_rates_have_given_transforms():
    assert RATES.slower(2.0, centre=7.0, random=8.0) == Rates(
        {"vqvae": 4.0, "prior-top": 6.0}, encode=1.0, sample=0.5, centre=7.0, random=8.0
    )


def test_estimated_rates_add_up_to_the_plan(make_planner, counts):
    planner = make_planner(data={"augmented_copies": 2, "random_rotation": 5.0})
    rates = estimate_rates(planner.stages(), planner.recipe, PICTURES)
    seconds = {plan.stage: plan.seconds for plan in planner.stages()}
    assert {stage: 4 * rate for stage, rate in rates.steps.items()} == pytest.approx(
        {stage: seconds[stage] for stage in ("vqvae", "prior-top", "prior-bottom")}
    )
    encoded = counts.total + 2 * counts.train
    assert encoded * (rates.encode + SECONDS_PER_IMAGE) == pytest.approx(seconds["codes"])
    assert 10 * rates.sample == pytest.approx(seconds["samples"])


def test_baseline_has_rates_and_encodes_nothing(machine):
    recipe = read_recipe(find_recipe("digits-vae"))
    planner = build_planner(recipe, Compute.resolve("cpu"), {}, measure=False)
    stages = type(planner)(recipe, planner.compute, planner.counts, machine).stages()
    rates = estimate_rates(stages, recipe, PICTURES)
    assert list(rates.steps) == [stage for stage, _ in training_sections(recipe)]
    assert rates.encode < 1e-6


def test_priors_train_on_copies_too(tiny_recipe):
    recipe = tiny_recipe(data={"augmented_copies": 2, "random_rotation": 5.0})
    assert images_of(recipe, "vqvae", PICTURES) == 90
    assert images_of(recipe, "prior-top", PICTURES) == 270


def test_epochs_are_counted_in_steps(tiny_recipe):
    train = tiny_recipe(vqvae={"train": {"epochs": 2.5, "batch_size": 16}}).vqvae.train
    assert steps_of(train, 90) == 15  # 225 images
    assert steps_of(tiny_recipe().vqvae.train, 90) == 4


def test_samples_that_are_not_kept_count(tiny_recipe):
    recipe = tiny_recipe(generate={"images_per_label": 3, "keep": 0.5}, classifier={})
    assert sampled_images(recipe, 10) == 60
    assert sampled_images(recipe, 0) == 6
