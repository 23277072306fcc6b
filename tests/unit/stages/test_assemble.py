"""The pipeline folder of a run, after every stage, after a redone stage and after a failure."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vqgen import BaselinePipeline, VQGenPipeline, open_pipeline
from vqgen.config.portable import portable_document
from vqgen.data import Reading
from vqgen.models.checkpoint import hash_model
from vqgen.pipeline.parts import FREQUENCIES
from vqgen.stages import assemble
from vqgen.stages.assemble import records_that_belong
from vqgen.stages.records import StageRecord, read_record
from vqgen.storage.documents import read_json, read_toml

STAGES = ["vqvae", "codes", "prior-top", "prior-bottom", "classifier"]


@pytest.fixture
def run(make_run):
    """A finished run. The prior of the bottom level has a guide."""
    run = make_run(redo=True)
    for stage in STAGES:
        run.finish(stage, guide_seed=7 if stage == "prior-bottom" else None)
    return run


def redo(run, stage, seed=0, **options):
    """Makes one stage again, as if a field of its recipe had changed."""
    shutil.move(run.context.folder / stage, run.context.folder / f"{stage}.old-1")
    return run.finish(stage, seed, **options)


def contents(folder):
    """Every file below a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def models(run):
    """Names of the models in the pipeline folder."""
    return {path.name for path in run.pipeline.iterdir() if path.is_dir()}


def assert_same_as_stages(run):
    """Asserts that every model of the pipeline has the bytes of its stage, and its hash in pipeline.json."""
    hashes = read_json(run.pipeline / "pipeline.json")["sha256"]
    assert hashes.keys() == models(run)
    for name, sha256 in hashes.items():
        is_guide = name.startswith("guide-")
        stage = name.replace("guide-", "prior-")
        assert contents(run.pipeline / name) == contents(
            run.context.folder / stage / ("guide" if is_guide else "model")
        )
        assert hash_model(run.pipeline / name) == sha256


# after each stage


def test_pipeline_opens_after_every_stage(make_run):
    run = make_run()
    for stage in STAGES:
        run.finish(stage, guide_seed=7 if stage == "prior-bottom" else None)
        pipe = open_pipeline(run.pipeline, device="cpu")
        assert isinstance(pipe, VQGenPipeline)
        assert (stage in models(run)) == (stage != "codes")
        assert_same_as_stages(run)
    assert models(run) == {"vqvae", "prior-top", "prior-bottom", "guide-bottom", "classifier"}
    assert list(pipe.parts.priors) == ["top", "bottom"]
    assert pipe.parts.split == {"train": [0], "validation": [1]}


def test_pipeline_of_a_baseline_opens_after_every_stage(make_run, baseline_recipe):
    run = make_run(baseline_recipe())
    for stage in ("autoencoder", "classifier"):
        run.finish(stage)
        assert isinstance(open_pipeline(run.pipeline, device="cpu"), BaselinePipeline)
        assert_same_as_stages(run)
    assert models(run) == {"autoencoder", "classifier"}


def test_classifier_alone_makes_no_pipeline(make_run):
    run = make_run()
    run.finish("classifier")
    assert not run.pipeline.exists()
    run.finish("vqvae")
    assert models(run) == {"vqvae", "classifier"}


def test_frequencies_follow_the_extraction_of_codes(make_run):
    run = make_run()
    run.finish("vqvae")
    assert not (run.pipeline / FREQUENCIES).exists()
    run.finish("codes")
    frequencies = open_pipeline(run.pipeline, device="cpu").parts.frequencies
    assert frequencies.keys() == {"top", "bottom"}
    assert all(values.argmax() == 7 for values in frequencies.values())  # the code that occurs most


def test_card_and_recipe_describe_the_run(run):
    recipe = read_toml(run.context.folder / "recipe.toml")
    assert read_toml(run.pipeline / "recipe.toml") == portable_document(recipe)
    card = (run.pipeline / "README.md").read_text()
    assert [stage for stage in STAGES if f"| {stage} | loss | 0.5 |" in card] == [s for s in STAGES if s != "codes"]


def test_pipeline_names_no_folder_of_this_machine(make_run, tiny_recipe):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"root": "/home/ada/secret"})})
    run = make_run(recipe)
    for stage in ("vqvae", "codes"):
        run.finish(stage)
    assert "/home/ada/secret" in (run.context.folder / "recipe.toml").read_text()  # the run goes on with its images
    assert not [name for name, content in contents(run.pipeline).items() if b"/home" in content]


# unchanged and changed models


def test_unchanged_model_is_not_written_again(make_run):
    run = make_run()
    for stage in STAGES[:3]:
        run.finish(stage)
    files = [
        run.pipeline / name / file for name in ("vqvae", "prior-top") for file in ("config.json", "model.safetensors")
    ]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
    run.finish("prior-bottom")
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == before
    assert [path.stat().st_nlink for path in files] == [1] * 4  # the old folder is gone


