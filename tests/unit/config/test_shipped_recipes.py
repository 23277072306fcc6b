"""The recipes that ship: each is valid, and can be run as it is."""

import pytest

from vqgen.config import BaselineRecipe, check_recipe, find_recipe, read_recipe, save_recipe, shipped_recipes
from vqgen.config.loading import recipe_folder
from vqgen.errors import ConfigError

RECIPES = sorted(recipe_folder().glob("*.toml"))


def complete(recipe):
    """Adds the folder that a user has to give to the recipe `folder`."""
    if recipe.data.source != "folder":
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": "."})})


def test_recipes_ship():
    assert {"digits", "fashion-mnist", "cifar10", "folder"} <= set(shipped_recipes())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_is_valid_and_survives_the_file(path, tmp_path):
    recipe = read_recipe(path)
    assert recipe.name == path.stem
    assert check_recipe(complete(recipe)) == []
    if isinstance(recipe, BaselineRecipe):
        assert recipe.autoencoder_config(num_labels=10).kind == recipe.autoencoder.kind
    else:
        recipe.vqvae_config()
        assert [recipe.prior_config(level, num_classes=10).level for level in recipe.levels] == list(recipe.levels)
    save_recipe(recipe, tmp_path / "recipe.toml")
    assert read_recipe(tmp_path / "recipe.toml") == recipe


def test_recipe_for_folders_asks_for_a_folder():
    with pytest.raises(ConfigError, match=r"--data\.root FOLDER"):
        check_recipe(read_recipe(find_recipe("folder")))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_first_line_of_a_shipped_recipe_describes_it(path):
    """`vqgen recipes` prints it."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and first.endswith(".")
