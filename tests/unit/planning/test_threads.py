import pytest

from vqgen.config import find_recipe, read_recipe
from vqgen.planning.threads import stage_threads


@pytest.fixture(autouse=True)
def eight_cores(set_cores):
    set_cores(8)


@pytest.mark.parametrize("name", ["digits", "digits-vae", "digits-autoencoder"])
def test_small_models_train_in_one_thread(name):
    recipe = read_recipe(find_recipe(name))
    assert {stage: stage_threads(recipe, stage) for stage in recipe.stage_names} == dict.fromkeys(recipe.stage_names, 1)


def test_large_models_take_every_thread():
    recipe = read_recipe(find_recipe("cifar10"))
    assert stage_threads(recipe, "vqvae") == stage_threads(recipe, "prior-bottom") == 8


def test_threads_never_fall_with_the_batch():
    recipe = read_recipe(find_recipe("fashion-mnist-cpu"))
    found = []
    for batch_size in (1, 8, 64, 512):
        train = recipe.vqvae.train.model_copy(update={"batch_size": batch_size})
        larger = recipe.model_copy(update={"vqvae": recipe.vqvae.model_copy(update={"train": train})})
        found.append(stage_threads(larger, "vqvae"))
    assert found == sorted(found) and found[0] == 1 and found[-1] > 1


def test_recipe_overrules_the_work():
    recipe = read_recipe(find_recipe("digits")).model_copy(update={"threads": 5})
    assert {stage_threads(recipe, stage) for stage in recipe.stage_names} == {5}
