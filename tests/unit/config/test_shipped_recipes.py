import warnings

import pytest

from vqgen.config import BaselineRecipe, check_recipe, find_recipe, read_recipe, save_recipe, shipped_recipes
from vqgen.config.loading import recipe_folder
from vqgen.errors import ConfigError

RECIPES = sorted(recipe_folder().glob("*.toml"))


def complete(recipe):
    """What a user has to add: the recipe for folders names none."""
    if recipe.data.source != "folder":
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": "."})})


def test_some_ship():
    assert {"digits", "fashion-mnist", "cifar10", "folder"} <= set(shipped_recipes())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_whole(path, tmp_path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_recipe(complete(recipe)) == []
    if isinstance(recipe, BaselineRecipe):
        assert recipe.autoencoder_config(num_labels=10).kind == recipe.autoencoder.kind
    else:
        recipe.vqvae_config()
        assert [recipe.prior_config(level, num_classes=10).level for level in recipe.levels] == list(recipe.levels)
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_the_recipe_for_folders_asks_for_one():
    with pytest.raises(ConfigError, match=r"--data\.root FOLDER"):
        check_recipe(read_recipe(find_recipe("folder")))


def test_a_name_finds_the_shipped_recipe_and_a_path_any_file(tmp_path):
    assert find_recipe("digits") == shipped_recipes()["digits"]
    own = tmp_path / "own.toml"
    own.write_text("")
    assert find_recipe(str(own)) == own


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"none called 'digit'; the nearest are: digits"):
        find_recipe("digit")
    with pytest.raises(ConfigError, match=r"nearest are: .*cifar10.*digits"):  # nothing is near: all of them
        find_recipe("zzzzzz")


@pytest.mark.parametrize("name", ["gone.toml", "some/where"])
def test_a_missing_file_is_called_a_file(name):
    with pytest.raises(ConfigError, match=f"there is no file '{name}'"):
        find_recipe(name)
