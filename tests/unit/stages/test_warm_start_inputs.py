"""The start of a stage as one of its inputs, and every refusal before anything changes."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from vqgen.errors import CheckpointError, ConfigError, VQGenError
from vqgen.models.checkpoint import load_model, save_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.bookkeeping import check_unchanged, is_up_to_date
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.records import read_record
from vqgen.stages.states import stage_states
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_prior import train_prior
from vqgen.stages.train_vqvae import train_vqvae
from vqgen.stages.warm_start import StartFit, fit_of_start, start_inputs, warm_start, without_start

# The start as an input


def test_stage_without_a_start_has_no_further_inputs(make_context):
    context = make_context()
    assert start_inputs(context, "vqvae") == {}
    assert warm_start(context, "vqvae").inputs == {}


@pytest.mark.slow
def test_complete_stage_is_kept_with_its_start_and_refused_with_another_one(make_warm, source, tmp_path, begun):
    context = make_warm()
    output = train_vqvae(context)
    begun.clear()
    assert train_vqvae(make_warm()) == output
    assert begun == {}
    assert is_up_to_date(make_warm(), "vqvae")
    assert stage_states(make_warm())["vqvae"] == "skip, complete"
    moved = source.rename(tmp_path / "moved")
    assert train_vqvae(make_warm(moved)) == output  # by its hash, not its name

    without = make_warm(None)
    with pytest.raises(CheckpointError, match=r"init_from: .* -> \(absent\)\n--init-from CHECKPOINT, as when it began"):
        train_vqvae(without)
    assert stage_states(without)["vqvae"].startswith("refuse without --redo: init_from: ")
    model = load_model(moved / "pipeline" / "vqvae", VQVAE)
    with torch.no_grad():
        model.decoder[0].bias.add_(1)
    document = json.loads((moved / "pipeline" / "pipeline.json").read_text())
    document["sha256"]["vqvae"] = save_model(model, moved / "pipeline" / "vqvae")
    (moved / "pipeline" / "pipeline.json").write_text(json.dumps(document))
    for check in (is_up_to_date, lambda context, stage: check_unchanged(context, [stage])):
        with pytest.raises(CheckpointError, match=r"init_from: .*\n--redo moves it aside"):
            check(make_warm(moved), "vqvae")
    again = make_warm(moved)
    again.redo = True
    assert train_vqvae(again) != output
    assert begun.keys() == {"vqvae"}


def test_model_that_changes_after_its_hash_was_noted_is_not_taken(make_warm):
    start = replace(warm_start(make_warm(), "vqvae"), inputs={"init_from": "another hash"})
    with pytest.raises(CheckpointError, match=r"init_from: vqvae in .* has changed since the stage began"):
        start(torch.nn.Identity())


@pytest.mark.slow
def test_training_that_has_begun_needs_no_checkpoint_any_more(make_warm, source, more_steps, begun, tiny_recipe):
    context = make_warm()
    train_vqvae(context)
    inputs = read_record(context.folder / "vqvae").inputs
    shutil.rmtree(source)
    assert start_inputs(make_warm(), "vqvae") == {"init_from": inputs["init_from"]}
    train_vqvae(make_warm())
    longer = make_warm()
    more_steps(longer, "vqvae", 4)
    train_vqvae(longer)
    record = read_record(context.folder / "vqvae")
    assert (record.inputs, record.metrics["steps"]) == (inputs, 8)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        train_classifier(make_warm())
    # Begun, but cut before the first state.
    replace(record, complete=False).write(context.folder / "vqvae")
    shutil.rmtree(context.folder / "vqvae" / "state")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        train_vqvae(make_warm())


@pytest.mark.slow
def test_more_steps_go_on_from_the_state_and_not_from_the_start(make_warm, more_steps, begun, capsys):
    def run(steps):
        train = {"steps": steps, "batch_size": 8, "validate_every": 2, "save_every": 2, "schedule": "constant"}
        return make_warm(vqvae={"train": train, "quantize_after": 1})

    whole = run(8)
    expected = train_vqvae(whole)
    shutil.rmtree(whole.folder)
    train_vqvae(run(4))
    longer = run(4)
    capsys.readouterr()
    more_steps(longer, "vqvae", 4)
    assert train_vqvae(longer) == expected
    assert "begins with" not in capsys.readouterr().out


def test_inputs_of_a_start_are_told_apart():
    assert without_start({"images": "a", "init_from": "b", "init_from_labels": "c"}) == {"images": "a"}


# Refusals


def test_checkpoint_that_does_not_exist_is_refused(make_warm, tmp_path):
    context = make_warm(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="nowhere': there is no such folder"):
        train_vqvae(context)
    assert not (context.folder / "vqvae").exists()


def test_run_does_not_begin_with_itself(make_context, make_run, tiny_recipe):
    run = make_run(tiny_recipe())
    run.finish("vqvae")
    context = make_context(tiny_recipe(init_from=str(run.context.folder)), redo=True)
    with pytest.raises(ConfigError, match="init_from: should be another run than the one that begins, found "):
        train_vqvae(context)
    assert read_record(context.folder / "vqvae").complete


def test_baseline_is_no_start_of_a_vqvae_but_its_classifier_is_one(make_run, baseline_recipe, tmp_path, make_warm):
    classifier = make_warm().recipe.classifier
    run = make_run(baseline_recipe().model_copy(update={"classifier": classifier}))
    for stage in ("autoencoder", "classifier"):
        run.finish(stage)
    other = run.context.folder.rename(tmp_path / "other")
    with pytest.raises(
        ConfigError, match="should be a VQ-VAE with priors, as the recipe, found a baseline without codes"
    ):
        train_vqvae(make_warm(other))
    assert fit_of_start(make_warm(other), "classifier").share == 1


def test_vqvae_of_which_nothing_fits_is_refused_with_the_fields_that_differ(make_warm):
    context = make_warm(vqvae={"channels": 12, "embedding_dim": 3})
    with pytest.raises(ConfigError) as caught:
        train_vqvae(context)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("init_from: nothing of vqvae in ")
    assert lines[1:3] == ["  channels: 8 -> 12", "  embedding_dim: 4 -> 3"]
    assert lines[3] == "  encoders.0.0.weight: should have shape (6, 12, 4, 4), found (4, 8, 4, 4)"
    assert not (context.folder / "vqvae").exists()


@pytest.mark.slow
def test_prior_of_which_nothing_fits_begins_at_random(make_warm, make_run, capsys, begun, make_context):
    prior = {"layers": 1, "channels": 12, "attention_heads": 2, "train": {"steps": 2, "batch_size": 8}}
    context = make_warm(priors=[prior] * 2)
    make_run(context.recipe).finish("vqvae")
    extract_codes(context)
    train_prior(context, "top")
    assert "prior-top: begins at random, no weights of " in capsys.readouterr().out
    assert fit_of_start(context, "prior-top") == StartFit(reason="nothing fits")
    warm = begun.pop("prior-top")
    shutil.rmtree(context.folder / "prior-top")
    context.recipe = context.recipe.model_copy(update={"init_from": None})
    train_prior(context, "top")
    assert all(torch.equal(tensor, warm[name]) for name, tensor in begun["prior-top"].items())


def test_classifier_of_another_kind_is_refused(make_warm):
    context = make_warm()
    section = context.recipe.classifier.model_copy(update={"kind": "hidden-layer"})
    context.recipe = context.recipe.model_copy(update={"classifier": section})
    with pytest.raises(
        CheckpointError, match="should be a HiddenLayerClassifier, as in the recipe, found a Classifier"
    ):
        train_classifier(context)


@pytest.mark.parametrize("damage", ["cut", "other", "no weights", "no config", "no document", "wrong document"])
def test_damaged_checkpoint_is_refused_before_anything_changes(make_warm, source, damage):
    folder = source / "pipeline"
    weights = folder / "vqvae" / "model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[: len(content) // 2])
    elif damage == "other":
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        (folder / "vqvae" / "config.json").write_text("{")
    elif damage == "no document":
        (folder / "pipeline.json").unlink()
    else:
        (folder / "pipeline.json").write_text('{"format_version": 1}')
    context = make_warm()
    with pytest.raises(VQGenError, match=r"vqvae|pipeline"):
        train_vqvae(context)
    assert not (context.folder / "vqvae").exists()
