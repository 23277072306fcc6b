"""Configurations of any size, and weights that do not fit them: refused before a model takes memory."""

import json
import subprocess
import sys
from functools import partial
from typing import get_args

import pytest
import torch
from tiny_models import make_baseline, make_prior

from vqgen.config import ClassifierConfig, VQVAEConfig
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import load_model, made_from, save_model
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.registry import CONFIGS
from vqgen.models.vqvae import VQVAE
from vqgen.storage.documents import read_json
from vqgen.storage.tensors import read_shapes


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


SIZES = {
    "channels": 10**9, "layers": 10**9, "codebook_size": 10**12, "height": 10**9, "num_classes": 10**12,
    "kernel_size": 10**9 + 1, "attention_heads": 10**9, "output_layers": 10**9, "conditioning_layers": 10**9,
}  # fmt: skip


@pytest.mark.parametrize("field", SIZES)
def test_absurd_size_is_refused_without_building_the_model(tmp_path, field, monkeypatch):
    save_model(make_prior("bottom"), tmp_path / "a")
    config = read_json(tmp_path / "a" / "config.json")["config"]
    edit_json(tmp_path / "a" / "config.json", config=config | {field: SIZES[field]})
    monkeypatch.setattr(PixelCNN, "__init__", lambda *arguments: pytest.fail("was built"))
    with pytest.raises(
        CheckpointError, match=rf"config\.json: is not a configuration of a PixelCNN \({field}: .*(less|at most)"
    ):
        load_model(tmp_path / "a", PixelCNN)


@pytest.mark.parametrize(
    "changes", [{"channels": 65_536, "layers": 4}, pytest.param({"height": 8192, "width": 4}, marks=pytest.mark.slow)]
)
def test_weights_that_do_not_fit_are_refused_before_the_model_takes_memory(tmp_path, monkeypatch, changes):
    save_model(make_prior("bottom"), tmp_path / "a")
    config = read_json(tmp_path / "a" / "config.json")["config"]
    edit_json(tmp_path / "a" / "config.json", config=config | changes)
    built = []

    def build(model, config, build=PixelCNN.__init__):
        built.append(torch.empty(0).device.type)
        build(model, config)

    monkeypatch.setattr(PixelCNN, "__init__", build)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: holds another model's weights"):
        load_model(tmp_path / "a", PixelCNN)
    assert built == ["meta"]


def test_configuration_that_no_model_can_have_is_refused_in_one_line(tmp_path):
    save_model(make_prior("bottom"), tmp_path / "a")
    config = read_json(tmp_path / "a" / "config.json")["config"]
    edit_json(tmp_path / "a" / "config.json", config=config | {"coarser_height": 3})
    with pytest.raises(
        CheckpointError, match=r"config\.json: is not a configuration of a PixelCNN \(height x width"
    ) as error:
        load_model(tmp_path / "a", PixelCNN)
    assert "\n" not in str(error.value)


OF_IMAGES = {"image_size": 8, "image_channels": 1, "num_classes": 3}
BUILDERS = {
    "prior": lambda: make_prior("bottom", attention_every=1, mirror_conditioned=True),
    "vqvae": lambda: VQVAE(VQVAEConfig(downsample=(4, 2), channels=8, image_size=8, image_channels=1)),
    **{kind: partial(make_baseline, kind=kind) for kind in ("autoencoder", "vae", "binary-vae")},
    "residual": lambda: build_classifier(ClassifierConfig(channels=8, **OF_IMAGES)),
    "hidden-layer": lambda: build_classifier(ClassifierConfig(kind="hidden-layer", **OF_IMAGES)),
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_shapes_without_memory_are_those_of_the_model(tmp_path, kind):
    model = BUILDERS[kind]()
    save_model(model, tmp_path / "a")
    assert read_shapes(tmp_path / "a" / "model.safetensors") == {
        name: tuple(tensor.shape) for name, tensor in model.state_dict().items()
    }
    found = load_model(tmp_path / "a", type(model))
    for name, tensor in [*model.named_buffers(), *model.named_parameters()]:
        assert torch.equal(dict([*found.named_buffers(), *found.named_parameters()])[name], tensor), name


@pytest.mark.parametrize("note", [[], "abc", {"vqvae": 3}])
def test_damaged_note_of_the_origin_is_refused(tmp_path, note):
    save_model(make_prior("top"), tmp_path / "a")
    edit_json(tmp_path / "a" / "config.json", made_from=note)
    with pytest.raises(
        CheckpointError, match=r"config\.json: made_from: should be names with hashes; restore the file"
    ):
        made_from(tmp_path / "a")


@pytest.mark.slow
def test_opening_a_model_of_any_class_imports_no_compiler(tmp_path):
    """Shapes of tensors without memory can make torch import its compiler, which takes a second of every command."""
    models = [make_prior("bottom"), VQVAE(VQVAEConfig(downsample=(4, 2), channels=8, image_size=8, image_channels=1))]
    models += [make_baseline(kind=kind) for kind in ("autoencoder", "vae", "binary-vae")]
    models += [
        build_classifier(ClassifierConfig(image_channels=1, image_size=8, num_classes=2, kind=kind))
        for kind in get_args(ClassifierConfig.model_fields["kind"].annotation)
    ]
    assert {type(model) for model in models} == set(CONFIGS)
    for number, model in enumerate(models):
        save_model(model, tmp_path / str(number))
    program = """
import sys
from pathlib import Path
from vqgen.models.checkpoint import load_model
from vqgen.models.registry import CONFIGS
from vqgen.storage.documents import read_json
classes = {each.__name__: each for each in CONFIGS}
for folder in Path(sys.argv[1]).iterdir():
    load_model(folder, classes[read_json(folder / "config.json")["class"]])
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True, timeout=60)
