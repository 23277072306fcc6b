"""The choice on synthetic machines: rates that follow from the FLOPs of a recipe alone."""

from itertools import pairwise

import pytest

from vqgen.config import find_recipe, read_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.data import ImageCounts
from vqgen.planning.budget_choice import Chooser, TooShortError, time_limits
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import Rates, training_sections
from vqgen.planning.budget_tiers import TIERS, candidates
from vqgen.planning.budget_times import ONE_BY_ONE, Places, StageTime, wall_seconds
from vqgen.planning.costs import classifier_costs, prior_costs, vqvae_costs

FOLDER = read_recipe(find_recipe("folder"))
PHOTOS = Pictures(ImageCounts(4500, 500, 0, 5), 128, False, 1e-4, ())


def work(recipe, stage, classes=5):
    """FLOPs of a training step."""
    if stage == "vqvae":
        return recipe.vqvae.train.batch_size * vqvae_costs(recipe.vqvae_config()).train_flops
    if stage == "classifier":
        train = recipe.classifier.train
        return 3 * train.batch_size * classifier_costs(recipe.classifier_config(classes)).flops
    level = stage.removeprefix("prior-")
    flops = prior_costs(recipe.prior_config(level, classes)).total.flops
    return 3 * recipe.prior(level).train.batch_size * flops


def rates(recipe, speed):
    return Rates(
        {stage: work(recipe, stage) / speed for stage, _ in training_sections(recipe)},
        encode=vqvae_costs(recipe.vqvae_config()).encode.flops / speed,
        sample=sum(prior_costs(recipe.prior_config(level, 5)).total.flops for level in recipe.levels) / speed,
    )


def total_work(recipe):
    return sum(train.steps * work(recipe, stage) for stage, train in training_sections(recipe))


def chooser(budget, speed=3e10, options=(), pictures=PHOTOS, estimate=None, measured=None, **changes):
    """Builds the search on a machine of some FLOP/s, whose estimates are right unless others are given."""
    seen = [] if measured is None else measured

    def measure(recipe):
        seen.append(recipe)
        return rates(recipe, speed)

    rows = candidates(FOLDER, pictures, lambda recipe: apply_overrides(recipe, list(options)), is_free=True)
    settings = {"cores": 1} | changes
    return Chooser(
        rows, pictures, lambda: budget, estimate or (lambda recipe: rates(recipe, speed)), measure, **settings
    )


def choose(*arguments, **changes):
    return chooser(*arguments, **changes).choose()


@pytest.mark.parametrize("budget", [200, 600, 2700, 10_000, 50_000])
def test_chosen_run_fills_the_time_and_ends_in_it(budget):
    choice = choose(float(budget))
    assert 0.9 * budget < choice.seconds <= budget
    assert choice.seconds == pytest.approx(wall_seconds(choice.times))
    assert {time.stage: time.steps for time in choice.times if time.steps} == {
        stage: train.steps for stage, train in training_sections(choice.recipe)
    }


@pytest.mark.slow
def test_more_time_never_chooses_less_work():
    budgets = [150 * 1.5**power for power in range(16)]
    work_of = [total_work(choose(budget).recipe) for budget in budgets]
    assert all(after >= 0.98 * before for before, after in pairwise(work_of))
    assert work_of[-1] > 100 * work_of[0]


def test_faster_machine_chooses_a_larger_size():
    names = [choose(1000.0, speed).name for speed in (5e9, 5e10, 5e11, 5e13)]
    places = [["the recipe itself", *(tier.name for tier in reversed(TIERS))].index(name) for name in names]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == 4


def test_plan_of_a_slow_machine_has_the_fewest_steps_of_the_smallest_size():
    least = chooser(1.0, speed=1e9)
    with pytest.raises(TooShortError) as refused:
        least.choose()
    choice = choose(1.01 * refused.value.least_seconds, speed=1e9)
    assert choice.name == TIERS[0].name
    assert min(train.steps for _, train in training_sections(choice.recipe)) == 60
    with pytest.raises(TooShortError):
        choose(0.99 * refused.value.least_seconds, speed=1e9)


def test_fields_of_the_user_are_kept_and_their_time_is_counted():
    options = ["--priors.1.layers", "9", "--vqvae.train.steps", "321", "--data.image-size", "96"]
    choice = choose(5000.0, options=options)
    assert choice.recipe.priors[1].layers == 9
    assert choice.recipe.vqvae.train.steps == 321
    assert choice.recipe.data.image_size == 96
    assert 4000 < choice.seconds <= 5000