def test_pipeline_shares_no_file_with_the_stages(run):
    before = contents(run.pipeline)
    for stage in ("vqvae", "prior-top"):
        for path in (run.context.folder / stage / "model").iterdir():
            with path.open("r+b") as file:
                file.write(b"edited")
    assert contents(run.pipeline) == before


def test_file_system_without_links_gets_copies(make_run, monkeypatch):
    def link(*arguments):
        raise OSError("operation not supported")

    monkeypatch.setattr("os.link", link)
    run = make_run()
    for stage in STAGES:
        run.finish(stage)
    assert_same_as_stages(run)


def test_damaged_model_is_replaced_when_the_next_stage_finishes(make_run):
    run = make_run()
    run.finish("vqvae")
    weights = run.pipeline / "vqvae" / "model.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    run.finish("codes")
    assert_same_as_stages(run)


def test_redone_vqvae_leaves_the_priors_of_the_old_one_out(run):
    redo(run, "vqvae", seed=1)
    assert models(run) == {"vqvae", "classifier"}
    assert not (run.pipeline / FREQUENCIES).exists()
    assert_same_as_stages(run)
    assert "prior-top" not in (run.pipeline / "README.md").read_text()
    redo(run, "codes")
    assert models(run) == {"vqvae", "classifier"}
    redo(run, "prior-top", seed=1)
    assert models(run) == {"vqvae", "prior-top", "classifier"}
    assert_same_as_stages(run)


def test_redone_prior_replaces_the_old_prior_and_its_guide(run):
    redo(run, "prior-bottom", seed=1)
    assert models(run) == {"vqvae", "prior-top", "prior-bottom", "classifier"}
    assert_same_as_stages(run)


def test_same_prior_with_another_guide_gets_that_guide(run):
    old = (run.pipeline / "guide-bottom" / "model.safetensors").read_bytes()
    redo(run, "prior-bottom", guide_seed=8)  # as after a change of `guide_share`
    assert (run.pipeline / "guide-bottom" / "model.safetensors").read_bytes() != old
    assert_same_as_stages(run)


def test_same_weights_from_other_images_record_these_images(run):
    run.images = "hash of other images"
    redo(run, "vqvae")
    assert read_json(run.pipeline / "vqvae" / "config.json")["made_from"] == {"images": "hash of other images"}
    assert "classifier" not in models(run)  # of the old images
    assert_same_as_stages(run)


# failures


def test_failure_while_assembling_leaves_the_old_pipeline(make_run, monkeypatch):
    run = make_run()
    for stage in STAGES[:3]:
        run.finish(stage)
    before = contents(run.pipeline)

    def fail(*arguments, **options):
        raise OSError("disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(assemble, "write_description", fail)
        with pytest.raises(OSError, match="disk is full"):
            run.finish("prior-bottom")
    assert contents(run.pipeline) == before
    assert not list(run.context.folder.glob(".*"))
    assert not read_record(run.context.folder / "prior-bottom").complete
    run.finish("prior-bottom")
    assert "prior-bottom" in models(run)
    assert_same_as_stages(run)


def test_damaged_description_is_written_anew(make_run):
    run = make_run()
    run.finish("vqvae")
    (run.pipeline / "pipeline.json").write_text("{")
    run.finish("codes")
    open_pipeline(run.pipeline, device="cpu")


# the records that belong together


def test_record_that_is_being_completed_replaces_the_one_on_disk(make_run):
    run = make_run()
    run.finish("vqvae")
    old = read_record(run.context.folder / "vqvae")
    finished = StageRecord("vqvae", {}, old.inputs, {}, complete=True, output="new")
    assert records_that_belong(run.context, finished) == {"vqvae": finished}


def test_unfinished_stages_do_not_belong(make_run):
    run = make_run()
    run.finish("vqvae")
    vqvae = read_record(run.context.folder / "vqvae")
    StageRecord("codes", {}, {"vqvae": vqvae.output}, {}).write(run.context.folder / "codes")
    assert records_that_belong(run.context, vqvae) == {"vqvae": vqvae}


def test_measured_range_is_saved_with_the_model_and_stays_when_no_stage_measures(make_run):
    run = make_run()
    opened = SimpleNamespace(measured_range=(-1.0, 3.5))
    vars(run.context)["images"] = opened
    run.finish("vqvae")
    assert VQGenPipeline.from_pretrained(run.pipeline).parts.data.measured_range == (-1.0, 3.5)
    del vars(run.context)["images"]  # another session, which opens no images
    for stage in ("codes", "prior-top"):
        run.finish(stage)
    pipe = VQGenPipeline.from_pretrained(run.pipeline)
    assert pipe.reading == Reading(measured_range=(-1.0, 3.5))
    floats = Image.fromarray(np.full((8, 8), 3.5, np.float32))
    assert (pipe.preprocess(floats) == 255).all()
