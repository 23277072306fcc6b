import warnings
from types import NoneType
from typing import get_args

import pytest
import tomli_w

from vqgen.config import (
    BaselineRecipe,
    DataConfig,
    GenerateConfig,
    Recipe,
    TrainConfig,
    find_recipe,
    read_recipe,
    save_recipe,
    shipped_recipes,
)
from vqgen.config.loading import validate_recipe, with_behaviour_of_run
from vqgen.config.overrides import apply_overrides
from vqgen.errors import ConfigError, VQGenWarning


def message(document):
    with pytest.raises(ConfigError) as caught:
        validate_recipe(document, origin="mine.toml")
    return str(caught.value)


def test_round_trip_through_toml_keeps_every_field(tiny_recipe, tmp_path):
    recipe = tiny_recipe(
        seed=7,
        data={"root": 'odd "name" \\ ümlaut', "random_crop": 0.75},
        vqvae={"train": {"epochs": 2.5, "learning_rate": 1e-4}},
        generate={"top_p": 0.9},
    )
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe
    assert recipe.data.root == 'odd "name" \\ ümlaut'


def test_raster_slope_survives_the_file(tiny_document, tmp_path):
    document = tiny_document()
    document["priors"] = [document["priors"][0] | {"slope": "raster"}, document["priors"][1] | {"slope": 3}]
    save_recipe(validate_recipe(document, origin="tiny"), tmp_path / "recipe.toml")
    assert [prior.slope for prior in read_recipe(tmp_path / "recipe.toml").priors] == ["raster", 3]


@pytest.mark.parametrize(
    ("section", "key", "path", "nearest"),
    [
        ([], "sead", "sead", "seed"),
        (["data"], "image_sise", "data.image_sise", "image_size"),
        (["vqvae"], "codebok_size", "vqvae.codebok_size", "codebook_size"),
        (["vqvae", "train"], "learning_rat", "vqvae.train.learning_rat", "learning_rate"),
        (["priors", 1], "layer", "priors.1.layer", "layers"),
        (["priors", 1, "train"], "stepz", "priors.1.train.stepz", "steps"),
        (["generate"], "topk", "generate.topk", "top_k"),
    ],
)
def test_unknown_field_is_refused_with_the_nearest_one(tiny_document, section, key, path, nearest):
    document = tiny_document()
    document["priors"] = [dict(prior, train=dict(prior["train"])) for prior in document["priors"]]
    place = document
    for part in section:
        place = place[part]
    place[key] = 1
    assert f"{path}: is not a field of a recipe; did you mean {nearest!r}?" in message(document)


def test_field_unlike_all_fields_is_refused_without_a_guess(tiny_document):
    assert message(tiny_document(qqqq=1)).endswith("  qqqq: is not a field of a recipe")


