import pytest
import torch
from tiny_models import BASELINES

from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline.baseline_parts import load_baseline, save_baseline
from vqgen.pipeline.parts import save_pipeline
from vqgen.storage.tensors import load_tensors, save_tensors


@pytest.fixture
def saved(tmp_path, make_baseline_parts):
    save_baseline(make_baseline_parts(), tmp_path / "pipeline")
    return tmp_path / "pipeline"


@pytest.mark.parametrize("settings", BASELINES, ids=lambda settings: "-".join(map(str, settings.values())))
def test_baseline_comes_back_whole(tmp_path, make_baseline_parts, settings):
    parts = make_baseline_parts(**{"labels": "unused", "num_classes": 0} | settings)
    save_baseline(parts, tmp_path / "p")
    found = load_baseline(tmp_path / "p")
    assert type(found.model) is type(parts.model)
    assert (found.name, found.data, found.label_map, found.split) == (
        parts.name,
        parts.data,
        parts.label_map,
        parts.split,
    )
    expected = parts.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.model.state_dict().items())
    assert found.model_hash == hash_model(tmp_path / "p" / "autoencoder")


def test_pipeline_of_codes_is_refused(make_parts, tmp_path):
    save_pipeline(make_parts(), tmp_path / "codes")
    with pytest.raises(
        CheckpointError, match="should be a baseline, found a VQGenPipeline; `open_pipeline` opens both"
    ):
        load_baseline(tmp_path / "codes")


def test_exchanged_model_is_refused(saved):
    path = saved / "autoencoder" / "model.safetensors"
    weights, _ = load_tensors(path)
    name = sorted(weights)[0]
    save_tensors(path, weights | {name: weights[name] + 1})
    with pytest.raises(CheckpointError, match=r"autoencoder: is not the model that pipeline\.json names"):
        load_baseline(saved)


def test_model_of_another_class_is_refused(saved):
    path = saved / "autoencoder" / "config.json"
    path.write_text(path.read_text().replace('"VAE"', '"GAN"'))
    with pytest.raises(
        CheckpointError, match="autoencoder: should hold a Autoencoder or a VAE or a BinaryVAE, found a GAN"
    ):
        load_baseline(saved)
