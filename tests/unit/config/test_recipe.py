import numpy as np
import pytest

from vqgen.config import ClassifierSection, CommonRecipe
from vqgen.config.loading import validate_recipe
from vqgen.errors import ConfigError


def test_stages_follow_the_levels(tiny_recipe):
    assert tiny_recipe().stage_names == ["vqvae", "codes", "prior-top", "prior-bottom", "samples"]
    assert tiny_recipe(vqvae={"downsample": [2]}).generator_stages == ["vqvae", "codes", "prior-bottom"]
    assert tiny_recipe(classifier={}).stage_names[-2:] == ["classifier", "samples"]


def test_every_stage_but_the_codes_has_its_section(tiny_recipe):
    recipe = tiny_recipe(classifier={})
    paths = {stage: found and found[0] for stage in recipe.stage_names for found in [recipe.stage_section(stage)]}
    assert paths == {
        "vqvae": "vqvae", "codes": None, "prior-top": "priors.0", "prior-bottom": "priors.1",
        "classifier": "classifier", "samples": "generate",
    }  # fmt: skip
    assert recipe.stage_section("prior-bottom") == ("priors.1", recipe.priors[1])
    assert recipe.stage_section("prior-middle") is None


def test_recipe_without_a_classifier_has_a_default_section_for_it(tiny_recipe):
    recipe = tiny_recipe()
    assert recipe.classifier is None
    assert recipe.stage_section("classifier") == ("classifier", ClassifierSection())


def test_trainings_are_those_of_the_stages_that_train(tiny_recipe):
    recipe = tiny_recipe(classifier={"train": {"steps": 3}})
    expected = [recipe.vqvae.train, recipe.priors[0].train, recipe.priors[1].train, recipe.classifier.train]
    assert recipe.trainings == expected


def test_common_recipe_has_no_generator_of_its_own():
    with pytest.raises(TypeError, match="abstract"):
        CommonRecipe(name="x", data={"source": "digits", "image_size": 8})


def test_grids_follow_the_downsampling(tiny_recipe):
    assert tiny_recipe().levels == ("top", "bottom")
    assert [tiny_recipe().grid_side(level) for level in ("top", "bottom")] == [2, 4]


def test_each_prior_is_conditioned_on_the_next_coarser_level(tiny_recipe, tiny_document):
    recipe = tiny_recipe(
        vqvae={"downsample": [8, 4, 2]}, data={"image_size": 16}, priors=[tiny_document()["priors"][0]] * 3
    )
    priors = [recipe.prior_config(level, num_classes=10) for level in recipe.levels]
    assert [prior.level for prior in priors] == ["top", "middle", "bottom"]
    assert [(prior.height, prior.coarser_height) for prior in priors] == [(2, 0), (4, 2), (8, 4)]
    assert [prior.is_conditioned for prior in priors] == [False, True, True]
    assert {prior.num_classes for prior in priors} == {10}


def test_second_grid_of_a_level_is_conditioned_on_the_first_of_the_same_size(tiny_recipe):
    recipe = tiny_recipe(vqvae={"quantizer": {"depth": [1, 2]}})
    priors = [recipe.prior_config(level, num_classes=10) for level in recipe.levels]
    assert [prior.level for prior in priors] == ["top", "bottom", "bottom-2"]
    assert [prior.height // max(1, prior.coarser_height) for prior in priors] == [priors[0].height, 2, 1]
    assert recipe.generator_stages[2:] == ["prior-top", "prior-bottom", "prior-bottom-2"]


def test_prior_is_conditioned_on_as_many_grids_of_one_size_as_there_are(tiny_recipe, tiny_document):
    sections = [{**tiny_document()["priors"][0], "conditioning_grids": 2}] * 2
    recipe = tiny_recipe(vqvae={"quantizer": {"depth": [2, 4]}}, priors=sections)
    priors = [recipe.prior_config(level, num_classes=10) for level in recipe.levels]
    found = {prior.level: prior.conditioning_grids for prior in priors}
    assert found == {"top": 1, "top-2": 1, "bottom": 2, "bottom-2": 1, "bottom-3": 2, "bottom-4": 2}


def test_one_prior_of_a_level_serves_all_its_grids(tiny_recipe, tiny_document):
    first, second, third = ({**tiny_document()["priors"][0], "layers": layers} for layers in (1, 2, 3))
    vqvae = {"quantizer": {"depth": [1, 2]}}
    of_levels = tiny_recipe(vqvae=vqvae, priors=[first, second])
    assert [prior.layers for prior in of_levels.priors] == [1, 2, 2]
    assert [prior.layers for prior in tiny_recipe(vqvae=vqvae, priors=[first, second, third]).priors] == [1, 2, 3]
    # What is stored has a section for each grid, and is read as it is.
    assert type(of_levels).model_validate(of_levels.model_dump(mode="json")) == of_levels


def test_models_are_built_for_the_images_of_the_recipe(tiny_recipe):
    recipe = tiny_recipe(classifier={"channels": 8})
    assert (recipe.vqvae_config().image_size, recipe.vqvae_config().image_channels) == (8, 1)
    classifier = recipe.classifier_config(num_classes=10)
    assert (classifier.channels, classifier.image_size, classifier.num_classes) == (8, 8, 10)


def test_warm_up_takes_at_most_a_quarter_of_the_training(tiny_recipe):
    recipe = tiny_recipe(vqvae={"quantize_after": 200, "train": {"steps": 100}})
    assert recipe.vqvae_config().quantize_after == 25
    assert recipe.vqvae_config(total_steps=8000).quantize_after == 200


def test_classifier_with_other_steps_has_no_epochs():
    section = ClassifierSection(train={"epochs": 3.0, "batch_size": 7}).with_steps(5)
    assert (section.train.steps, section.train.epochs, section.train.batch_size) == (5, None, 7)


def test_summary_has_a_line_for_the_vqvae_and_for_each_level(tiny_recipe):
    assert tiny_recipe().summary() == [
        "  vqvae    8 codes of 4 dimensions, 8 channels, 4 steps at batch 8",
        "  top      2 x 2 codes in 4 steps (slope 2), 2 layers of 8 channels, 4 steps at batch 8",
        "  bottom   4 x 4 codes in 10 steps (slope 2), 2 layers of 8 channels, 4 steps at batch 8",
    ]


@pytest.mark.parametrize(
    ("settings", "size"), [({"channels": 32}, "32 channels"), ({"kind": "hidden-layer", "hidden": 9}, "9 hidden units")]
)
def test_summary_of_a_classifier_names_its_size(settings, size):
    assert ClassifierSection(**settings).summary() == f"{size}, 1000 steps at batch 64"


def test_sampling_has_the_parameters_of_a_request(tiny_recipe):
    sampling = tiny_recipe(generate={"top_k": 3, "keep": 0.5}).generate.sampling
    assert sampling == {
        "temperature": 1.0, "top_k": 3, "top_p": None, "guidance_scale": 1.0, "autoguidance_scale": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [5.0, "5.0", "1e3", "1_0", True, "true", -1, 2**1024, None])
def test_seed_that_is_no_whole_number_is_refused(tiny_document, seed):
    with pytest.raises(ConfigError, match="\n  seed: should be "):
        validate_recipe(tiny_document(seed=seed), origin="tiny")


@pytest.mark.parametrize("seed", [0, "7", 2**63, 2**64 - 1, 10**40, np.int64(7), np.uint64(2**64 - 1)])
def test_whole_number_of_any_size_and_library_is_a_seed(tiny_document, seed):
    found = validate_recipe(tiny_document(seed=seed), origin="tiny").seed
    assert found == int(seed)
    assert type(found) is int
