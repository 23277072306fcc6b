import json
import re
import shutil
import stat
from pathlib import Path

import pytest
import torch
from tiny_models import make_prior

from vqgen.config import PixelCNNConfig
from vqgen.config.base import is_unchanged_added_field
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model, load_model, made_from, save_model
from vqgen.models.classifier import Classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.registry import CONFIGS
from vqgen.models.vqvae import VQVAE
from vqgen.storage.documents import read_json
from vqgen.storage.files import sha256_of_json
from vqgen.storage.tensors import load_tensors, save_tensors


@pytest.fixture
def vqvae(make_parts):
    return make_parts().vqvae


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tree(folder):
    """Every file of a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_model_comes_back_bit_for_bit(tmp_path, vqvae, dtype):
    vqvae = vqvae.to(dtype)
    save_model(vqvae, tmp_path / "model")
    torch.manual_seed(99)
    found = load_model(tmp_path / "model", VQVAE)
    assert not found.training
    assert found.config == vqvae.config
    assert found.state_dict().keys() == vqvae.state_dict().keys()
    for name, tensor in vqvae.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
        assert found.state_dict()[name].dtype == tensor.dtype, name
    images = torch.rand(2, 1, 8, 8, dtype=dtype)
    assert torch.equal(found(images).reconstruction, vqvae(images).reconstruction)


def test_model_of_residual_networks_comes_back_bit_for_bit(tmp_path, make_parts):
    options = {"upsampling": "nearest", "channel_multipliers": (1, 2), "attention_heads": 2}
    vqvae = make_parts(architecture="residual", **options).vqvae
    save_model(vqvae, tmp_path / "model")
    found = load_model(tmp_path / "model", VQVAE)
    assert found.config == vqvae.config
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(found(images).reconstruction, vqvae(images).reconstruction)


def test_stored_model_of_a_time_before_architectures_has_the_network_of_the_paper(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text())
    for name in ("architecture", "upsampling", "channel_multipliers", "attention_heads"):
        del stored["config"][name]
    (tmp_path / "model" / "config.json").write_text(json.dumps(stored))
    found = load_model(tmp_path / "model", VQVAE)
    assert found.config == vqvae.config
    assert found.config.architecture == "paper"


def test_codebook_that_has_started_does_not_start_again(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "model")
    found = load_model(tmp_path / "model", VQVAE).train()
    before = found.quantizers[0].codebook.clone()
    found(torch.rand(2, 1, 8, 8))
    assert torch.equal(found.quantizers[0].codebook, before)


def test_prior_comes_back_bit_for_bit(tmp_path):
    prior = make_prior("bottom", slope="raster").eval()
    save_model(prior, tmp_path / "model", {"vqvae": "abc", "codes": "def"})
    found = load_model(tmp_path / "model", PixelCNN)
    assert found.config == prior.config
    codes = torch.randint(16, (2, 4, 4))
    coarser = torch.randint(16, (2, 2, 2))
    labels = torch.tensor([0, -1])
    assert torch.equal(
        found(codes, labels, found.encode_condition(coarser)), prior(codes, labels, prior.encode_condition(coarser))
    )
    assert made_from(tmp_path / "model") == {"vqvae": "abc", "codes": "def"}


def test_hash_covers_weights_configuration_and_class_only(tmp_path, vqvae, make_parts, tiny_vqvae_config):
    first = save_model(vqvae, tmp_path / "a", {"images": "x"})
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert hash_model(tmp_path / "a") == first
    assert save_model(vqvae, tmp_path / "other" / "name", {"images": "y"}) == first
    with torch.no_grad():
        weight = vqvae.decoder[0].bias
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    second = save_model(vqvae, tmp_path / "b")
    assert second != first
    vqvae.config = tiny_vqvae_config(commitment_weight=0.5)
    assert save_model(vqvae, tmp_path / "c") not in (first, second)
    edit_json(tmp_path / "a" / "config.json", **{"class": "Other"})
    assert hash_model(tmp_path / "a") != first


def test_hash_needs_both_files(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: there is no such file, so .*a is not a complete model"
    ):
        hash_model(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"config\.json: there is no such file"):
        hash_model(tmp_path / "gone")


def test_model_of_another_class_is_refused_by_name(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    with pytest.raises(CheckpointError, match="a: should hold a PixelCNN, found a VQVAE"):
        load_model(tmp_path / "a", PixelCNN)


def test_weights_that_do_not_fit_name_the_leaf_and_both_shapes(tmp_path, vqvae, make_parts):
    save_model(vqvae, tmp_path / "a")
    save_model(make_parts(embedding_dim=6).vqvae, tmp_path / "b")
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "a", VQVAE)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("model.safetensors: holds another model's weights:")
    assert lines[1] == "  decoder.0.weight: should have shape (8, 8, 3, 3), found (8, 12, 3, 3)"
    assert len(lines) == 10
    assert re.fullmatch(r"  and \d+ more", lines[-1])


def test_missing_and_superfluous_weights_are_named(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    path = tmp_path / "a" / "model.safetensors"
    weights, _ = load_tensors(path)
    weights["brand.new"] = weights.pop("decoder.0.bias")
    weights["quantizers.0.codebook"] = torch.zeros(16, 5)
    save_tensors(path, weights)
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "a", VQVAE)
    assert str(caught.value).splitlines()[1:] == [
        "  brand.new: is not a part of this model",
        "  decoder.0.bias: is missing",
        "  quantizers.0.codebook: should have shape (16, 4), found (16, 5)",
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, r"config\.json: should have format_version 1, found 2; use the vqgen that wrote it"),
        ({"format_version": None}, "should have format_version 1, found None"),
        ({"class": None}, "should hold a VQVAE, found a None"),
        ({"config": None}, r"config\.json: is not a configuration of a VQVAE"),
        ({"config": {"colour": 1}}, r"config\.json: is not a configuration of a VQVAE"),
    ],
)
def test_damaged_configuration_is_refused(tmp_path, vqvae, changes, match):
    save_model(vqvae, tmp_path / "a")
    edit_json(tmp_path / "a" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_model(tmp_path / "a", VQVAE)


def test_model_files_have_the_usual_rights(tmp_path, vqvae):
    (tmp_path / "usual").write_text("")
    save_model(vqvae, tmp_path / "a")
    paths = [tmp_path / "usual", tmp_path / "a" / "config.json", tmp_path / "a" / "model.safetensors"]
    assert len({stat.S_IMODE(path.stat().st_mode) for path in paths}) == 1


def test_folder_in_place_of_the_weights_is_refused(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    (tmp_path / "a" / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match=r"a/model\.safetensors: is damaged or cut short"):
        load_model(tmp_path / "a", VQVAE)


def test_truncated_weights_are_named(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    truncate(tmp_path / "a" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"a/model\.safetensors: is damaged or cut short"):
        load_model(tmp_path / "a", VQVAE)


def test_full_disk_leaves_the_old_model(tmp_path, vqvae, monkeypatch):
    save_model(vqvae, tmp_path / "a")
    before = tree(tmp_path)

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(vqvae, tmp_path / "a")
    with pytest.raises(OSError, match="No space left"):
        save_model(vqvae, tmp_path / "b")
    assert tree(tmp_path) == before


# Models that exist


PRETRAINED = Path(__file__).parents[3] / "checkpoints" / "pretrained" / "digits"
MODELS = {"vqvae": VQVAE, "prior-top": PixelCNN, "prior-bottom": PixelCNN, "classifier": Classifier}


@pytest.mark.parametrize("part", MODELS)
def test_shipped_model_has_the_hash_of_its_pipeline(part):
    assert hash_model(PRETRAINED / part) == read_json(PRETRAINED / "pipeline.json")["sha256"][part]


@pytest.mark.parametrize("part", MODELS)
def test_shipped_model_is_saved_again_with_the_same_weights_and_values(tmp_path, part):
    old = PRETRAINED / part
    save_model(load_model(old, MODELS[part]), tmp_path / part, made_from(old))
    document = read_json(old / "config.json")
    again = read_json(tmp_path / part / "config.json")
    config = document.pop("config")
    stored = again.pop("config")
    assert again == document
    assert {name: stored[name] for name in config} == config
    # A field that is younger than the file has its default, which is the old behaviour.
    fields = CONFIGS[MODELS[part]].model_validate(config)
    renamed = {old: new.name for old, new in type(fields).old_names.items()}
    assert all(is_unchanged_added_field(fields, renamed.get(name, name)) for name in stored.keys() - config.keys())
    weights = (tmp_path / part / "model.safetensors").read_bytes()
    assert weights == (old / "model.safetensors").read_bytes()
    # With the fields of the file alone, the hash is the old one.
    edit_json(tmp_path / part / "config.json", config={name: stored[name] for name in config})
    assert hash_model(tmp_path / part) == hash_model(old)


OLD_NAMES = {
    "slope": 2, "kernel_size": 5, "layers": 2, "channels": 8, "attention_every": 0, "attention_heads": 4,
    "dropout": 0.1, "code_dropout": 0.0, "coarser_dropout": 0.0, "hiding_keeps": "size", "hiding_share": 0.75,
    "label_dropout": 0.1, "label_contrast": 0.0, "label_contrast_share": 0.25, "conditioning_layers": 1,
    "output_layers": 1, "level": "bottom", "height": 4, "width": 4, "codebook_size": 16, "num_classes": 3,
    "coarser_height": 2, "coarser_width": 2, "is_told_mirrored": True,
}  # fmt: skip
"""Configuration of a prior as files have it: the names of fields are the ones that they had first."""


def test_prior_stored_under_old_names_keeps_its_file_and_its_hash(tmp_path):
    first = save_model(PixelCNN(PixelCNNConfig.model_validate(OLD_NAMES)), tmp_path / "a")
    assert read_json(tmp_path / "a" / "config.json")["config"] == OLD_NAMES
    assert sha256_of_json(OLD_NAMES) == "0a486467d25ee6d5624eb8bb371752236d20160fe05456c65846f46cff1f9414"
    found = load_model(tmp_path / "a", PixelCNN)
    assert (found.config.rescale, found.config.input_dropout_share, found.config.mirror_conditioned) == (
        False,
        0.75,
        True,
    )
    assert save_model(found, tmp_path / "b") == first
    assert (tmp_path / "b" / "config.json").read_bytes() == (tmp_path / "a" / "config.json").read_bytes()
