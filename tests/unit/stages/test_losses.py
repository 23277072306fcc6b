from dataclasses import replace

import pytest
import torch

from vqgen.config.lengths import Length
from vqgen.data import LabelMap
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.models.checkpoint import load_model
from vqgen.models.classifier import Classifier
from vqgen.stages.continuation import Continuation
from vqgen.stages.losses import build_losses, check_losses, first_steps, loss_inputs
from vqgen.stages.records import StageRecord, read_record
from vqgen.stages.run import run_all, run_stages
from vqgen.stages.schedule import stage_groups
from vqgen.stages.states import stage_states
from vqgen.stages.train_classifier import train_classifier
from vqgen.stages.train_vqvae import train_vqvae

CLASSIFIER = {"channels": 8, "stages": 2, "train": {"steps": 4, "batch_size": 8, "validate_every": 2}}
HINGE = {"adversarial": "hinge", "discriminator_channels": 8, "discriminator_layers": 1}


@pytest.fixture
def make(make_context, tiny_recipe):
    """Builds the context of a run with its own classifier and these losses."""

    def build(dtype="float32", train=(), **losses):
        section = {"losses": losses, "train": tiny_recipe().vqvae.train.model_dump() | dict(train)}
        return make_context(tiny_recipe(classifier=CLASSIFIER, vqvae=section), dtype)

    return build


# the parts


def test_plain_losses_build_nothing(make):
    assert build_losses(make(), 4) is None
    assert loss_inputs(make()) == {}


def test_features_are_those_of_the_classifier_of_the_run(make):
    context = make(perceptual="classifier")
    with pytest.raises(CheckpointError, match=r"classifier: is needed first, found nothing; `vqgen train-classifier`"):
        loss_inputs(context)
    output = train_classifier(context)
    assert loss_inputs(context) == {"classifier": output}
    losses = build_losses(context, 4)
    trained = load_model(context.folder / "classifier" / "model", Classifier)
    for one, other in zip(losses.perceptual.network.parameters(), trained.parameters(), strict=True):
        assert torch.equal(one, other)
    assert losses.adversary is None


def test_adversary_is_drawn_from_the_seed_of_the_run_alone(make):
    context = make(**HINGE)
    torch.manual_seed(1)
    one = build_losses(context, 10).adversary
    torch.manual_seed(2)
    other = build_losses(context, 10).adversary
    for first, second in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(("settings", "start"), [({}, 5), ({"adversarial_start": 2}, 2)])
def test_adversary_starts_at_its_step(make, settings, start):
    losses = build_losses(make(**HINGE, **settings), 10)
    for step in range(10):
        losses.begin_step(step)
        assert losses.adversary.takes_part == (step >= start)


@pytest.mark.parametrize(("kind", "with_pixels"), [("autoencoder", True), ("vae", False), ("binary-vae", False)])
def test_baseline_with_a_likelihood_has_no_other_loss_of_pixels(make_context, baseline_recipe, kind, with_pixels):
    losses = build_losses(make_context(baseline_recipe(kind=kind, losses=HINGE)), 4)
    images = torch.zeros(2, 1, 8, 8)
    assert bool(losses.distance(images + 1, images)[0] > 0) == with_pixels


def test_first_steps_are_those_with_which_a_training_began(make):
    context = make(**HINGE)
    record = StageRecord("vqvae", {}, {}, {})
    assert first_steps(context, record) is None
    continued = replace(record, continuations=(Continuation(4, Length(4), 6),))
    assert first_steps(context, continued) == 4


# checks before anything trains


def test_adversary_in_float16_is_refused(make):
    context = make(**HINGE)
    context.compute = replace(context.compute, dtype="float16")
    with pytest.raises(
        ConfigError, match=r"dtype: should be bfloat16, float32 or float64 with vqvae.losses.adversarial"
    ):
        check_losses(context)


@pytest.mark.parametrize(("epochs", "is_refused"), [(2.0, True), (4.5, False)])
def test_adversary_after_the_end_of_epochs_is_refused(make, epochs, is_refused):
    context = make(**HINGE, adversarial_start=10, train={"epochs": epochs})  # of 20 images in batches of 8
    if not is_refused:
        check_losses(context)
        return
    with pytest.raises(ConfigError, match=r"should be below the 5 steps of the training, .* after the end, found 10"):
        check_losses(context)
    with pytest.raises(ConfigError, match="after the end"):
        train_vqvae(context)
    assert not (context.folder / "vqvae").exists()


def test_classifier_without_labels_is_refused_before_it_trains(make, images):
    context = make(perceptual="classifier")
    context.images = replace(images, label_map=LabelMap())
    with pytest.raises(
        DataError, match=r'"classifier" needs images with labels .* --vqvae.losses.classifier CHECKPOINT'
    ):
        run_all(context)
    assert not context.folder.exists()


def test_start_after_the_end_is_refused_before_the_classifier_trains(make):
    context = make(**HINGE, perceptual="classifier", adversarial_start=10, train={"epochs": 2.0})
    with pytest.raises(ConfigError, match="after the end"):
        run_all(context)
    assert not context.folder.exists()


# a whole run


@pytest.mark.slow
def test_classifier_comes_first_and_the_vqvae_is_made_from_it(make):
    context = make(**HINGE, perceptual="classifier")
    stages = context.recipe.stage_names
    assert stage_groups(context.recipe, stages) == [
        ["classifier"], ["vqvae"], ["codes"], ["prior-top", "prior-bottom"], ["samples"]
    ]  # fmt: skip
    context.force = True
    run_all(context)
    record = read_record(context.folder / "vqvae")
    assert record.inputs == {
        "images": "hash of the images",
        "classifier": read_record(context.folder / "classifier").output,
    }
    assert record.metrics.keys() >= {"val_distance", "val_perceptual", "val_mse"}
    assert (context.folder / "vqvae" / "loss-parts.png").is_file()
    assert set(stage_states(context).values()) == {"skip, complete"}
    run_all(context)


@pytest.mark.slow
def test_vqvae_of_another_classifier_is_refused(make):
    context = make(perceptual="classifier")
    run_stages(context, ["classifier", "vqvae"])
    section = context.recipe.classifier.model_copy(update={"channels": 16})
    context.recipe = context.recipe.model_copy(update={"classifier": section})
    context.redo = True
    run_stages(context, ["classifier"])
    context.redo = False
    with pytest.raises(CheckpointError, match=r"stage vqvae was made .*\n  classifier: \w+ -> \w+"):
        train_vqvae(context)


@pytest.mark.slow
def test_more_steps_of_the_classifier_make_the_stages_after_it_again(make, more_steps):
    context = make(perceptual="classifier")
    context.force = True
    run_all(context)
    before = read_record(context.folder / "prior-top").output
    more_steps(context, "classifier", 4)
    states = stage_states(context)
    assert states["classifier"].startswith("go on from step 4")
    assert {stage: state for stage, state in states.items() if stage != "classifier"} == dict.fromkeys(
        context.recipe.stage_names[1:], "make again"
    )
    run_all(context)
    assert read_record(context.folder / "prior-top").output != before
    assert (context.folder / "vqvae.old-1").is_dir()
