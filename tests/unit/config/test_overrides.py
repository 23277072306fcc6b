import pytest

from vqgen.config import check_recipe, result_fields
from vqgen.config.overrides import RecipeField, apply_overrides, override_help, recipe_fields
from vqgen.errors import ConfigError, VQGenWarning


def flat(recipe):
    """Returns every field by its path, runtime fields too."""

    def walk(value, path):
        if isinstance(value, dict):
            return {key: leaf for name, item in value.items() for key, leaf in walk(item, f"{path}.{name}").items()}
        if isinstance(value, tuple) and value and isinstance(value[0], dict):
            return {key: leaf for i, item in enumerate(value) for key, leaf in walk(item, f"{path}.{i}").items()}
        return {path[1:]: value}

    return walk(recipe.model_dump(), "")


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ("--seed 7", {"seed": 7}),
        ("--vqvae.codebook-size 256", {"vqvae.codebook_size": 256}),
        ("--vqvae.codebook_size 256", {"vqvae.codebook_size": 256}),
        ("--vqvae.codebook-size=256", {"vqvae.codebook_size": 256}),
        ("--priors.0.layers 6", {"priors.0.layers": 6}),
        ("--priors.1.train.learning-rate 3e-4", {"priors.1.train.learning_rate": 3e-4}),
        ("--vqvae.downsample 8 4 2", {"vqvae.downsample": (8, 4, 2)}),
        ("--vqvae.downsample 2", {"vqvae.downsample": (2,)}),
        ("--priors.1.slope raster", {"priors.1.slope": "raster"}),
        ("--priors.1.slope 3", {"priors.1.slope": 3}),
        ("--generate.top-k 5 --generate.top-p 0.5", {"generate.top_k": 5, "generate.top_p": 0.5}),
        ("--vqvae.train.epochs 2.5", {"vqvae.train.epochs": 2.5}),
        ("--data.root /x/y", {"data.root": "/x/y"}),
        ("--data.horizontal-flip", {"data.horizontal_flip": True}),
        ("--data.no-download", {"data.download": False}),
        ("--data.no-horizontal-flip --generate.top-k None", {}),
        ("--data.horizontal-flip false --data.download no", {"data.download": False}),
        ("--data.channels 3", {"data.channels": 3}),
    ],
)
def test_option_changes_its_field_and_nothing_else(tiny_recipe, options, changes):
    before = tiny_recipe()
    found = flat(apply_overrides(before, options.split()))
    assert found == flat(before) | changes


def test_optional_value_can_be_taken_back(tiny_recipe):
    recipe = tiny_recipe(generate={"top_k": 5}, data={"root": "/x"})
    changed = apply_overrides(recipe, ["--generate.top-k", "None", "--data.root", "None"])
    assert changed.generate.top_k is None
    assert changed.data.root is None


def test_recipe_without_options_stays_the_same_object(tiny_recipe):
    recipe = tiny_recipe()
    assert apply_overrides(recipe, []) is recipe


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ("--vqvae.codebok-size 256", ["no field for --vqvae.codebok-size", "mean --vqvae.codebook-size"]),
        ("--codebook-size 3", ["no field for --codebook-size", "did you mean --vqvae.codebook-size?"]),
        ("--priors.2.layers 3", ["no field for --priors.2.layers", "mean --priors.0.layers"]),
        ("--vqvae.codebook-size abc", ["--vqvae.codebook-size: should be a whole number, found 'abc'"]),
        ("--priors.1.slope zigzag", ["--priors.1.slope: should be a whole number or 'raster', found 'zigzag'"]),
        ("--data.source digit", ["--data.source: should be one of 'digits'", "'fashion-mnist'", "found 'digit'"]),
        ("--vqvae.train.schedule linear", ["should be one of 'constant', 'cosine', found 'linear'"]),
        ("--vqvae.downsample 4 x", ["--vqvae.downsample: should be one or more whole numbers, found '4 x'"]),
        ("--data.root", ["--data.root: expected one argument"]),
        ("--data.horizontal-flip maybe", ["--data.horizontal-flip: should be true or false, found 'maybe'"]),
        ("stray", ["no field for stray", "--fields"]),
        ("--data.value-range 0", ["--data.value-range: should be two numbers, found '0'"]),
        ("--data.value-range 0 x", ["--data.value-range: should be two numbers, found '0 x'"]),
        ("--data.value-range 5 1", ["data.value_range: should be two numbers, black below white, found 5 1"]),
        ("--data.reading-rules 3", ["--data.reading-rules: should be one of 1, 2, found '3'"]),
        ("--vqvae.codebook-size 1", ["vqvae.codebook_size: should be greater than or equal to 2, found 1"]),
        (
            "--seed -1 --vqvae.train.steps 0",
            ["seed: should be", "vqvae.train.steps: should be", "found 2 wrong fields"],
        ),
    ],
)
def test_wrong_option_is_refused_in_plain_lines(tiny_recipe, capsys, options, parts):
    with pytest.raises(ConfigError) as caught:
        apply_overrides(tiny_recipe(), options.split())
    text = str(caught.value)
    words = " ".join(text.split())
    for part in parts:
        assert part in words
    assert capsys.readouterr() == ("", "")


