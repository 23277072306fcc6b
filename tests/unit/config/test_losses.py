import pytest
import tomli_w
from pydantic import ValidationError

from vqgen.config import LossSettings, check_recipe, read_recipe, result_fields, save_recipe, stage_fields
from vqgen.config.loading import validate_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.config.portable import portable_document
from vqgen.errors import ConfigError

HINGE = {"adversarial": "hinge", "discriminator_layers": 2}


def test_default_is_the_squared_difference_alone():
    assert LossSettings().is_plain
    for change in ({"pixel": "l1"}, {"perceptual": "lpips"}, {"adversarial": "hinge"}):
        assert not LossSettings(**change).is_plain
    assert LossSettings().text == ""
    assert LossSettings(pixel="l1", perceptual="lpips", adversarial="hinge").text == "l1 + lpips + hinge, "


def test_recipe_without_other_losses_has_the_fingerprint_of_before(tiny_recipe):
    before = {name for name in stage_fields(tiny_recipe(), "vqvae") if name.startswith("vqvae.")}
    assert not any("losses" in name for name in before)
    assert "losses" not in tiny_recipe().vqvae_config().model_dump()


def test_fingerprint_has_the_fields_that_are_set_and_no_path(tiny_recipe):
    losses = {"perceptual": "lpips", "lpips_weights": "/home/me/alexnet.pth", "perceptual_weight": 0.5}
    found = result_fields(tiny_recipe(vqvae={"losses": losses}).vqvae, "vqvae")
    assert {name: value for name, value in found.items() if "losses" in name} == {
        "vqvae.losses.perceptual": "lpips",
        "vqvae.losses.perceptual_weight": 0.5,
    }


def test_path_alone_changes_no_fingerprint(tiny_recipe):
    recipe = tiny_recipe(vqvae={"losses": {"classifier": "checkpoints/digits"}})
    assert stage_fields(recipe, "vqvae") == stage_fields(tiny_recipe(), "vqvae")


def test_options_set_the_losses_of_both_kinds_of_recipes(tiny_recipe, tiny_document):
    recipe = apply_overrides(tiny_recipe(), ["--vqvae.losses.perceptual", "classifier", "--lpips-weights", "x"])
    assert (recipe.losses.perceptual, recipe.losses.lpips_weights) == ("classifier", "x")
    document = tiny_document()
    del document["vqvae"], document["priors"]
    baseline = validate_recipe(document | {"autoencoder": {}}, origin="tiny")
    changed = apply_overrides(baseline, ["--lpips-weights", "y", "--autoencoder.losses.adversarial", "hinge"])
    assert (changed.losses.adversarial, changed.losses.lpips_weights) == ("hinge", "y")
    assert "losses" not in changed.autoencoder_config(3).model_dump()


def test_saved_recipe_is_read_again_and_shares_no_path(tiny_recipe, tmp_path):
    losses = {"perceptual": "classifier", "classifier": "checkpoints/digits", "pixel": "charbonnier"}
    recipe = tiny_recipe(vqvae={"losses": losses})
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    portable = portable_document(recipe.model_dump(mode="json", exclude_none=True))
    assert "classifier" not in portable["vqvae"]["losses"]
    assert portable["vqvae"]["losses"]["pixel"] == "charbonnier"
    assert "checkpoints" not in tomli_w.dumps(portable)


def test_own_classifier_comes_first(tiny_recipe):
    plain = tiny_recipe(classifier={})
    own = tiny_recipe(classifier={}, vqvae={"losses": {"perceptual": "classifier"}})
    other = tiny_recipe(classifier={}, vqvae={"losses": {"perceptual": "classifier", "classifier": "x"}})
    stages = ["vqvae", "codes", "prior-top", "prior-bottom"]
    assert plain.stage_names == other.stage_names == [*stages, "classifier", "samples"]
    assert own.stage_names == ["classifier", *stages, "samples"]


@pytest.mark.parametrize(("start", "steps", "first"), [(None, 100, 50), (None, 5, 2), (0, 100, 0), (70, 100, 70)])
def test_adversary_starts_in_the_middle_unless_a_step_is_given(start, steps, first):
    assert LossSettings(adversarial_start=start).start(steps) == first


