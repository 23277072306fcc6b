"""Stages that begin with the models of another run: the inputs, what is taken and told, and every refusal."""

import json
import shutil

import pytest
import torch

from vqgen import open_pipeline
from vqgen.models.checkpoint import load_model, made_from, save_model
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.stages.autoencoder.train import train_autoencoder
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.records import read_record
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_prior import train_prior
from vqgen.stages.train_vqvae import train_vqvae
from vqgen.stages.vqvae_objective import VQVAEObjective
from vqgen.stages.warm_start import NOTE
from vqgen.storage.files import sha256_of_json


def model_in(source, stage, kind):
    return load_model(source / stage / "model", kind).state_dict()


def test_vqvae_begins_with_codebooks_and_all_weights(make_warm, source, begun, capsys):
    context = make_warm(vqvae={"quantize_after": 200})
    train_vqvae(context)
    expected = model_in(source, "vqvae", VQVAE)
    differing = [name for name, tensor in begun["vqvae"].items() if not torch.equal(tensor, expected[name])]
    assert [name for name in differing if not name.endswith(".steps")] == []
    record = read_record(context.folder / "vqvae")
    sha256 = read_record(source / "vqvae").output
    assert record.inputs == {"images": "hash of the images", "init_from": sha256}
    assert made_from(context.folder / "vqvae" / "model") == record.inputs
    assert record.metrics["best_step"] > 0
    count = len(expected)
    assert f"vqvae: begins with {count} of {count} tensors" in capsys.readouterr().out
    note = json.loads((context.folder / "vqvae" / NOTE).read_text())
    assert note["init_from"] == sha256
    assert note["taken"].keys() == expected.keys()
    assert (note["labels"], note["not_taken"]) == ([], {})


@pytest.mark.slow
def test_vqvae_counts_its_first_validation(make_warm):
    """Without a start the first quarter of the steps has no codes, so its validations choose no weights."""
    train = {"steps": 16, "validate_every": 1, "batch_size": 8, "learning_rate": 1e-9}
    context = make_warm(vqvae={"quantize_after": 4, "codebook_decay": 0.99, "level_dropout": 0.0, "train": train})
    counted = []
    real = VQVAEObjective.validation_counts

    def counts(objective, step, place):
        counted.append(real(objective, step, place))
        return counted[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VQVAEObjective, "validation_counts", counts)
        train_vqvae(context)
    assert counted == [True] * 16


def test_prior_takes_rows_of_labels_by_name(make_warm, source, begun, make_run):
    context = make_warm()
    make_run(context.recipe).finish("vqvae")
    extract_codes(context)
    train_prior(context, "bottom")
    expected = model_in(source, "prior-bottom", PixelCNN)
    found = begun["prior-bottom"]
    others = [name for name in found if name != "label_embedding.weight"]
    assert [name for name in others if not torch.equal(found[name], expected[name])] == []
    rows, there = found["label_embedding.weight"], expected["label_embedding.weight"]
    assert torch.equal(rows[[0, 2, 3]], there[[1, 0, 3]])
    assert not any(torch.equal(rows[1], row) for row in there)
    record = read_record(context.folder / "prior-bottom")
    assert record.inputs["init_from"] == read_record(source / "prior-bottom").output
    assert record.inputs["init_from_labels"] == sha256_of_json(["cat", "dog", "10"])
    assert record.inputs.keys() == {"vqvae", "codes", "init_from", "init_from_labels"}
    assert json.loads((context.folder / "prior-bottom" / NOTE).read_text())["labels"] == ["dog", "cat"]


def test_classifier_takes_its_last_layer_by_label(make_warm, begun, source, capsys):
    context = make_warm()
    train_classifier(context)
    there = load_model(source / "classifier" / "model", type(open_pipeline(source).parts.classifier)).head
    assert torch.equal(begun["classifier"]["head.bias"][[0, 2]], there.bias[[1, 0]])
    assert torch.equal(begun["classifier"]["head.weight"][[0, 2]], there.weight[[1, 0]])
    assert "  head.bias: 1 of 3 numbers are of labels that are new" in capsys.readouterr().out


def test_baseline_begins_with_the_baseline_of_another_run(make_run, baseline_recipe, begun, tmp_path, make_context):
    run = make_run(baseline_recipe(labels="conditional"))
    run.finish("autoencoder", seed=7)
    source = run.context.folder.rename(tmp_path / "source")
    recipe = baseline_recipe(labels="conditional").model_copy(update={"init_from": str(source)})
    context = make_context(recipe)
    train_autoencoder(context)
    expected = open_pipeline(source).parts.model.state_dict()
    assert [name for name, tensor in begun["autoencoder"].items() if not torch.equal(tensor, expected[name])] == []


@pytest.mark.slow
def test_other_sizes_take_what_fits_and_tell_the_rest(make_warm, capsys, make_run):
    context = make_warm(priors=[{"layers": 3, "channels": 8, "attention_heads": 2, "attention_every": 0,
                                 "train": {"steps": 2, "batch_size": 8}}] * 2)  # fmt: skip
    make_run(context.recipe).finish("vqvae")
    extract_codes(context)
    train_prior(context, "top")
    told = capsys.readouterr().out
    assert "  blocks.2.norm.weight: has no counterpart\n" in told
    assert f"more, which prior-top/{NOTE} lists\n" in told
    assert "blocks.2.norm.bias" in json.loads((context.folder / "prior-top" / NOTE).read_text())["not_taken"]


def test_model_that_is_missing_there_begins_at_random(make_warm, source, capsys, make_run, tiny_recipe):
    document = json.loads((source / "pipeline" / "pipeline.json").read_text())
    del document["sha256"]["prior-top"]
    (source / "pipeline" / "pipeline.json").write_text(json.dumps(document))
    context = make_warm()
    make_run(context.recipe).finish("vqvae")
    extract_codes(context)
    train_prior(context, "top")
    assert f"prior-top: begins at random, {source} has no such model" in capsys.readouterr().out
    assert read_record(context.folder / "prior-top").inputs.keys() == {"vqvae", "codes"}


@pytest.mark.slow
def test_weights_of_16_bits_are_taken(make_warm, source, begun):
    pipe = open_pipeline(source, device="cpu")
    shutil.rmtree(source / "pipeline")
    pipe.save_pretrained(source / "pipeline")
    document = json.loads((source / "pipeline" / "pipeline.json").read_text())
    document["sha256"]["vqvae"] = save_model(pipe.parts.vqvae, source / "pipeline" / "vqvae", dtype=torch.bfloat16)
    (source / "pipeline" / "pipeline.json").write_text(json.dumps(document))
    train_vqvae(make_warm())
    found = begun["vqvae"]["decoder.0.weight"]
    assert found.dtype == torch.float32
    assert torch.equal(found, pipe.parts.vqvae.decoder[0].weight.bfloat16().float())