def test_range_of_samples_is_two_numbers_that_may_be_negative(tiny_recipe):
    assert apply_overrides(tiny_recipe(), ["--data.value-range", "-1.5", "4095"]).data.value_range == (-1.5, 4095)
    changed = apply_overrides(tiny_recipe(data={"value_range": (0, 1)}), ["--data.value-range", "None"])
    assert changed.data.value_range is None
    assert "--data.value-range FLOAT FLOAT" in override_help(tiny_recipe())


def test_old_name_is_accepted_with_a_warning_that_gives_the_new_one(tiny_recipe):
    with pytest.warns(VQGenWarning, match=r"priors\.1\.hiding_keeps is now called rescale"):
        changed = apply_overrides(tiny_recipe(), ["--priors.1.hiding-keeps", "size"])
    assert [prior.rescale for prior in changed.priors] == [True, False]


def test_recipe_with_options_still_has_to_fit_together(tiny_recipe):
    with pytest.raises(ConfigError, match="priors: should be one per level"):
        check_recipe(apply_overrides(tiny_recipe(), ["--vqvae.downsample", "2"]))


def test_help_lists_every_field_with_its_description(tiny_recipe):
    text = override_help(tiny_recipe())
    for path in flat(tiny_recipe()):
        assert f"--{path.replace('_', '-')}" in text, path
    assert "Entries K of the codebook of each level." in text


def test_field_has_a_description(tiny_recipe):
    recipe = tiny_recipe()
    sections = [recipe.data, recipe.vqvae, recipe.vqvae.train, recipe.priors[0], recipe.generate]
    assert result_fields(recipe.data, "data")
    for section in sections:
        for name, info in type(section).model_fields.items():
            assert name == "train" or info.description, (type(section).__name__, name)


def test_help_does_not_list_old_names(tiny_recipe):
    assert "hiding" not in override_help(tiny_recipe())


def test_option_of_the_classifier_adds_its_section(tiny_recipe):
    recipe = tiny_recipe()
    assert recipe.classifier is None
    assert apply_overrides(recipe, ["--classifier.channels", "24"]).classifier.channels == 24
    assert apply_overrides(recipe, ["--seed", "1"]).classifier is None


def test_last_of_two_options_counts(tiny_recipe):
    assert apply_overrides(tiny_recipe(), ["--seed", "1", "--seed", "2"]).seed == 2
    assert apply_overrides(tiny_recipe(), ["--data.no-download", "--data.download"]).data.download


def test_old_name_replaces_the_present_one(tiny_recipe):
    options = ["--priors.0.rescale", "true", "--priors.0.hiding-keeps", "size"]
    with pytest.warns(VQGenWarning):
        assert not apply_overrides(tiny_recipe(), options).priors[0].rescale


@pytest.mark.parametrize(
    ("path", "option", "negation"),
    [
        (("seed",), "--seed", "--no-seed"),
        (("data", "horizontal_flip"), "--data.horizontal-flip", "--data.no-horizontal-flip"),
        (("priors", 0, "rescale"), "--priors.0.rescale", "--priors.0.no-rescale"),
    ],
)
def test_option_is_the_path_of_its_field(path, option, negation):
    field = RecipeField(path, bool, False)
    assert field.option == option
    assert field.negations[0] == negation
    assert field.is_flag and not field.is_list


def test_old_names_come_after_the_present_ones(tiny_recipe):
    fields = recipe_fields(tiny_recipe())
    is_old = [field.new_name is not None for field in fields]
    assert is_old == sorted(is_old)
    assert [field.option for field in fields if field.new_name is not None] == [
        f"--priors.{index}.{name}" for index in range(2) for name in ("hiding-keeps", "hiding-share")
    ]
