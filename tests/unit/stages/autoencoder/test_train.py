import shutil

import pytest
import torch
from tiny_models import BASELINES, make_baseline
from training_runs import make_losses

from vqgen import open_pipeline
from vqgen.config import DataConfig
from vqgen.config.loading import validate_recipe
from vqgen.data import evaluation_transform, model_pixels
from vqgen.errors import ConfigError
from vqgen.models.autoencoders.autoencoder import Autoencoder
from vqgen.models.autoencoders.latent_model import VariationalModel
from vqgen.models.checkpoint import hash_model
from vqgen.stages.autoencoder.train import AutoencoderObjective, train_autoencoder
from vqgen.stages.bookkeeping import is_up_to_date
from vqgen.stages.records import read_record
from vqgen.stages.run import run_stages
from vqgen.training.metrics_log import read_metrics

DATA = DataConfig(source="digits", image_size=8, channels=1)


@pytest.fixture
def make_objective(images, make_context):
    compute = make_context(dtype="float64").compute
    return lambda **changes: AutoencoderObjective(make_baseline(**changes), images.validation, DATA, compute, 0, 1)


@pytest.mark.parametrize("changes", BASELINES)
def test_validation_has_the_loss_of_training(make_objective, images, changes):
    objective = make_objective(**changes)
    model = objective.model
    found = objective.validate()
    assert found == objective.validate()  # the same draws every time
    transform = evaluation_transform(DATA)
    pixels = torch.stack([transform(images.validation.read(index)) for index in range(7)])
    labels = torch.from_numpy(images.validation.labels)
    pixels = model_pixels(pixels, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        reconstruction = model.decode(model.encode(pixels, labels), labels).clamp(-1, 1)
    assert found["mse"] == pytest.approx(float((reconstruction - pixels).square().mean()) / 4)
    if isinstance(model, VariationalModel):
        assert found["elbo"] == pytest.approx(-found["distortion"] - found["rate"])
        expected = (found["distortion"] + model.config.beta * found["rate"]) / 64
        assert found["loss"] == pytest.approx(expected)
    else:
        assert found.keys() == {"loss", "mse", "psnr"}
        with torch.no_grad():
            loss, _ = model.loss(pixels, labels)
        assert found["loss"] == pytest.approx(float(loss))


def test_loss_of_a_batch_is_the_loss_of_its_pixels(make_objective):
    objective = make_objective(kind="autoencoder")
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    labels = torch.full((4,), -1)
    pixels = model_pixels(images, torch.device("cpu"), torch.float64)
    assert objective(images, labels, None)[0] == objective.model.loss(pixels, labels)[0]


LOSSES = {"perceptual": "classifier", "perceptual_weight": 0.5}
HINGE = {"adversarial": "hinge", "adversarial_start": 0, "discriminator_channels": 8, "discriminator_layers": 1}


@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_losses_stand_beside_a_likelihood_and_in_place_of_the_squared_error(images, make_context, kind):
    losses = make_losses(**LOSSES).double()
    losses._with_pixels = kind == "autoencoder"
    compute = make_context(dtype="float64").compute
    model = make_baseline(kind=kind)
    objective = AutoencoderObjective(model, images.validation, DATA, compute, 0, 1, losses=losses)
    pictures = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    labels = torch.full((4,), -1)
    pixels = model_pixels(pictures, torch.device("cpu"), torch.float64)
    torch.manual_seed(3)
    loss, parts = objective(pictures, labels, None)
    torch.manual_seed(3)
    plain = model.training_pass(pixels, labels)
    expected = plain.loss + 0.5 * losses.perceptual(model.image_of(plain.output), pixels)
    torch.testing.assert_close(loss, expected)
    assert parts["loss"] == loss
    assert parts.keys() >= {"reconstruction", "perceptual", *plain.parts}
    found = objective.validate()
    own = 4 * found["mse"] if kind == "autoencoder" else (found["distortion"] + found["rate"]) / 64
    assert found["loss"] == pytest.approx(own + 0.5 * found["perceptual"])
    assert list(objective.compiled_parts()) == [model.encoder]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autoencoder", "vae", "binary-vae"])
def test_baseline_with_an_adversary_is_trained_to_its_last_step(make_context, baseline_recipe, kind):
    recipe = baseline_recipe(kind=kind, losses=LOSSES | HINGE)
    section = {"channels": 8, "stages": 1, "train": {"steps": 2, "batch_size": 8}}
    context = make_context(validate_recipe(recipe.model_dump() | {"classifier": section}, origin="tiny"))
    run_stages(context, context.recipe.stage_names[:2])
    record = read_record(context.folder / "autoencoder")
    assert record.metrics["best_step"] == 4
    assert record.metrics.keys() >= {"val_loss", "val_perceptual", "val_distance"}
    assert record.inputs.keys() == {"images", "classifier"}
    lines = read_metrics(context.folder / "autoencoder" / "metrics.jsonl")
    assert all(line["discriminator"] > 0 for line in lines)
    assert lines[0]["adaptive_weight"] == 0 < lines[1]["adaptive_weight"]


@pytest.mark.slow
def test_baseline_is_up_to_date_with_features_of_a_checkpoint(make_context, baseline_recipe, make_run, tmp_path):
    other = make_run(validate_recipe(baseline_recipe().model_dump() | {"classifier": {"channels": 8}}, origin="tiny"))
    other.finish("autoencoder")
    other.finish("classifier", seed=1)
    other.pipeline.rename(tmp_path / "other")
    shutil.rmtree(other.context.folder)
    recipe = baseline_recipe(losses=LOSSES | {"classifier": str(tmp_path / "other")})
    document = recipe.model_dump() | {"classifier": {"channels": 8, "train": {"steps": 2, "batch_size": 8}}}
    context = make_context(validate_recipe(document, origin="tiny"))
    assert context.recipe.stage_names == ["autoencoder", "classifier", "samples"]
    assert not is_up_to_date(context, "autoencoder")
    train_autoencoder(context)
    assert is_up_to_date(context, "autoencoder")
    shutil.rmtree(tmp_path / "other")
    assert is_up_to_date(context, "autoencoder")


@pytest.mark.parametrize("kind", ["autoencoder", "vae", "binary-vae"])
def test_trained_baseline_has_a_model_pictures_and_a_pipeline(make_context, baseline_recipe, kind):
    context = make_context(baseline_recipe(kind=kind))
    output = train_autoencoder(context)
    folder = context.folder / "autoencoder"
    assert output == hash_model(folder / "model")
    assert (folder / "reconstructions.png").is_file()
    assert read_record(folder).metrics.keys() >= {"val_loss", "val_mse", "best_step"}
    model = open_pipeline(context.folder, device="cpu").parts.model
    if isinstance(model, Autoencoder):  # the mixtures were fitted: they are not the standard Gaussians of the start
        assert model.mixture_means.abs().sum() > 0
    assert train_autoencoder(context) == output


def test_recipe_with_codes_is_refused(make_context):
    with pytest.raises(
        ConfigError, match=r"recipe 'tiny': should have \[autoencoder\] .*found \[vqvae\]; `vqgen train"
    ):
        train_autoencoder(make_context())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["autoencoder", "vae"])
def test_baseline_with_more_steps_is_bit_for_bit_the_longer_one(
    make_context, baseline_recipe, more_steps, tmp_path, kind
):
    def run(name, steps):
        train = baseline_recipe().autoencoder.train.model_dump() | {"steps": steps, "schedule": "constant"}
        context = make_context(baseline_recipe(kind=kind, train=train))
        context.folder = tmp_path / name
        return context, train_autoencoder(context)

    _, expected = run("whole", 6)
    context, _ = run("parts", 4)
    more_steps(context, "autoencoder", 2)
    assert train_autoencoder(context) == expected  # with mixtures that are fitted again
