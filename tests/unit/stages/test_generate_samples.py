import json

import pytest

from vqgen import open_pipeline
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model
from vqgen.stages.generate_samples import generate_samples, request_of
from vqgen.stages.records import read_record

PRIORS = ("prior-top", "prior-bottom")


def finish(run, *stages, **options):
    for stage in stages:
        run.finish(stage, **options)


def test_request_has_the_settings_of_the_recipe(tiny_recipe, baseline_recipe):
    wanted = {"images_per_label": 5, "temperature": 0.5, "batch_size": 3}
    request = request_of(tiny_recipe(seed=7, generate=wanted | {"top_k": 4, "guidance_scale": 2.0}))
    assert (request.images_per_label, request.seed, request.batch_size, request.keep) == (5, 7, 3, 1)
    found = request.describe()
    assert (found["temperature"], found["top_k"], found["guidance_scale"]) == (0.5, 4, 2.0)
    assert request_of(baseline_recipe()).images_per_label == 1


def test_samples_of_every_label_are_written_once(make_run, tiny_recipe, capsys):
    run = make_run(tiny_recipe(generate={"images_per_label": 2}))
    finish(run, "vqvae", "codes", *PRIORS)
    generate_samples(run.context)
    folder = run.context.folder / "samples"
    assert sorted(path.parent.name for path in folder.glob("*/*.png")) == ["10", "10", "cat", "cat", "dog", "dog"]
    record = read_record(folder)
    assert record.complete
    assert record.inputs.keys() == {"vqvae", *PRIORS}
    assert record.metrics["images"] == 6
    listed = json.loads((folder / "samples.json").read_text())["images"]
    nats = [-entry["log_likelihood"] for entry in listed]
    assert record.metrics["nats_per_image"] == pytest.approx(sum(nats) / 6)
    assert f"samples: 6 images, {record.metrics['nats_per_image']:.4g} nats each, see" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    generate_samples(run.context)
    assert capsys.readouterr().out == "samples: complete\n"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_samples_are_the_request_to_the_pipeline_of_the_run(make_run):
    run = make_run()
    finish(run, "vqvae", "codes", *PRIORS)
    generate_samples(run.context)
    pipe = open_pipeline(run.pipeline, device="cpu")
    expected = pipe(images_per_label=1, seed=0).log_likelihood
    listed = json.loads((run.context.folder / "samples" / "samples.json").read_text())["images"]
    assert [entry["log_likelihood"] for entry in listed] == pytest.approx(expected.tolist())


def test_samples_of_a_baseline_have_no_likelihood(make_run, baseline_recipe, capsys):
    run = make_run(baseline_recipe(labels="conditional"))
    finish(run, "autoencoder")
    generate_samples(run.context)
    record = read_record(run.context.folder / "samples")
    assert (record.inputs.keys(), record.metrics) == ({"autoencoder"}, {"images": 3})
    assert "samples: 3 images, see" in capsys.readouterr().out
    assert len(list((run.context.folder / "samples").glob("*/*.png"))) == 3


def test_classifier_that_chooses_the_samples_is_an_input(make_run, tiny_recipe):
    recipe = tiny_recipe(classifier={"channels": 8, "stages": 2}, generate={"keep": 0.5})
    run = make_run(recipe)
    finish(run, "vqvae", "codes", *PRIORS)
    with pytest.raises(CheckpointError, match="classifier: is needed first"):
        generate_samples(run.context)
    finish(run, "classifier")
    generate_samples(run.context)
    assert read_record(run.context.folder / "samples").inputs.keys() == {"vqvae", *PRIORS, "classifier"}


def test_guides_are_inputs_of_autoguided_samples(make_run, tiny_recipe):
    priors = [prior.model_dump() | {"guide_share": 0.5} for prior in tiny_recipe().priors]
    run = make_run(tiny_recipe(priors=priors, generate={"autoguidance_scale": 1.5}))
    finish(run, "vqvae", "codes")
    finish(run, *PRIORS, guide_seed=3)
    generate_samples(run.context)
    inputs = read_record(run.context.folder / "samples").inputs
    assert inputs.keys() == {"vqvae", *PRIORS, "guide-top", "guide-bottom"}
    assert inputs["guide-top"] == hash_model(run.context.folder / "prior-top" / "guide")


def test_missing_prior_is_named(make_run):
    run = make_run()
    finish(run, "vqvae", "codes", "prior-top")
    with pytest.raises(CheckpointError, match="prior-bottom: is needed first, found nothing"):
        generate_samples(run.context)
    assert not (run.context.folder / "samples").exists()
