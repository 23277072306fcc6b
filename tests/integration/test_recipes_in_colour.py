"""The recipes in colour, at reduced width: their levels, networks and options, three steps of each training."""

import json
import tomllib

import pytest
from small_runs import save_picture, write_recipe

from vqgen.config import read_recipe, shipped_recipes

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

RECIPES = (
    "cifar10", "cifar10-cpu", "ffhq1024", "flowers", "flowers-autoencoder", "flowers-vae", "flowers-vq", "folder",
    "imagenet256", "photos",
)  # fmt: skip

NARROW = {
    "channels": 8, "residual_channels": 4, "embedding_dim": 8, "codebook_size": 16, "attention_heads": 2,
    "latent_size": 4, "mixture_components": 2,
}  # fmt: skip
"""Fields of a section that set its width."""


def narrow(name, root):
    """Returns a shipped recipe with the same depths, grids of few codes, and little width."""
    document = tomllib.loads(shipped_recipes()[name].read_text(encoding="utf-8"))
    coarsest = max(document.get("vqvae", {"downsample": [8]})["downsample"])
    document["data"] |= {"source": "folder", "root": str(root), "image_size": 2 * coarsest, "workers": 0}
    found = [document.get(name, {"train": {}}) for name in ("vqvae", "autoencoder", "classifier")]
    sections = [*found, *document.get("priors", [])]
    for section in sections:
        section |= {field: value for field, value in NARROW.items() if section.get(field)}
        section["train"] |= {"steps": 3, "batch_size": 4, "validate_every": 3}
        section["train"].pop("ema_decay", None)  # an average of three steps is still the start
    if document.get("classifier", {}).get("stages", 0) > 3:
        document["classifier"]["stages"] = 3
    document["generate"] = {"images_per_label": 1, "batch_size": 2}
    return document


@pytest.fixture
def photos(tmp_path):
    """A folder with two labels of six photographs."""
    for number in range(12):
        save_picture(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", number, size=(70, 80))
    return tmp_path / "photos"


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_plans_its_costs_and_trains_all_stages_at_reduced_width(name, vqgen, photos, tmp_path):
    planned = vqgen("plan", name)
    assert planned.code == 0, planned.err
    assert planned.err == ""
    path = write_recipe(tmp_path / f"{name}.toml", narrow(name, photos))
    finished = vqgen("run", path, "--checkpoints", tmp_path / "runs", "--force", "--quiet")
    assert finished.code == 0, finished.err
    recipe = read_recipe(path)
    for stage in recipe.stage_names:
        record = json.loads((tmp_path / "runs" / name / stage / "stage.json").read_text())
        assert record["complete"]
        if stage not in ("codes", "samples"):
            assert record["metrics"]["steps"] == 3
    assert len(list((tmp_path / "runs" / name / "samples").glob("*/*.png"))) == 2


def test_every_recipe_in_colour_is_tried():
    in_colour = {name for name, path in shipped_recipes().items() if read_recipe(path).data.channels == 3}
    assert in_colour == set(RECIPES)
