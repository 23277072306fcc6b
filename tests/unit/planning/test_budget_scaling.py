import pytest

from vqgen.config import check_recipe, find_recipe, read_recipe, shipped_recipes, stage_fields
from vqgen.config.loading import validate_recipe
from vqgen.planning.budget_rates import training_sections
from vqgen.planning.budget_scaling import (
    LEAST_STEPS,
    map_sections,
    narrowed,
    with_intervals,
    with_limits,
    with_share,
    with_useful_copies,
)
from vqgen.training.optimization import learning_rate_at


def shipped(name="digits"):
    return read_recipe(find_recipe(name))


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("share", [0.0, 0.3, 1.7])
def test_every_shipped_recipe_with_a_share_of_its_steps_is_valid(name, share):
    recipe = with_share(shipped(name), share)
    again = validate_recipe(recipe.model_dump(mode="json"), origin=name)
    assert again == recipe
    check_recipe(recipe, needs_images=False)
    for (stage, train), (_, before) in zip(training_sections(recipe), training_sections(shipped(name)), strict=True):
        assert train.steps == max(LEAST_STEPS, round(share * before.steps)), stage


def test_all_steps_are_the_recipe_itself():
    recipe = shipped()
    assert with_share(recipe, 1) is recipe
    assert narrowed(recipe, 1) is recipe


def test_schedule_of_a_share_is_the_schedule_of_the_recipe(tiny_recipe):
    train = {"steps": 1000, "warmup_steps": 100, "validate_every": 50, "ema_decay": 0.99}
    recipe = tiny_recipe(vqvae={"train": train, "quantize_after": 300})
    half = with_share(recipe, 0.5)
    short = half.vqvae.train
    assert (short.steps, short.warmup_steps, short.validate_every) == (500, 50, 25)
    assert short.ema_decay == pytest.approx(0.98)
    assert half.vqvae.quantize_after == 150
    rates = [learning_rate_at(2 * step, 1000, recipe.vqvae.train) for step in range(60, 500)]
    assert [learning_rate_at(step, 500, short) for step in range(60, 500)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("before", "share", "after"), [(500, 0.1, 100), (500, 0.5, 250), (80, 0.1, 80), (0, 0.1, 0), (100, 3.0, 100)]
)
def test_unquantized_steps_stay_enough_for_the_top_level(tiny_recipe, before, share, after):
    recipe = tiny_recipe(vqvae={"train": {"steps": 4000}, "quantize_after": before})
    assert with_share(recipe, share).vqvae.quantize_after == after


def test_training_with_few_steps_keeps_them(tiny_recipe):
    recipe = tiny_recipe()
    assert with_share(recipe, 0.1).vqvae.train.steps == recipe.vqvae.train.steps == 4


def test_epochs_are_scaled_and_never_vanish(tiny_recipe):
    recipe = tiny_recipe(vqvae={"train": {"epochs": 10.0, "ema_decay": 0.9}})
    assert with_share(recipe, 0.5).vqvae.train.epochs == 5
    least = with_share(recipe, 0.0).vqvae.train
    assert least.epochs == pytest.approx(0.2)
    assert least.ema_decay == 0


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("width", [0.75, 0.5, 0.25])
def test_every_shipped_recipe_with_narrower_models_is_valid(name, width):
    recipe = narrowed(shipped(name), width)
    assert validate_recipe(recipe.model_dump(mode="json"), origin=name) == recipe
    check_recipe(recipe, needs_images=False)


def test_narrower_models_have_the_same_structure():
    before = shipped("cifar10")
    after = narrowed(before, 0.5)
    assert after.vqvae.channels == before.vqvae.channels // 2
    assert after.vqvae.downsample == before.vqvae.downsample
    assert [prior.channels for prior in after.priors] == [128, 128]
    assert [prior.layers for prior in after.priors] == [prior.layers for prior in before.priors]
    assert [prior.train for prior in after.priors] == [prior.train for prior in before.priors]


def test_models_are_never_widened(tiny_recipe):
    recipe = tiny_recipe()
    assert narrowed(recipe, 0.25) == recipe  # its 8 channels are fewer than the least number


def test_heads_divide_narrower_channels(tiny_recipe):
    recipe = tiny_recipe(priors=[{"channels": 120, "attention_every": 1, "layers": 1, "attention_heads": 12}] * 2)
    prior = narrowed(recipe, 0.5).priors[0]
    assert prior.channels < 120
    assert prior.channels % 12 == 0


def test_copies_that_no_prior_draws_are_left_out(tiny_recipe):
    data = {"augmented_copies": 20, "random_rotation": 5.0}
    recipe = tiny_recipe(data=data)  # 4 steps of 8 images
    assert with_useful_copies(recipe, 10).data.augmented_copies == 4
    assert with_useful_copies(recipe, 1000).data.augmented_copies == 1
    assert with_useful_copies(recipe, 1).data.augmented_copies == 20
    assert with_useful_copies(tiny_recipe(), 10).data.augmented_copies == 0


def test_copies_of_priors_with_epochs_stay(tiny_recipe):
    prior = {"layers": 1, "channels": 8, "train": {"epochs": 2.0}}
    recipe = tiny_recipe(data={"augmented_copies": 20, "random_rotation": 5.0}, priors=[prior] * 2)
    assert with_useful_copies(recipe, 1000) == recipe
    assert with_useful_copies(shipped("digits-vae"), 10) == shipped("digits-vae")


def test_slow_steps_are_logged_and_saved_more_often_and_fast_ones_as_before():
    recipe = shipped()
    stages = [stage for stage, _ in training_sections(recipe)]
    slow = with_intervals(recipe, dict.fromkeys(stages, 1.0))
    assert {train.save_every for _, train in training_sections(slow)} == {30}
    assert {train.log_every for _, train in training_sections(slow)} == {2}
    assert with_intervals(recipe, dict.fromkeys(stages, 1e-9)) == recipe
    very_slow = with_intervals(recipe, dict.fromkeys(stages, 1e6))
    assert {train.save_every for _, train in training_sections(very_slow)} == {1}


def test_limits_belong_to_their_stages_and_to_no_fingerprint():
    recipe = shipped()
    limited = with_limits(recipe, {"vqvae": 12.34, "prior-bottom": 5.0})
    limits = {stage: train.max_seconds for stage, train in training_sections(limited)}
    assert limits == {"vqvae": 12.3, "prior-top": None, "prior-bottom": 5.0, "classifier": None}
    for stage in recipe.stage_names:
        assert stage_fields(limited, stage) == stage_fields(recipe, stage)


def test_limit_that_the_user_gave_stays():
    recipe = with_limits(shipped(), {"vqvae": 7.0})
    assert with_limits(recipe, {"vqvae": 100.0}).vqvae.train.max_seconds == 7


@pytest.mark.parametrize(
    ("name", "stages"),
    [("digits", ["vqvae", "prior-top", "prior-bottom", "classifier"]), ("digits-vae", ["autoencoder", "classifier"])],
)
def test_sections_are_changed_stage_by_stage(name, stages):
    seen = []
    recipe = shipped(name)
    assert map_sections(recipe, lambda stage, section: (seen.append(stage), section)[1]) == recipe
    assert seen == [stage for stage in stages if recipe.classifier or stage != "classifier"]
