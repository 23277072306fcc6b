import json
import shutil

import pytest
import torch
from torchvision.models import alexnet

from vqgen.errors import CheckpointError, ConfigError
from vqgen.stages.feature_source import lpips_file, outside_classifier, outside_inputs
from vqgen.stages.records import StageRecord
from vqgen.storage.files import sha256_of_file


@pytest.fixture
def checkpoint(make_run, tiny_recipe, tmp_path):
    """A pipeline folder with a classifier of 8 x 8 grey images. It has a run of its own."""
    run = make_run(tiny_recipe(classifier={"channels": 8, "stages": 2}))
    run.finish("vqvae")
    run.finish("classifier", seed=3)
    shutil.copytree(run.pipeline, tmp_path / "other")
    shutil.rmtree(run.context.folder)
    return tmp_path / "other"


@pytest.fixture
def make(make_context, tiny_recipe):
    """Builds the context of a run with a perceptual loss."""
    return lambda data=(), **losses: make_context(tiny_recipe(data=dict(data), vqvae={"losses": losses}))


def classifier_hash(folder):
    return json.loads((folder / "pipeline.json").read_text())["sha256"]["classifier"]


def test_input_is_the_hash_of_the_network_and_not_its_path(make, checkpoint, tmp_path):
    expected = {"losses.classifier": classifier_hash(checkpoint)}
    assert outside_inputs(make(perceptual="classifier", classifier=str(checkpoint))) == expected
    moved = shutil.copytree(checkpoint, tmp_path / "moved")
    assert outside_inputs(make(perceptual="classifier", classifier=str(moved))) == expected
    file = tmp_path / "alexnet.pth"
    file.write_bytes(b"weights")
    found = outside_inputs(make(perceptual="lpips", lpips_weights=str(file)))
    assert found == {"losses.lpips_weights": sha256_of_file(file)}


def test_run_without_a_network_from_outside_has_no_such_input(make, make_context, tiny_recipe):
    assert outside_inputs(make()) == {}
    own = tiny_recipe(classifier={}, vqvae={"losses": {"perceptual": "classifier"}})
    assert outside_inputs(make_context(own)) == {}


def test_complete_stage_needs_its_network_no_more(make, checkpoint):
    context = make(perceptual="classifier", classifier=str(checkpoint))
    expected = outside_inputs(context)
    shutil.rmtree(checkpoint)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        outside_inputs(context)
    for is_complete in (False, True):
        StageRecord("vqvae", {}, expected, {}, complete=is_complete).write(context.folder / "vqvae")
        if is_complete:
            assert outside_inputs(context) == expected
        else:
            with pytest.raises(CheckpointError):
                outside_inputs(context)


def test_classifier_of_a_checkpoint_is_loaded_and_checked(make, checkpoint):
    context = make(perceptual="classifier", classifier=str(checkpoint))
    assert outside_classifier(context).config.image_channels == 1
    weights = checkpoint / "classifier" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(CheckpointError):
        outside_classifier(context)


def test_classifier_of_other_channels_is_refused(make, checkpoint):
    context = make({"channels": 3}, perceptual="classifier", classifier=str(checkpoint))
    with pytest.raises(
        ConfigError, match=r"should have a classifier of images with data.channels = 3, found one with 1"
    ):
        outside_classifier(context)


def test_residual_classifier_takes_images_of_any_size(make, checkpoint):
    context = make({"image_size": 16}, perceptual="classifier", classifier=str(checkpoint))
    assert outside_classifier(context).config.image_size == 8


def test_hidden_layer_classifier_of_another_size_is_refused(make, make_run, tiny_recipe, tmp_path):
    run = make_run(tiny_recipe(classifier={"kind": "hidden-layer", "hidden": 5}))
    run.finish("vqvae")
    run.finish("classifier")
    shutil.move(run.pipeline, tmp_path / "other")
    losses = {"perceptual": "classifier", "classifier": str(tmp_path / "other")}
    assert outside_classifier(make(**losses)).config.hidden == 5
    with pytest.raises(ConfigError, match=r'"hidden-layer" should be of images with data.image_size = 16, found 8'):
        outside_classifier(make({"image_size": 16}, **losses))


def test_checkpoint_without_a_classifier_is_refused(make, make_run, tmp_path):
    run = make_run()
    run.finish("vqvae")
    shutil.move(run.pipeline, tmp_path / "other")
    context = make(perceptual="classifier", classifier=str(tmp_path / "other"))
    with pytest.raises(
        CheckpointError, match=r"vqvae\.losses\.classifier: should be a checkpoint with a classifier, fo"
    ):
        outside_classifier(context)


def test_missing_weights_of_lpips_are_refused_with_both_ways_out(make, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    losses = make(perceptual="lpips").recipe.losses
    with pytest.raises(ConfigError) as caught:
        lpips_file(losses, "vqvae")
    for part in ("--lpips-weights FILE", "--vqvae.losses.perceptual classifier", "alexnet-owt-7be5be79.pth"):
        assert part in str(caught.value)
    given = make(perceptual="lpips", lpips_weights="gone.pth").recipe.losses
    with pytest.raises(ConfigError, match=r"lpips_weights: should be a file, found 'gone\.pth', which does not exist"):
        lpips_file(given, "vqvae")


def test_weights_in_the_cache_are_found(make, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth"
    path.parent.mkdir()
    torch.save(alexnet(weights=None).state_dict(), path)
    assert lpips_file(make(perceptual="lpips").recipe.losses, "vqvae") == path
