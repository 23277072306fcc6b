import gc
import weakref

import pytest
from tiny_models import make_prior

from vqgen import open_pipeline
from vqgen.data import CodeStore
from vqgen.errors import CheckpointError, DataError, VQGenWarning
from vqgen.models.checkpoint import hash_model, made_from
from vqgen.stages import train_prior as module
from vqgen.stages.extract_codes import extract_codes
from vqgen.stages.records import read_record
from vqgen.stages.train_prior import train_prior
from vqgen.training.metrics_log import read_metrics
from vqgen.training.prior import FittedPrior, mean_nats_per_code
from vqgen.training.trainer import Trainer


@pytest.fixture
def make_extracted(make_run, tiny_recipe):
    """Builds a fake run up to its codes, which are real."""

    def build(**changes):
        run = make_run(tiny_recipe(**changes))
        run.finish("vqvae")
        extract_codes(run.context)
        return run

    return build


def test_trained_prior_has_a_model_a_picture_and_a_place_in_the_pipeline(make_extracted):
    context = make_extracted().context
    output = train_prior(context, "bottom")
    folder = context.folder / "prior-bottom"
    assert output == hash_model(folder / "model") == hash_model(context.folder / "pipeline" / "prior-bottom")
    assert (folder / "losses.png").is_file()
    inputs = {stage: read_record(context.folder / stage).output for stage in ("vqvae", "codes")}
    record = read_record(folder)
    assert record.inputs == made_from(folder / "model") == inputs
    prior = open_pipeline(context.folder, device="cpu").parts.priors["bottom"]
    store = CodeStore(context.folder / "codes")
    nats = mean_nats_per_code(prior, store, "train", context.compute)
    assert record.metrics["train_nats_per_code"] == pytest.approx(nats)
    assert record.metrics["val_bpp"] == pytest.approx(record.metrics["val_bits_per_code"] * 16 / 64)
    assert train_prior(context, "bottom") == output


@pytest.mark.slow
def test_memory_of_a_finished_stage_is_free_in_the_next_one(make_extracted, monkeypatch):
    context = make_extracted().context
    made = []
    alive = []
    begin = Trainer.__init__

    def watched(trainer, objective, batches, *arguments, **options):
        alive.append([reference() for reference in made if reference() is not None])
        begin(trainer, objective, batches, *arguments, **options)
        parts = (trainer, objective, objective.model, trainer.optimizer, trainer.optimizer.optimizer, batches.store)
        made.extend(map(weakref.ref, parts))

    monkeypatch.setattr(Trainer, "__init__", watched)
    gc.disable()  # a collection at a chance moment would hide what the stage leaves behind
    try:
        train_prior(context, "top")
        train_prior(context, "bottom")
    finally:
        gc.enable()
    assert len(made) == 12
    assert alive == [[], []]


def test_guide_is_saved_beside_the_prior_and_in_the_pipeline(make_extracted, tiny_recipe):
    priors = [prior.model_dump() | {"guide_share": 0.5} for prior in tiny_recipe().priors]
    context = make_extracted(priors=priors).context
    train_prior(context, "top")
    guide = hash_model(context.folder / "prior-top" / "guide")
    assert guide == hash_model(context.folder / "pipeline" / "guide-top")
    assert guide != hash_model(context.folder / "prior-top" / "model")
    assert open_pipeline(context.folder, device="cpu").parts.guides.keys() == {"top"}


def test_training_that_ends_before_its_guide_warns(make_context):
    fitted = FittedPrior(make_prior("top"), {"steps": 7}, None)
    with pytest.warns(VQGenWarning, match=r"prior-top: patience ended the training after 7 steps.* below 0\.9 or"):
        module._save_guide(make_context(), "prior-top", fitted, 0.9, {})
    module._save_guide(make_context(), "prior-top", fitted, 0.0, {})  # no guide was requested


def test_missing_codes_are_named(make_run):
    run = make_run()
    run.finish("vqvae")
    with pytest.raises(CheckpointError, match="codes: is needed first, found nothing; `vqgen extract-codes`"):
        train_prior(run.context, "top")


@pytest.mark.slow
def test_collapsed_codes_leave_the_old_prior_in_its_place(make_extracted, tiny_recipe, monkeypatch):
    run = make_extracted()
    train_prior(run.context, "top")
    before = (run.context.folder / "prior-top" / "stage.json").read_bytes()
    prior = tiny_recipe().priors[0].model_dump()
    run.context.recipe = tiny_recipe(priors=[prior | {"layers": 3}, prior])
    run.context.redo = True

    def refuse(context, store):
        raise DataError("codes: have collapsed")

    monkeypatch.setattr(module, "check_codes", refuse)
    with pytest.raises(DataError, match="have collapsed"):
        train_prior(run.context, "top")
    assert (run.context.folder / "prior-top" / "stage.json").read_bytes() == before


@pytest.mark.slow
def test_guide_stays_when_the_prior_gets_more_steps(make_extracted, tiny_recipe, more_steps):
    priors = [prior.model_dump() | {"guide_share": 0.5} for prior in tiny_recipe().priors]
    context = make_extracted(priors=priors).context
    before = train_prior(context, "top")
    guide = hash_model(context.folder / "prior-top" / "guide")
    more_steps(context, "prior-top", 4)
    after = train_prior(context, "top")
    assert read_record(context.folder / "prior-top").metrics["steps"] == 8
    assert hash_model(context.folder / "prior-top" / "guide") == guide
    assert hash_model(context.folder / "pipeline" / "prior-top") == after != before
    assert hash_model(context.folder / "prior-top.old-1" / "model") == before


@pytest.mark.slow
def test_contrast_follows_the_longer_training(make_extracted, tiny_recipe, more_steps):
    contrast = {"label_contrast": 1.0, "label_contrast_share": 0.5}
    priors = [prior.model_dump() | contrast for prior in tiny_recipe().priors]
    context = make_extracted(priors=priors).context
    train_prior(context, "top")
    more_steps(context, "prior-top", 8)
    train_prior(context, "top")
    lines = read_metrics(context.folder / "prior-top" / "metrics.jsonl")
    # Of four steps the last two contrast labels, and of twelve the last six: the steps that are done stay as they are.
    assert [line["label_contrast"] > 0 for line in lines] == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 6
