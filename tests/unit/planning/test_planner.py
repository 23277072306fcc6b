"""The plans of a VQ-VAE and its priors: operations, guidance, the label contrast, and rates that a run measured."""

import math

import pytest

from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.order import CausalOrder
from vqgen.planning.costs import prior_costs, vqvae_costs
from vqgen.planning.estimates import SECONDS_PER_IMAGE


def test_plans_have_the_order_of_a_run(plan):
    assert list(plan()) == ["vqvae", "codes", "prior-top", "prior-bottom", "samples"]
    assert list(plan(classifier={})) == ["vqvae", "codes", "prior-top", "prior-bottom", "classifier", "samples"]


def test_parameters_and_steps_are_counted_as_in_the_models(plan, tiny_recipe):
    recipe = tiny_recipe()
    stages = plan()
    assert stages["vqvae"].parameters == sum(p.numel() for p in VQVAE(recipe.vqvae_config()).parameters())
    for level in recipe.levels:
        model = PixelCNN(recipe.prior_config(level, 10))
        assert stages[f"prior-{level}"].parameters == sum(p.numel() for p in model.parameters())
        assert stages[f"prior-{level}"].steps_per_sample == model.order.num_steps
    assert stages["samples"].steps_per_sample == sum(CausalOrder(side, side, 2).num_steps for side in (2, 4))


def test_operations_of_a_stage_include_its_validations(plan, tiny_recipe):
    """4 steps of 8 images, validated every 2 steps. A prior is evaluated once on its training images, too."""
    data = {"augmented_copies": 3, "horizontal_flip": True, "mirrored_copies": True}
    recipe = tiny_recipe(data=data)
    stages = plan(data=data)
    vqvae = vqvae_costs(recipe.vqvae_config())
    assert stages["vqvae"].total_flops == 4 * 8 * vqvae.train_flops + 2 * 10 * vqvae.total.flops
    assert stages["codes"].total_flops == (90 + 10 + 20 + (3 + 1) * 90) * vqvae.encode.flops
    top = prior_costs(recipe.prior_config("top", 10), dense=True).total.flops
    assert stages["prior-top"].total_flops == 4 * 8 * 3 * top + (2 * 10 + 90) * top
    open_flops = sum(stages[f"prior-{level}"].open_flops for level in recipe.levels)
    assert stages["samples"].image_flops == open_flops + vqvae.decode.flops
    assert stages["samples"].total_flops == 10 * stages["samples"].image_flops


def test_extraction_takes_time_for_operations_and_for_reading(plan, machine, counts):
    stages = plan(machine=machine)
    images = counts.train + counts.validation + counts.test
    assert stages["codes"].seconds > images * SECONDS_PER_IMAGE


@pytest.mark.parametrize(("scales", "copies"), [((1.5, 1.0), 2), ((1.0, 1.5), 2), ((1.5, 1.5), 3)])
def test_each_guidance_evaluates_an_image_once_more(plan, tiny_recipe, scales, copies):
    priors = [prior.model_dump() | {"guide_share": 0.5} for prior in tiny_recipe().priors]
    scale, auto_scale = scales
    generate = {"images_per_label": 1, "guidance_scale": scale, "autoguidance_scale": auto_scale}
    free = plan(priors=priors)["samples"]
    guided = plan(priors=priors, generate=generate)["samples"]
    decoding = vqvae_costs(tiny_recipe().vqvae_config()).decode.flops
    assert guided.image_flops - decoding == copies * (free.image_flops - decoding)
    assert guided.sampling_bytes == copies * free.sampling_bytes
    if scale == 1:
        assert guided.seconds == pytest.approx(2 * free.seconds)  # a guide reads its own weights
    else:
        assert guided.seconds > free.seconds


def test_steps_with_the_label_contrast_compute_everything_twice(plan, tiny_recipe):
    plain = tiny_recipe().priors[1].model_dump()
    contrasted = plain | {"label_contrast": 2.0, "label_contrast_share": 0.3}  # 2 of 4 steps
    stages = plan(priors=[plain, contrasted])
    before = plan()
    added = stages["prior-bottom"].total_flops - before["prior-bottom"].total_flops
    assert added == 2 * stages["prior-bottom"].step_flops
    kept = prior_costs(tiny_recipe().prior_config("bottom", 10)).total.kept
    assert stages["prior-bottom"].training_bytes - before["prior-bottom"].training_bytes == 4 * 8 * kept
    assert stages["prior-top"].training_bytes == before["prior-top"].training_bytes


def test_epochs_are_counted_in_images(plan):
    steps = plan(vqvae={"train": {"steps": 23, "batch_size": 8}})["vqvae"]
    epochs = plan(vqvae={"train": {"epochs": 2, "batch_size": 8}})["vqvae"]
    assert steps.step_flops == epochs.step_flops
    assert steps.total_flops == epochs.total_flops  # 2 x 90 images in 23 batches


def test_plan_without_images_has_no_cost_that_depends_on_their_number(plan):
    stages = plan(counts=None, vqvae={"train": {"epochs": 1.0}})
    assert stages["vqvae"].total_flops is None and stages["vqvae"].step_flops is not None
    assert stages["codes"].total_flops is None and stages["codes"].image_flops is not None
    assert stages["samples"].total_flops is None and stages["samples"].image_flops is not None
    assert stages["prior-top"].total_flops == 4 * stages["prior-top"].step_flops
    assert [stage.seconds is None for stage in stages.values()] == [True, True, False, False, True]


def test_plan_without_a_machine_has_no_times(plan):
    assert all(stage.seconds is None for stage in plan(machine=None).values())


# bits per pixel


def test_raw_bits_are_the_bound_of_a_rate_that_no_prior_has_measured(plan):
    stages = plan()
    assert stages["prior-top"].raw_bpp == 3 * 4 / 64
    assert stages["prior-bottom"].raw_bpp == 3 * 16 / 64
    assert stages["vqvae"].raw_bpp == stages["samples"].raw_bpp == stages["samples"].expected_bpp == 3 * 20 / 64
    assert not any(stage.is_measured for stage in stages.values())


def test_expected_bits_are_the_measured_rates(plan):
    stages = plan(measured_bpp={"top": 0.1})
    assert (stages["prior-top"].expected_bpp, stages["prior-top"].is_measured) == (0.1, True)
    assert not stages["prior-bottom"].is_measured and not stages["samples"].is_measured
    samples = plan(measured_bpp={"top": 0.1, "bottom": 0.2})["samples"]
    assert samples.is_measured and math.isclose(samples.expected_bpp, 0.3)
