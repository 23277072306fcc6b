import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import make_prior

from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError, ConfigError
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline.baseline_parts import save_baseline
from vqgen.pipeline.parts import load_pipeline, save_pipeline
from vqgen.storage.documents import read_json
from vqgen.storage.tensors import load_tensors, save_tensors


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tree(folder):
    """Returns the bytes of every file of a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def saved(tmp_path, make_parts):
    save_pipeline(make_parts(), tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_pipeline_comes_back_whole(saved, make_parts):
    parts = make_parts()
    found = load_pipeline(saved)
    assert (found.name, found.data, found.label_map) == (parts.name, parts.data, parts.label_map)
    assert (found.split, found.texts) == (parts.split, parts.texts)
    assert list(found.priors) == ["top", "bottom"]
    for one, other in [(parts.vqvae, found.vqvae), *zip(parts.priors.values(), found.priors.values(), strict=True)]:
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert found.vqvae_hash == hash_model(saved / "vqvae")
    assert found.trained_on == {"top": found.vqvae_hash, "bottom": found.vqvae_hash}


def test_pipeline_does_not_name_the_folder_of_its_images(tmp_path, make_parts):
    parts = make_parts()
    parts.data = parts.data.model_copy(update={"root": "/home/somebody/secret", "workers": 3})
    save_pipeline(parts, tmp_path / "pipeline")
    assert not [name for name, content in tree(tmp_path).items() if b"somebody" in content]
    assert load_pipeline(tmp_path / "pipeline").data.root is None


def test_pipeline_opens_while_priors_are_missing(tmp_path, make_parts):
    parts = make_parts()
    del parts.priors["bottom"]
    save_pipeline(parts, tmp_path / "pipeline")
    assert list(load_pipeline(tmp_path / "pipeline").priors) == ["top"]


def test_same_parts_make_the_same_bytes(tmp_path, saved, make_parts):
    save_pipeline(make_parts(), tmp_path / "again")
    assert tree(tmp_path / "again") == tree(saved)
    save_pipeline(load_pipeline(saved), tmp_path / "loaded")
    assert tree(tmp_path / "loaded") == tree(saved)


MISFITS = [
    ("top", {"level": "bottom"}, "prior-top: level: should be that of this pipeline, top, found bottom"),
    ("top", {"height": 4}, r"prior-top: height x width: should be that of this pipeline, \(2, 2\), found \(4, 2\)"),
    ("bottom", {"coarser_height": 4}, r"prior-bottom: coarser_height x coarser_width: .* \(2, 2\), found \(4, 2\)"),
    (
        "bottom",
        {"conditioning_grids": 2},
        "prior-bottom: conditioning_grids: should be that of this pipeline, 1, found 2",
    ),
    ("bottom", {"codebook_size": 32}, "prior-bottom: codebook_size: should be that of this pipeline, 16, found 32"),
    ("bottom", {"num_classes": 5}, "prior-bottom: num_classes: should be that of this pipeline, 3, found 5"),
]


@pytest.mark.parametrize(("level", "changes", "match"), MISFITS)
def test_prior_that_does_not_fit_the_vqvae_is_refused_by_name(tmp_path, make_parts, level, changes, match):
    parts = make_parts()
    parts.priors[level] = make_prior(**({"level": level} | changes))
    save_pipeline(parts, tmp_path / "pipeline")  # with the hashes of these models
    with pytest.raises(CheckpointError, match=f"{match}; put the models of one run together"):
        load_pipeline(tmp_path / "pipeline")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"levels": ["top", "middle", "bottom"]}, "levels: should be that of the VQ-VAE beside it, .* found"),
        ({"levels": ["../x", "bottom"]}, "levels: should be that of the VQ-VAE beside it"),
        ({"data": {"source": "digits", "image_size": 16, "channels": 1}}, r"data\.image_size: .* 8, found 16"),
        ({"data": {"source": "digits", "image_size": 8, "channels": 3}}, r"data\.channels: .* 1, found 3"),
    ],
)
def test_document_that_does_not_fit_the_vqvae_is_refused(saved, changes, match):
    edit_json(saved / "pipeline.json", **changes)
    with pytest.raises(CheckpointError, match=rf"pipeline\.json: {match}"):
        load_pipeline(saved)


def test_prior_of_another_vqvae_is_refused_by_name(tmp_path, saved, make_parts):
    save_pipeline(make_parts(seed=1), tmp_path / "other")
    shutil.rmtree(saved / "prior-bottom")
    shutil.copytree(tmp_path / "other" / "prior-bottom", saved / "prior-bottom")
    with pytest.raises(CheckpointError, match=r"prior-bottom: was trained on codes of another VQ-VAE \([0-9a-f]{64}\)"):
        load_pipeline(saved)


def test_recorded_hash_of_the_vqvae_is_compared_with_the_vqvae(tmp_path, make_parts):
    parts = make_parts()
    parts.trained_on = {"top": "0" * 64}
    save_pipeline(parts, tmp_path / "pipeline")
    with pytest.raises(CheckpointError, match=rf"prior-top: was trained on codes of another VQ-VAE \({'0' * 64}\)"):
        load_pipeline(tmp_path / "pipeline")


@pytest.mark.parametrize("part", ["vqvae", "prior-top"])
def test_exchanged_model_is_refused_by_name(saved, part):
    weights, _ = load_tensors(saved / part / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + 1
    save_tensors(saved / part / "model.safetensors", weights)
    with pytest.raises(CheckpointError, match=f"{part}: is not the model that pipeline.json names: should be"):
        load_pipeline(saved)


def test_exchanged_configuration_is_refused_by_name(saved):
    document = read_json(saved / "prior-top" / "config.json")
    edit_json(saved / "prior-top" / "config.json", config=document["config"] | {"dropout": 0.75})
    with pytest.raises(CheckpointError, match=r"prior-top: is not the model that pipeline\.json names"):
        load_pipeline(saved)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, r"pipeline\.json: should have format_version 1, found 2"),
        ({"class": "FlowPipeline"}, "class: should be VQGenPipeline or BaselinePipeline, found 'FlowPipeline'; "),
        ({"class": None}, "class: should be VQGenPipeline or BaselinePipeline, found None; "),
        ({"data": {"source": "nowhere"}}, r"pipeline\.json: is not a valid pipeline\.json; restore it or"),
        ({"labels": ["a", "a", "b"]}, r"pipeline\.json: is not a valid pipeline\.json; restore it or"),
        ({"labels": None}, r"pipeline\.json: is not a valid pipeline\.json; restore it or"),
        ({"sha256": "abc"}, r"pipeline\.json: is not a valid pipeline\.json; restore it or"),
        ({"sha256": {}}, r"vqvae: is not the model that pipeline\.json names: should be None"),
    ],
)
def test_damaged_document_is_refused(saved, changes, match):
    edit_json(saved / "pipeline.json", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_pipeline(saved)


@pytest.mark.parametrize("key", ["data", "labels", "levels", "sha256"])
def test_document_without_a_key_is_refused(saved, key):
    document = read_json(saved / "pipeline.json")
    del document[key]
    (saved / "pipeline.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=rf"pipeline\.json: is not a valid pipeline\.json; .*: '{key}'"):
        load_pipeline(saved)


@pytest.mark.parametrize("name", ["vqvae/model.safetensors", "prior-bottom/config.json", "pipeline.json"])
def test_missing_file_of_a_pipeline_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"{re.escape(name)}: there is no such file"):
        load_pipeline(saved)


def test_full_disk_leaves_the_old_pipeline(saved, make_parts, monkeypatch):
    before = tree(saved.parent)
    calls = []

    def full(tensors, filename, metadata):
        calls.append(filename)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        Path(filename).write_bytes(b"")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_pipeline(make_parts(seed=1), saved)
    assert tree(saved.parent) == before
    monkeypatch.undo()
    assert load_pipeline(saved).name == "tiny"


def test_saved_weights_keep_their_dtype(folder, tmp_path):
    pipe = VQGenPipeline.from_pretrained(folder, device="cpu", dtype="float64")
    pipe.save_pretrained(tmp_path / "double")
    parts = load_pipeline(tmp_path / "double")
    assert parts.vqvae.decoder[0].weight.dtype == torch.float64
    document = read_json(tmp_path / "double" / "pipeline.json")
    assert document["sha256"]["vqvae"] == parts.vqvae_hash


@pytest.fixture
def guided_parts(make_parts):
    """The parts of a pipeline with a guide of its bottom prior."""
    parts = make_parts()
    torch.manual_seed(7)
    parts.guides["bottom"] = make_prior("bottom")
    return parts


def test_guides_are_saved_and_read_with_the_pipeline(guided_parts, tmp_path, cpu64):
    for _ in range(2):  # the second one replaces what the first wrote
        VQGenPipeline(guided_parts, cpu64).save_pretrained(tmp_path / "saved")
    found = load_pipeline(tmp_path / "saved").guides
    assert found.keys() == {"bottom"}
    expected = guided_parts.guides["bottom"].state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found["bottom"].state_dict().items())
    shutil.rmtree(tmp_path / "saved" / "guide-bottom")
    with pytest.raises(CheckpointError, match="guide-bottom"):
        load_pipeline(tmp_path / "saved")


def test_guide_of_other_sizes_is_refused(guided_parts, tmp_path):
    guided_parts.guides["bottom"] = make_prior("bottom", layers=1)
    save_pipeline(guided_parts, tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"guide-bottom: should be the prior beside it at an earlier step"):
        load_pipeline(tmp_path / "saved")


def test_baseline_is_refused_with_the_commands_that_accept_it(make_baseline_parts, tmp_path):
    save_baseline(make_baseline_parts(), tmp_path / "baseline")
    with pytest.raises(CheckpointError, match=r"should be a VQ-VAE with codes, found a baseline .* accept baselines"):
        load_pipeline(tmp_path / "baseline")


def test_frequencies_come_back(make_parts, tmp_path):
    parts = make_parts()
    parts.frequencies = {"top": torch.arange(16), "bottom": torch.ones(16, dtype=torch.int64)}
    save_pipeline(parts, tmp_path / "pipeline")
    found = load_pipeline(tmp_path / "pipeline").frequencies
    assert all(torch.equal(found[level].long(), parts.frequencies[level]) for level in ("top", "bottom"))


def sizes(folder):
    return {path.parent.name: path.stat().st_size for path in folder.rglob("model.safetensors")}


@pytest.mark.parametrize("dtype", ["float16", torch.bfloat16])
def test_priors_in_16_bits_are_half_as_large_and_only_rounded(saved, tmp_path, make_parts, dtype):
    parts = make_parts()
    parts.guides["bottom"] = make_prior("bottom", num_classes=3)
    pipe = VQGenPipeline(parts)
    save_pipeline(parts, tmp_path / "whole")
    pipe.save_pretrained(tmp_path / "half", prior_dtype=dtype)
    whole, half = sizes(tmp_path / "whole"), sizes(tmp_path / "half")
    assert half["vqvae"] == whole["vqvae"]
    assert all(half[name] < 0.6 * whole[name] for name in ("prior-top", "prior-bottom", "guide-bottom"))
    found = VQGenPipeline.from_pretrained(tmp_path / "half")
    exact = getattr(torch, str(dtype).removeprefix("torch."))
    for level, prior in found.parts.priors.items():
        for name, weight in prior.state_dict().items():
            original = parts.priors[level].state_dict()[name]
            expected = original.to(exact).to(original.dtype) if original.is_floating_point() else original
            assert torch.equal(weight, expected)
    assert found.parts.trained_on["top"] == found.model_hash


def test_weight_too_large_for_16_bits_is_refused_and_nothing_is_written(tmp_path, make_parts):
    parts = make_parts()
    with torch.no_grad():
        parts.priors["top"].embedding.weight[0, 0] = 1e6
    with pytest.raises(CheckpointError, match=r"embedding.weight should be at most 65504 in float16, found 1e\+06"):
        VQGenPipeline(parts).save_pretrained(tmp_path / "half", prior_dtype="float16")
    assert not (tmp_path / "half").exists()


def test_classifier_in_16_bits_is_only_rounded(tmp_path, make_parts, make_classifier):
    parts = make_parts()
    parts.classifier = make_classifier()
    VQGenPipeline(parts).save_pretrained(tmp_path / "whole")
    VQGenPipeline(parts).save_pretrained(tmp_path / "half", classifier_dtype="float16")
    whole, half = sizes(tmp_path / "whole"), sizes(tmp_path / "half")
    assert half["classifier"] < 0.7 * whole["classifier"]
    assert {name: size for name, size in half.items() if name != "classifier"} == {
        name: size for name, size in whole.items() if name != "classifier"
    }
    found = VQGenPipeline.from_pretrained(tmp_path / "half").parts.classifier
    assert found is not None
    for name, weight in found.state_dict().items():
        original = parts.classifier.state_dict()[name]
        expected = original.half().to(original.dtype) if original.is_floating_point() else original
        assert torch.equal(weight, expected)


def test_vqvae_in_16_bits_is_another_model_with_the_same_priors(tmp_path, make_parts):
    parts = make_parts()
    VQGenPipeline(parts).save_pretrained(tmp_path / "whole")
    VQGenPipeline(parts).save_pretrained(tmp_path / "half", vqvae_dtype="float16")
    whole, half = sizes(tmp_path / "whole"), sizes(tmp_path / "half")
    assert half["vqvae"] < 0.7 * whole["vqvae"]
    found = VQGenPipeline.from_pretrained(tmp_path / "half")
    assert found.parts.vqvae_hash != VQGenPipeline.from_pretrained(tmp_path / "whole").parts.vqvae_hash
    assert set(found.parts.trained_on.values()) == {found.parts.vqvae_hash}
    for name, weight in found.vqvae.state_dict().items():
        original = parts.vqvae.state_dict()[name]
        assert torch.equal(weight, original.half().to(original.dtype) if original.is_floating_point() else original)


@pytest.mark.parametrize("argument", ["prior_dtype", "classifier_dtype", "vqvae_dtype"])
def test_unknown_dtype_of_the_file_is_refused(tmp_path, make_parts, argument):
    with pytest.raises(ConfigError, match=f"{argument}: should be one of float32"):
        VQGenPipeline(make_parts()).save_pretrained(tmp_path / "half", **{argument: "int8"})
