from typing import Any

import pytest

from vqgen.config import BaselineRecipe
from vqgen.config.loading import validate_recipe
from vqgen.models.autoencoders.kinds import build_baseline
from vqgen.planning.baseline_costs import baseline_costs
from vqgen.planning.baseline_planner import BaselinePlanner
from vqgen.planning.plans import StagePlan
from vqgen.runtime.compute import Compute


def make_recipe(**sections: Any) -> BaselineRecipe:
    train = {"steps": 6, "batch_size": 8, "validate_every": 4}
    document = {
        "name": "b",
        "data": {"source": "digits", "image_size": 16, "channels": 1},
        "autoencoder": {"kind": "vae", "latent_size": 4, "channels": 8, "residual_channels": 4, "train": train},
        "generate": {"images_per_label": 3},
    }
    recipe = validate_recipe(document | sections, origin="b")
    assert isinstance(recipe, BaselineRecipe)
    return recipe


def plans(recipe: BaselineRecipe, counts: object, machine: object = None) -> dict[str, StagePlan]:
    planner = BaselinePlanner(recipe, Compute.resolve("cpu"), counts, machine)  # type: ignore[arg-type]
    return {stage.stage: stage for stage in planner.stages()}


def test_plans_have_the_order_of_a_run(counts):
    assert list(plans(make_recipe(), counts)) == ["autoencoder", "samples"]
    assert list(plans(make_recipe(classifier={}), counts)) == ["autoencoder", "classifier", "samples"]


def test_validation_decodes_draws_and_the_most_likely_latents(counts, machine):
    recipe = make_recipe()
    config = recipe.autoencoder_config(10)
    costs = baseline_costs(config)
    stage = plans(recipe, counts, machine)["autoencoder"]
    assert stage.parameters == sum(p.numel() for p in build_baseline(config).parameters())
    validation = 2 * counts.validation * (costs.total.flops + costs.decoder.flops)
    assert stage.total_flops == 6 * 8 * costs.train_flops + validation
    assert stage.seconds > 0


@pytest.mark.parametrize(("labels", "images"), [("unused", 3), ("conditional", 30)])
def test_samples_are_one_step_for_each_image(counts, labels, images):
    recipe = make_recipe(autoencoder={"kind": "vae", "labels": labels})
    samples = plans(recipe, counts)["samples"]
    assert samples.steps_per_sample == 1
    assert samples.total_flops == images * samples.image_flops


def test_plan_without_images_has_no_cost_that_depends_on_their_number():
    stages = plans(make_recipe(), None)
    assert stages["autoencoder"].total_flops is not None  # of the steps; the recipe gives their number
    assert stages["samples"].total_flops is None
