import pytest

from vqgen.config.loading import validate_recipe
from vqgen.data import count_images
from vqgen.errors import DataError
from vqgen.planning import build
from vqgen.planning.baseline_planner import BaselinePlanner
from vqgen.planning.build import build_planner
from vqgen.planning.planner import Planner
from vqgen.runtime.compute import Compute


def test_kind_of_the_recipe_chooses_the_planner(tiny_recipe):
    data = {"source": "digits", "image_size": 16, "channels": 1}
    baseline = validate_recipe({"name": "b", "data": data, "autoencoder": {}}, origin="b")
    compute = Compute.resolve("cpu")
    for recipe, kind in ((tiny_recipe(), Planner), (baseline, BaselinePlanner)):
        planner = build_planner(recipe, compute, {}, measure=False)
        assert type(planner) is kind
        assert planner.counts == count_images(recipe.data)
        assert planner.machine is None


def test_device_is_measured_in_the_dtype_of_the_run(tiny_recipe, machine, monkeypatch):
    asked = []

    def measure(*arguments):
        asked.append([str(argument) for argument in arguments])
        return machine

    monkeypatch.setattr(build, "measure_machine", measure)
    planner = build_planner(tiny_recipe(), Compute.resolve("cpu", "bfloat16"), {"top": 0.1})
    assert planner.machine is machine
    assert planner.measured_bpp == {"top": 0.1}
    assert asked == [["cpu", "torch.bfloat16"]]


def test_folder_without_images_is_refused(tiny_recipe, tmp_path):
    recipe = tiny_recipe(data={"source": "folder", "root": str(tmp_path)})
    with pytest.raises(DataError):
        build_planner(recipe, Compute.resolve("cpu"), {}, measure=False)
