"""The recipe of a baseline: its section, its checks, its fingerprint."""

import pytest

from vqgen.config import BaselineRecipe, Recipe, check_recipe, require_codes, result_fields, stage_fields
from vqgen.config.loading import validate_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.errors import ConfigError


def make(**changes):
    document = {"name": "b", "data": {"source": "digits", "image_size": 16, "channels": 1}, "autoencoder": {}} | changes
    return validate_recipe(document, origin="b")


def test_section_decides_the_kind_of_a_recipe(tiny_recipe):
    assert isinstance(make(), BaselineRecipe)
    assert isinstance(tiny_recipe(), Recipe)


def test_recipe_of_a_baseline_is_refused_where_codes_are_needed(tiny_recipe):
    recipe = tiny_recipe()
    assert require_codes(recipe) is recipe
    with pytest.raises(ConfigError, match=r"recipe 'b': should have \[vqvae\] .*without codes \(vae\); `vqgen run`"):
        require_codes(make())


def test_labels_reach_only_models_that_use_them():
    assert make().autoencoder_config(10).num_classes == 0
    assert make(autoencoder={"labels": "conditional"}).autoencoder_config(10).num_classes == 10
    assert make(autoencoder={"kind": "autoencoder"}).autoencoder_config(10).num_classes == 10


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "vae", "mixture_components": 3}, 'kind = "vae" uses, found mixture_components = 3'),
        ({"kind": "gan"}, "autoencoder.kind"),
        ({"latent_sise": 3}, "did you mean 'latent_size'"),
    ],
)
def test_wrong_section_is_refused(section, message):
    with pytest.raises(ConfigError) as caught:
        make(autoencoder=section)
    assert message in str(caught.value)


def test_fields_without_a_meaning_for_latents_are_refused():
    recipe = make(
        autoencoder={"kind": "binary-vae"},
        generate={"top_k": 3, "guidance_scale": 2.0, "autoguidance_scale": 2.0, "temperature": 0.5},
        data={
            "source": "digits", "image_size": 6, "channels": 1, "augmented_copies": 2, "mirrored_copies": True,
            "random_shift": 1,
        },
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe)
    for part in (
        "generate.top_k: should be left out of a baseline, which has neither codes nor logits, found 3",
        "generate.guidance_scale",
        "generate.autoguidance_scale",
        "generate.temperature: should be 1 for bits that are fair coins, found 0.5",
        "data.image_size: should be even and at least 8 for [autoencoder], found 6",
        "data.augmented_copies: should be left out of a baseline, which has no codes, found 2",
        "data.mirrored_copies: should be left out of a baseline, which has no codes, found True",
    ):
        assert part in str(caught.value)


def test_stages_are_the_autoencoder_and_the_samples():
    assert make().stage_names == ["autoencoder", "samples"]
    assert make(classifier={}).stage_names == ["autoencoder", "classifier", "samples"]


@pytest.mark.parametrize("stage", ["vqvae", "codes", "prior-top"])
def test_stage_of_a_vqvae_is_refused(stage):
    with pytest.raises(ConfigError, match=r"recipe 'b': should have \[vqvae\]"):
        make().stage_section(stage)


def test_summary_names_the_size_and_the_training():
    recipe = make(autoencoder={"labels": "conditional", "train": {"steps": 7, "batch_size": 3}})
    assert recipe.summary() == ["  vae  20 latents, 64 channels, conditioned on the label, 7 steps at batch 3"]


def test_option_changes_only_the_fingerprint_of_its_stage():
    before = make()
    after = apply_overrides(before, ["--autoencoder.latent-size", "3", "--autoencoder.kind", "binary-vae"])
    assert isinstance(after, BaselineRecipe) and after.autoencoder.latent_size == 3
    assert stage_fields(before, "autoencoder") != stage_fields(after, "autoencoder")
    assert stage_fields(before, "samples") == stage_fields(after, "samples")


def test_added_fields_of_the_classifier_change_no_fingerprint_of_old_runs():
    fields = result_fields(make().classifier_or_default, "classifier")
    assert not {"classifier.kind", "classifier.hidden"} & fields.keys()
