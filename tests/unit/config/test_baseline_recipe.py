"""A recipe of a baseline: its sections, its checks, its fingerprint."""

import pytest

from vqgen.config import BaselineRecipe, Recipe, check_recipe, require_codes, result_fields, stage_fields
from vqgen.config.loading import validate_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.errors import ConfigError


def make(**changes):
    document = {"name": "b", "data": {"source": "digits", "image_size": 16, "channels": 1}, "autoencoder": {}} | changes
    return validate_recipe(document, origin="b")


def test_the_section_decides_what_a_recipe_is(tiny_recipe):
    assert isinstance(make(), BaselineRecipe)
    assert isinstance(tiny_recipe(), Recipe)
    assert require_codes(tiny_recipe()) is not None
    with pytest.raises(ConfigError, match=r"recipe 'b'.*without codes \(vae\)"):
        require_codes(make())


def test_labels_are_told_only_to_models_that_use_them():
    assert make().autoencoder_config(10).num_classes == 0
    conditional = make(autoencoder={"labels": "conditional"}).autoencoder_config(10)
    assert conditional.num_classes == conditional.label_features == 10
    plain = make(autoencoder={"kind": "autoencoder"}).autoencoder_config(10)
    assert (plain.num_classes, plain.label_features) == (10, 0)  # mixtures have classes, the networks have none


@pytest.mark.parametrize(("size", "downsample", "grid"), [(8, 2, 4), (16, 4, 4), (28, 4, 7), (32, 8, 4), (128, 32, 4)])
def test_images_are_halved_to_a_small_grid(size, downsample, grid):
    config = make(data={"source": "digits", "image_size": size, "channels": 1}).autoencoder_config(0)
    assert (config.downsample, config.grid) == (downsample, grid)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "vae", "mixture_components": 3}, 'kind = "vae" does not know, found mixture_components = 3'),
        ({"kind": "autoencoder", "labels": "conditional"}, 'found labels = "conditional"'),
        ({"kind": "vae", "gradient": "gumbel"}, 'found gradient = "gumbel"'),
        ({"kind": "gan"}, "autoencoder.kind"),
        ({"latent_sise": 3}, "did you mean 'latent_size'"),
    ],
)
def test_wrong_sections_are_refused(section, message):
    with pytest.raises(ConfigError) as caught:
        make(autoencoder=section)
    assert message in str(caught.value)


def test_what_says_nothing_of_latents_is_refused():
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
        "generate.top_k",
        "generate.guidance_scale",
        "generate.autoguidance_scale",
        "generate.temperature",
        "data.image_size",
    ):
        assert part in str(caught.value)
    for name, found in (("augmented_copies", "2"), ("mirrored_copies", "True")):
        assert f"data.{name}: should be left out of a baseline, which has no codes, found {found}" in str(caught.value)


def test_options_change_the_stage_that_they_belong_to():
    before = make()
    after = apply_overrides(before, ["--autoencoder.latent-size", "3", "--autoencoder.kind", "binary-vae"])
    assert isinstance(after, BaselineRecipe) and after.autoencoder.latent_size == 3
    assert stage_fields(before, "autoencoder") != stage_fields(after, "autoencoder")
    assert stage_fields(before, "samples") == stage_fields(after, "samples")


def test_a_new_field_of_the_classifier_changes_no_fingerprint_of_old_runs():
    assert (
        not {"classifier.kind", "classifier.hidden"} & result_fields(make().classifier_or_default, "classifier").keys()
    )
