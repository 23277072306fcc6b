from dataclasses import replace

import pytest

from vqgen import open_pipeline
from vqgen.data import LabelMap
from vqgen.errors import ConfigError
from vqgen.models.checkpoint import hash_model, load_model
from vqgen.models.vqvae import VQVAE
from vqgen.stages.records import read_record
from vqgen.stages.train_vqvae import train_vqvae
from vqgen.training.metrics_log import read_metrics


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


@pytest.mark.slow
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


@pytest.mark.slow
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