def test_all_wrong_fields_are_listed_with_their_paths(tiny_document):
    document = tiny_document(
        seed=-1,
        data={"source": "digit", "channels": 2},
        vqvae={"downsample": [2, 4], "codebook_size": 1, "train": {"steps": 0, "colour": "red"}},
        generate={"top_p": 1.5},
    )
    del document["name"]
    document["priors"] = [document["priors"][0] | {"kernel_size": 4}, document["priors"][1] | {"slope": 0}]
    text = message(document)
    lines = text.splitlines()
    assert lines[0] == "recipe mine.toml: found 11 wrong fields:"
    expected = [
        "name: is missing",
        "seed: should be greater than or equal to 0, found -1",
        "data.source: should be 'digits'",
        "data.channels: should be 1 or 3, found 2",
        "vqvae.downsample: should fall from coarse to fine, found [2, 4]",
        "vqvae.codebook_size: should be greater than or equal to 2, found 1",
        "vqvae.train.steps: should be greater than 0, found 0",
        "vqvae.train.colour: is not a field of a recipe",
        "priors.0.kernel_size: should be odd and at least 3, found 4",
        'priors.1.slope: should be at least 1 or "raster", found 0',
        "generate.top_p: should be less than or equal to 1, found 1.5",
    ]
    for start in expected:
        assert sum(line.strip().startswith(start) for line in lines[1:]) == 1, (start, text)
    assert len(lines) == 12


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_name_that_cannot_be_a_folder_is_refused(tiny_document, name):
    assert "name: should be letters, digits" in message(tiny_document(name=name))


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[data\n"])
def test_file_that_is_not_toml_is_refused_by_name(content, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mine\.toml: (is not a TOML file|should be a text in UTF-8)"):
        read_recipe(path)


def test_number_in_place_of_a_section_is_refused(tiny_document, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(tiny_document() | {"vqvae": 3}))
    with pytest.raises(ConfigError, match="vqvae: should be a valid dictionary"):
        read_recipe(path)


def test_one_wrong_field_is_counted_in_the_singular(tiny_document):
    assert message(tiny_document(seed=-1)).splitlines()[0] == "recipe mine.toml: found 1 wrong field:"


@pytest.mark.parametrize("model", [DataConfig, GenerateConfig, TrainConfig, Recipe, BaselineRecipe])
def test_field_that_can_be_absent_is_absent_by_default(model):
    """Otherwise a recipe with None would come back from TOML, which has no null, with another value."""
    for name, field in model.model_fields.items():
        assert NoneType not in get_args(field.annotation) or field.default is None, name


def test_equal_file_stays_untouched(tiny_recipe, tmp_path):
    path = tmp_path / "recipe.toml"
    save_recipe(tiny_recipe(), path)
    before = path.stat()
    save_recipe(tiny_recipe(), path)
    assert path.stat() == before
    save_recipe(tiny_recipe(seed=1), path)
    assert read_recipe(path).seed == 1


# old names


def with_old_names(document):
    return document | {"priors": [document["priors"][0], document["priors"][1] | {"hiding_keeps": "size"}]}


def test_old_name_is_read_with_a_warning_that_gives_its_path(tiny_document):
    with pytest.warns(
        VQGenWarning, match=r"recipe mine: priors\.1\.hiding_keeps is now called rescale; the old"
    ) as found:
        recipe = validate_recipe(with_old_names(tiny_document()), origin="mine")
    assert len(found) == 1
    assert [prior.rescale for prior in recipe.priors] == [True, False]


def test_old_name_in_a_folder_of_vqgen_is_read_in_silence(tiny_document):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipe = validate_recipe(with_old_names(tiny_document()), origin="mine", stored=True)
    assert not recipe.priors[1].rescale


def test_recipe_is_saved_under_present_names(tiny_document, tmp_path):
    save_recipe(validate_recipe(with_old_names(tiny_document()), origin="mine", stored=True), tmp_path / "recipe.toml")
    text = (tmp_path / "recipe.toml").read_text()
    assert "rescale = false" in text
    assert "hiding_keeps" not in text


def test_old_names_are_not_looked_for_in_values_of_the_wrong_kind(tiny_document):
    assert "priors: should be a valid tuple" in message(tiny_document() | {"priors": "none"})


# names of recipes


def test_name_finds_a_shipped_recipe_and_path_any_file(tmp_path):
    assert find_recipe("digits") == shipped_recipes()["digits"]
    own = tmp_path / "own.toml"
    own.write_text("")
    assert find_recipe(str(own)) == own


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"a recipe that ships, or a file, found 'digit'; the nearest are: digits"):
        find_recipe("digit")
    with pytest.raises(ConfigError, match=r"nearest are: .*cifar10.*digits"):  # nothing is near: all of them
        find_recipe("zzzzzz")


@pytest.mark.parametrize("name", ["gone.toml", "some/where"])
def test_path_of_a_missing_file_is_refused_as_a_file(name):
    with pytest.raises(ConfigError, match=f"there is no file '{name}'; `vqgen recipes` lists"):
        find_recipe(name)


def test_stored_recipe_without_rules_was_made_under_the_first_ones(tiny_document, tmp_path):
    document = tiny_document()
    assert validate_recipe(document, origin="mine").data.reading_rules == 2
    assert validate_recipe(document, origin="stored", stored=True).data.reading_rules == 1
    path = tmp_path / "recipe.toml"
    path.write_text(tomli_w.dumps(document))
    assert read_recipe(path).data.reading_rules == 2
    (tmp_path / "pipeline.json").touch()  # the folder of a pipeline
    assert read_recipe(path).data.reading_rules == 1
    save_recipe(validate_recipe(document, origin="mine"), path)
    assert read_recipe(path).data.reading_rules == 2


def test_run_keeps_its_rules_unless_the_user_names_others(tiny_document, tmp_path):
    run = tmp_path / "run"
    (run / "vqvae").mkdir(parents=True)
    source = tmp_path / "mine.toml"

    def rules(*options, **data):
        document = tiny_document(data=data)
        source.write_text(tomli_w.dumps(document))
        recipe = apply_overrides(read_recipe(source), list(options))
        return with_behaviour_of_run(recipe, source, options, run).data.reading_rules

    assert rules() == 2  # a new run
    (run / "vqvae" / "stage.json").touch()
    (run / "recipe.toml").write_text(tomli_w.dumps(tiny_document()))
    assert rules() == 1
    assert rules("--seed", "3") == 1
    assert rules("--data.reading-rules", "2") == 2
    assert rules("--data.reading_rules=2") == 2
    assert rules(reading_rules=2) == 2
    save_recipe(validate_recipe(tiny_document(), origin="mine"), run / "recipe.toml")
    assert rules() == 2