def test_only_the_candidates_near_the_limit_are_measured():
    measured = []
    choice = choose(2000.0, measured=measured)
    assert len(measured) <= 2
    assert next(tried for tried in choice.tried if tried.name == choice.name).is_measured


@pytest.mark.parametrize("factor", [0.2, 5.0])
def test_wrong_estimates_are_corrected_by_measurements(factor):
    right = choose(3000.0)
    wrong = choose(3000.0, estimate=lambda recipe: rates(recipe, 3e10 * factor))
    assert (wrong.name, wrong.share) == (right.name, right.share)


def test_time_that_measuring_takes_is_not_planned():
    left = [3000.0]

    def slow(recipe):
        left[0] -= 100
        return rates(recipe, 3e10)

    search = chooser(3000.0)
    search.left = lambda: left[0]
    search.measure = slow
    assert search.choose().seconds <= left[0] < 3000


def test_long_measuring_ends_with_careful_estimates():
    left = [3000.0]
    measured = []

    def very_slow(recipe):
        measured.append(recipe)
        left[0] -= 1000
        return rates(recipe, 3e10)

    search = chooser(3000.0, estimate=lambda recipe: rates(recipe, 1e13))
    search.left = lambda: left[0]
    search.measure = very_slow
    choice = search.choose()
    assert len(measured) == 1
    assert choice.seconds <= left[0]


def test_recipe_that_fits_is_left_as_it_is():
    recipe = read_recipe(find_recipe("digits"))
    rows = candidates(recipe, PHOTOS, lambda each: each, is_free=False)
    search = Chooser(rows, PHOTOS, lambda: 1e6, lambda r: rates(r, 3e10), lambda r: rates(r, 3e10), 1)
    choice = search.choose()
    assert (choice.name, choice.share) == ("the recipe itself", 1.0)
    changed = choice.recipe.model_dump()
    for section in (changed["vqvae"], *changed["priors"], changed["classifier"]):
        section["train"] |= {"save_every": 200, "log_every": 20}
    assert changed == recipe.model_dump()


def test_recipe_of_its_own_sizes_loses_steps_first_and_channels_later():
    recipe = read_recipe(find_recipe("digits"))
    rows = candidates(recipe, PHOTOS, lambda each: each, is_free=False)

    def chosen(budget):
        search = Chooser(rows, PHOTOS, lambda: budget, lambda r: rates(r, 3e10), lambda r: rates(r, 3e10), 1)
        return search.choose()

    whole = chosen(1e6).seconds
    fewer = chosen(0.8 * whole)
    assert (fewer.name, fewer.recipe.vqvae.channels) == ("the recipe itself", recipe.vqvae.channels)
    assert fewer.share < 1
    assert chosen(0.3 * whole).recipe.vqvae.channels < recipe.vqvae.channels


def test_stages_side_by_side_leave_time_for_more():
    one, two = (choose(2000.0, places=places) for places in (ONE_BY_ONE, Places(2, 2)))
    assert total_work(two.recipe) > total_work(one.recipe)
    assert two.seconds <= 2000


def test_tried_candidates_begin_above_the_chosen_one():
    choice = choose(2000.0)
    names = [tried.name for tried in choice.tried]
    assert names.index(choice.name) == 1
    assert choice.tried[0].least_seconds > 2000
    assert choice.tried[1].least_seconds <= 2000


# limits


PARTS = [
    StageTime("vqvae", 110.0, 100, 1.0, 100.0),
    StageTime("codes", 20.0),
    StageTime("prior-top", 60.0, 50, 1.0, 50.0),
    StageTime("samples", 10.0),
]


def test_limits_share_the_time_in_proportion():
    assert time_limits(PARTS, 200.0, {}, []) == pytest.approx({"vqvae": 100.0, "prior-top": 50.0})
    assert time_limits(PARTS, 220.0, {}, []) == pytest.approx({"vqvae": 110.0, "prior-top": 55.0})


def test_complete_run_has_no_limits():
    assert time_limits(PARTS, 90.0, {}, [part.stage for part in PARTS]) == {}


def test_complete_stage_has_no_limit_and_leaves_its_time():
    found = time_limits(PARTS, 90.0, {"vqvae": 130.0}, ["vqvae"])
    assert found == pytest.approx({"prior-top": 50.0})


def test_time_that_a_cut_training_has_taken_is_part_of_its_limit():
    found = time_limits(PARTS, 160.0, {"vqvae": 40.0}, [])
    assert found == pytest.approx({"vqvae": 100.0, "prior-top": 50.0})


def test_time_that_is_used_up_leaves_the_time_taken():
    found = time_limits(PARTS, -5.0, {"vqvae": 40.0}, [])
    assert found == {"vqvae": 40.0, "prior-top": 1.0}