@pytest.mark.parametrize(
    "change",
    [
        {"perceptual_weight": 0}, {"perceptual_weight": float("inf")}, {"adversarial_weight": float("nan")},
        {"adversarial_weight": -1}, {"r1_weight": -0.1}, {"lecam_weight": float("inf")}, {"r1_every": 0},
        {"adversarial_start": -1}, {"discriminator_channels": 12}, {"discriminator_layers": 0}, {"pixel": "l3"},
        {"discriminator_rate": 0}, {"discriminator_layers": 13},
    ],
    ids=str,
)  # fmt: skip
def test_weights_and_sizes_that_cannot_be_are_refused(change):
    with pytest.raises(ValidationError):
        LossSettings(**change)


# checks before anything trains


def problems(recipe):
    with pytest.raises(ConfigError) as caught:
        check_recipe(recipe)
    return str(caught.value)


@pytest.mark.parametrize(("side", "is_refused"), [(28, True), (32, False)])
def test_lpips_below_its_smallest_image_is_refused(tiny_recipe, side, is_refused):
    recipe = tiny_recipe(data={"image_size": side}, vqvae={"losses": {"perceptual": "lpips"}})
    if is_refused:
        assert '"lpips" needs images of at least 31 x 31 pixels, found 28; --vqvae.losses.perc' in problems(recipe)
    else:
        assert check_recipe(recipe) == []


def test_features_of_a_classifier_that_nobody_trains_are_refused(tiny_recipe):
    losses = {"perceptual": "classifier"}
    text = problems(tiny_recipe(vqvae={"losses": losses}))
    assert 'vqvae.losses.perceptual: "classifier" needs [classifier] in the recipe or vqvae.losses.classifier' in text
    assert check_recipe(tiny_recipe(vqvae={"losses": losses}, classifier={})) == []
    assert check_recipe(tiny_recipe(vqvae={"losses": losses | {"classifier": "x"}})) == []


@pytest.mark.parametrize("name", ["lpips_weights", "classifier"])
def test_network_that_no_loss_uses_is_refused(tiny_recipe, name):
    assert f"vqvae.losses.{name}: needs vqvae.losses.perceptual = " in problems(
        tiny_recipe(vqvae={"losses": {name: "x"}})
    )


@pytest.mark.parametrize(("start", "is_refused"), [(3, False), (4, True), (900, True), (None, False)])
def test_discriminator_that_would_start_after_the_end_is_refused(tiny_recipe, start, is_refused):
    recipe = tiny_recipe(vqvae={"losses": HINGE | {"adversarial_start": start}})  # of four steps
    if is_refused:
        text = f"adversarial_start: should be below vqvae.train.steps = 4, or the discriminator would start after the end, found {start}"  # noqa: E501
        assert text in problems(recipe)
    else:
        assert check_recipe(recipe) == []


def test_patience_with_an_adversary_is_refused(tiny_recipe):
    train = tiny_recipe().vqvae.train.model_dump() | {"patience": 2}
    text = problems(tiny_recipe(vqvae={"losses": HINGE, "train": train}))
    assert "vqvae.train.patience: should be 0 with vqvae.losses.adversarial" in text
    assert "found 2" in text


def test_discriminator_that_halves_away_the_image_is_refused(tiny_recipe):
    losses = {"adversarial": "hinge", "discriminator_layers": 4}
    text = problems(tiny_recipe(vqvae={"losses": losses}))
    assert "discriminator_layers: should be at most 3 for images of 8 pixels, found 4" in text


def test_pixels_of_a_model_with_a_likelihood_have_no_other_loss(tiny_document):
    document = tiny_document()
    del document["vqvae"], document["priors"]
    for kind, is_refused in (("vae", True), ("autoencoder", False)):
        section = {"kind": kind, "losses": {"pixel": "l1"}}
        recipe = validate_recipe(document | {"autoencoder": section}, origin="tiny")
        if is_refused:
            assert 'autoencoder.losses.pixel: should be left out for kind = "vae"' in problems(recipe)
        else:
            assert check_recipe(recipe) == []
