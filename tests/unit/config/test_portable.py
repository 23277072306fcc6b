import tomllib
from pathlib import Path

import pytest

from vqgen.config import DataConfig, find_recipe, read_recipe
from vqgen.config.base import is_runtime_field, section_of
from vqgen.config.portable import portable_document, portable_text, without_runtime_fields
from vqgen.errors import CheckpointError

LOCAL = """
name = "cats"
seed = 3
threads = 7
[data]
source = "folder"
image_size = 16
root = "/home/ada/cats"
workers = 12
[vqvae]
codebook_size = 32
[vqvae.train]
steps = 5
save_every = 2
[[priors]]
layers = 2
hiding_keeps = "size"
[priors.train]
log_every = 1
steps = 6
"""


def test_recipe_travels_without_the_fields_of_the_machine_and_with_all_others():
    assert tomllib.loads(portable_text(LOCAL, "recipe.toml")) == {
        "name": "cats",
        "seed": 3,
        "data": {"source": "folder", "image_size": 16},
        "vqvae": {"codebook_size": 32, "train": {"steps": 5}},
        "priors": [{"layers": 2, "hiding_keeps": "size", "train": {"steps": 6}}],
    }


def test_recipe_without_such_fields_keeps_its_text():
    text = '# mine\nname = "cats"\n[data]\nsource = "digits"\n'
    assert portable_text(text, "recipe.toml") is text


@pytest.mark.parametrize("name", ["digits", "digits-vae"])
def test_no_runtime_field_of_any_section_travels(name):
    recipe = read_recipe(find_recipe(name))
    document = portable_document(recipe.model_dump(mode="json"))

    def check(values, model):
        for field, value in values.items():
            assert not is_runtime_field(model, field), field
            section = section_of(model.model_fields[field].annotation)
            for part in value if isinstance(value, list) else [value]:
                if section is not None and isinstance(part, dict):
                    check(part, section)

    check(document, type(recipe))
    assert "root" in DataConfig.model_fields
    assert "root" not in document["data"]


def test_value_in_the_place_of_a_section_stays():
    assert without_runtime_fields({"source": 3, "root": Path("x"), "unknown": "y"}, DataConfig) == {
        "source": 3,
        "unknown": "y",
    }
    assert portable_document({"data": 3, "priors": "none"}) == {"data": 3, "priors": "none"}


def test_recipe_that_is_no_toml_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"p/recipe\.toml: is not a TOML file"):
        portable_text("name = ", "p/recipe.toml")
