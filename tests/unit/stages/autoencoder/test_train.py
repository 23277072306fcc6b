import pytest
import torch
from tiny_models import BASELINES, make_baseline

from vqgen import open_pipeline
from vqgen.config import DataConfig
from vqgen.data import evaluation_transform, model_pixels
from vqgen.errors import ConfigError
from vqgen.models.autoencoders.autoencoder import Autoencoder
from vqgen.models.autoencoders.latent_model import VariationalModel
from vqgen.models.checkpoint import hash_model
from vqgen.stages.autoencoder.train import AutoencoderObjective, train_autoencoder
from vqgen.stages.records import read_record

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
