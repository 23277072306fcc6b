import shlex
from pathlib import Path

import pytest
from reported_runs import document

from vqgen.config import find_recipe, read_recipe, save_recipe, shipped_recipes
from vqgen.config.loading import validate_recipe
from vqgen.config.overrides import apply_overrides
from vqgen.stages.report.words import recipe_in_words, repeating_command, stage_title


def shipped(name):
    return read_recipe(shipped_recipes()[name])


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_has_words(name):
    words = recipe_in_words(shipped(name), 10)
    assert len(words) >= 4
    for paragraph in words:
        assert paragraph.endswith(".") and ".." not in paragraph and "  " not in paragraph
        assert not any(odd in paragraph for odd in ("None", "True", "False", "\0"))


def test_words_have_the_numbers_of_the_recipe():
    text = " ".join(recipe_in_words(shipped("digits"), 10))
    assert "grey, 16 x 16 pixels, 10 labels." in text
    assert "17 codes of 6 bits make 102 bits for 256 pixels: 0.398 bits per pixel" in text
    assert "It trains for 800 steps of 64 images each; the learning rate reaches 0.001" in text
    assert "Training hides 3% of the labels and 20% of the codes that it sees." in text


def test_images_without_labels_are_named_so():
    text = recipe_in_words(shipped("digits"), 0)
    assert "without labels" in text[0]
    assert "10 samples, at temperature 1" in text[-1]


def test_start_from_another_run_is_named_and_repeated():
    recipe = shipped("digits").model_copy(update={"init_from": "checkpoints/other run"})
    assert recipe_in_words(recipe, 10)[1] == "Trainings begin with the weights that fit of checkpoints/other run."
    words = shlex.split(repeating_command(recipe, Path("checkpoints/digits"), {"device": "cpu"}))
    assert words[:5] == ["vqgen", "run", "digits", "--init-from", "checkpoints/other run"]


def test_options_of_the_command_make_the_recipe_again():
    options = ["--seed", "5", "--vqvae.train.steps", "24", "--vqvae.downsample", "8", "4", "--vqvae.augment"]
    recipe = apply_overrides(shipped("digits"), options)
    words = shlex.split(repeating_command(recipe, Path("checkpoints/digits"), {"dtype": "float32", "device": "cpu"}))
    assert words[:3] == ["vqgen", "run", "digits"]
    assert words[-2:] == ["--device", "cpu"]
    assert apply_overrides(shipped("digits"), words[3:-2]) == recipe


def test_run_folder_and_dtype_are_in_the_command():
    command = repeating_command(shipped("digits"), Path("checkpoints/try 2"), {"dtype": "bfloat16", "device": "cuda"})
    assert command == "vqgen run digits --run-name 'try 2' --dtype bfloat16 --device cuda"


def test_recipe_far_from_a_shipped_one_is_repeated_by_its_file(tmp_path):
    recipe = validate_recipe(document() | {"name": "digits"}, origin="x")
    save_recipe(recipe, tmp_path / "recipe.toml")
    words = shlex.split(repeating_command(recipe, tmp_path, {}))
    assert words[2] == str(tmp_path / "recipe.toml")
    assert read_recipe(find_recipe(words[2])) == recipe
    assert words[3:5] == ["--run-name", f"{tmp_path.name}-again"]


def test_recipe_without_a_section_of_the_shipped_one_is_repeated_by_its_file():
    recipe = shipped("digits").model_copy(update={"classifier": None})
    assert shlex.split(repeating_command(recipe, Path("x"), {}))[2] == "x/recipe.toml"


@pytest.mark.parametrize(("stage", "title"), [("vqvae", "VQ-VAE"), ("prior-top", "prior of top"), ("codes", "codes")])
def test_stages_have_titles(stage, title):
    assert stage_title(stage) == title
