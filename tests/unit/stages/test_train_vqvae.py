from dataclasses import replace

import pytest
import torch

from vqgen import open_pipeline
from vqgen.config import DataConfig
from vqgen.data import LabelMap, evaluation_batches, evaluation_transform, model_pixels
from vqgen.errors import ConfigError
from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
from vqgen.models.checkpoint import hash_model, load_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.records import read_record
from vqgen.stages.train_vqvae import VQVAEObjective, train_vqvae, validate_vqvae
from vqgen.training.losses import vqvae_loss
from vqgen.training.metrics_log import read_metrics

DATA = DataConfig(source="digits", image_size=8, channels=1)


@pytest.fixture
def model(make_run):
    """A VQ-VAE in float64 whose codes differ."""
    return make_run().model("vqvae", 0).double()


@pytest.fixture
def objective(model, images, make_context):
    return VQVAEObjective(model, images.validation, DATA, make_context(dtype="float64").compute, 0, 1)


def test_loss_of_a_batch_is_the_loss_of_its_pixels(objective, model):
    images = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    loss, parts = objective(images, torch.zeros(4, dtype=torch.int64), None)
    pixels = model_pixels(images, torch.device("cpu"), torch.float64)
    expected, expected_parts = vqvae_loss(model(pixels), pixels, model.config.commitment_weight)
    assert loss == expected
    assert parts == expected_parts


def test_quantizers_are_the_only_part_that_is_not_compiled(objective, model):
    compiled = {parameter for part in objective.compiled_parts() for parameter in part.parameters()}
    assert compiled == set(model.parameters())
    assert not set(model.quantizers.modules()) & {m for part in objective.compiled_parts() for m in part.modules()}


def test_codebooks_move_at_the_end_of_a_step(objective, model):
    model.train()
    before = model.quantizers[0].codebook.clone()
    objective.begin_step(0, seed=3)
    objective(torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), None)
    assert torch.equal(model.quantizers[0].codebook, before)
    objective.end_step()
    assert not torch.equal(model.quantizers[0].codebook, before)


def test_validation_is_of_all_images_at_once(objective, model, images):
    objective.validation_batch = 3
    found = objective.validate()
    batches = evaluation_batches(images.validation, evaluation_transform(DATA), batch_size=7)
    pixels = model_pixels(next(batches).images, torch.device("cpu"), torch.float64)
    with torch.no_grad():
        output = model(pixels)
    mse = mse_per_image(output.reconstruction, pixels)
    assert found["mse"] == pytest.approx(float(mse.mean()))
    assert found["psnr"] == pytest.approx(float(psnr_per_image(mse).mean()))
    for level, grid in output.codes.grids.items():
        assert found[f"usage_{level}"] == len(grid.unique()) / model.config.codebook_size


def test_validation_before_latents_are_quantized_does_not_end_the_training(make_context, tiny_recipe):
    """Sixteen steps, of which four are not quantized: two validations of a random codebook are no reason to end."""
    train = tiny_recipe().vqvae.train.model_dump() | {"steps": 16, "validate_every": 1, "patience": 2}
    context = make_context(tiny_recipe(vqvae={"quantize_after": 4, "train": train}))
    train_vqvae(context)
    metrics = read_record(context.folder / "vqvae").metrics
    assert metrics["best_step"] > 4
    assert metrics["steps"] >= metrics["best_step"]
    trained = load_model(context.folder / "vqvae" / "model", VQVAE)
    assert all(quantizer.initialized and quantizer.steps > 4 for quantizer in trained.quantizers)


@pytest.mark.parametrize("quantize_after", [0, 3])
def test_validation_counts_from_the_first_quantized_step_on(model, images, make_context, quantize_after):
    config = model.config.model_copy(update={"quantize_after": quantize_after})
    compute = make_context(dtype="float64").compute
    objective = VQVAEObjective(VQVAE(config).double().train(), images.validation, DATA, compute, 0, 1)
    for step in range(5):
        objective.begin_step(step, seed=step)
        objective(torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), None)
        objective.end_step()
        started = all(bool(quantizer.initialized) for quantizer in objective.model.quantizers)
        assert objective.validation_counts(step, 0) == started == (step >= quantize_after)


def test_validation_computes_no_gradients(model, images, make_context):
    batches = evaluation_batches(images.validation, evaluation_transform(DATA), batch_size=4)
    validate_vqvae(model, batches, make_context(dtype="float64").compute)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_trained_vqvae_has_a_model_pictures_and_a_pipeline(make_context):
    context = make_context()
    output = train_vqvae(context)
    folder = context.folder / "vqvae"
    assert output == hash_model(folder / "model")
    for name in ("losses.png", "reconstructions.png", "metrics.jsonl", "state/training.safetensors"):
        assert (folder / name).is_file()
    record = read_record(folder)
    assert record.inputs == {"images": "hash of the images"}
    assert record.metrics.keys() >= {"val_mse", "val_psnr", "val_usage_top", "best_step", "steps"}
    assert load_model(folder / "model", VQVAE).config == context.recipe.vqvae_config()
    assert open_pipeline(context.folder, device="cpu").parts.vqvae_hash == output
    assert train_vqvae(context) == output


def test_label_contrast_of_a_prior_is_refused_before_the_training(make_context, tiny_recipe, images):
    priors = [prior.model_dump() | {"label_contrast": 1.0} for prior in tiny_recipe().priors]
    context = make_context(tiny_recipe(priors=priors))
    context.images = replace(images, label_map=LabelMap())
    with pytest.raises(ConfigError, match="label_contrast: should be 0"):
        train_vqvae(context)
    assert not (context.folder / "vqvae").exists()


def test_training_with_more_steps_is_bit_for_bit_the_longer_one(make_context, tiny_recipe, tmp_path, more_steps):
    def run(name, steps):
        # A quarter of four steps is one step, so latents pass unquantized equally long.
        train = {"steps": steps, "schedule": "constant"}
        context = make_context(tiny_recipe(vqvae={"quantize_after": 1, "train": train}))
        context.folder = tmp_path / name
        return context, train_vqvae(context)

    whole, expected = run("whole", 8)
    parts, _ = run("parts", 4)
    more_steps(parts, "vqvae", 4)
    assert train_vqvae(parts) == expected
    metrics = [folder / "vqvae" / "metrics.jsonl" for folder in (whole.folder, parts.folder)]
    assert metrics[0].read_text() == metrics[1].read_text()
    assert read_record(parts.folder / "vqvae").metrics == read_record(whole.folder / "vqvae").metrics
    assert train_vqvae(parts) == expected  # it is complete


def test_quantization_does_not_stop_again_in_a_longer_training(make_context, more_steps):
    """The recipe passes latents unquantized for 200 steps, at most a quarter of the training: one of four steps."""
    context = make_context()
    train_vqvae(context)
    more_steps(context, "vqvae", 40)
    train_vqvae(context)
    config = load_model(context.folder / "vqvae" / "model", VQVAE).config
    assert (config.quantize_after, context.recipe.vqvae_config().quantize_after) == (1, 11)
    lines = read_metrics(context.folder / "vqvae" / "metrics.jsonl")
    assert len(lines) == 44
    # Latents that pass unquantized have no commitment.
    assert all(line["loss"] > line["reconstruction"] for line in lines[1:])
