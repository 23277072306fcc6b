import pytest
import torch
from training_runs import ADVERSARIAL, make_losses

from vqgen.config import DataConfig
from vqgen.data import evaluation_batches, evaluation_transform, model_pixels
from vqgen.evaluation.pixel_errors import mse_per_image, psnr_per_image
from vqgen.models.vqvae import VQVAE
from vqgen.stages.vqvae_objective import VQVAEObjective, validate_vqvae
from vqgen.training.losses import vqvae_loss

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
    loss, parts = objective(images, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    pixels = model_pixels(images, torch.device("cpu"), torch.float64)
    expected, expected_parts = vqvae_loss(model(pixels), pixels, model.config.commitment_weight)
    assert loss == expected
    assert parts == expected_parts


def decoded_levels(objective, positions, seed=3):
    """Returns the number of decoded levels that the objective draws for images at these positions."""
    objective.begin_step(0, seed)
    return objective._decoded_levels(positions)


@pytest.mark.parametrize(
    ("downsample", "shares"), [((4, 2), {1: 0.3, 2: 0.7}), ((8, 4, 2), {1: 0.15, 2: 0.15, 3: 0.7})]
)
def test_share_of_the_images_decodes_fewer_levels(images, make_context, tiny_vqvae_config, downsample, shares):
    model = VQVAE(tiny_vqvae_config(downsample=downsample, image_size=8))
    compute = make_context().compute
    objective = VQVAEObjective(model, images.validation, DATA, compute, 0, 1, level_dropout=0.3)
    found = decoded_levels(objective, torch.arange(10_000))
    for levels, share in shares.items():
        # Five standard deviations of a share of 10,000 images.
        assert float((found == levels).double().mean()) == pytest.approx(share, abs=5 * 0.5 / 100)
    assert set(found.tolist()) == set(shares)


def test_levels_are_drawn_by_the_step_and_by_the_position_of_an_image(model, images, make_context):
    compute = make_context().compute
    objective = VQVAEObjective(model, images.validation, DATA, compute, 0, 1, level_dropout=0.5)
    whole = decoded_levels(objective, torch.arange(100, 200))
    assert torch.equal(torch.cat([decoded_levels(objective, part) for part in torch.arange(100, 200).split(30)]), whole)
    assert not torch.equal(decoded_levels(objective, torch.arange(100, 200), seed=4), whole)


def test_level_that_is_alone_is_never_hidden(images, make_context, tiny_vqvae_config):
    model = VQVAE(tiny_vqvae_config(downsample=(2,), image_size=8))
    objective = VQVAEObjective(model, images.validation, DATA, make_context().compute, 0, 1, level_dropout=0.5)
    assert decoded_levels(objective, torch.arange(8)) is None


def test_loss_is_of_the_levels_that_are_decoded(model, images, make_context):
    compute = make_context(dtype="float64").compute
    objective = VQVAEObjective(model.train(), images.validation, DATA, compute, 0, 1, level_dropout=0.5)
    pictures = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8)
    levels = decoded_levels(objective, torch.arange(8))
    loss, _ = objective(pictures, torch.zeros(8, dtype=torch.int64), torch.arange(8))
    pixels = model_pixels(pictures, torch.device("cpu"), torch.float64)
    assert loss == vqvae_loss(model(pixels, levels), pixels, model.config.commitment_weight)[0]
    assert loss != vqvae_loss(model(pixels), pixels, model.config.commitment_weight)[0]


@pytest.fixture
def priced(images, make_context, tiny_vqvae_config):
    """An objective of a model whose bits have a price, in float64."""
    model = VQVAE(tiny_vqvae_config(image_size=8, quantizer={"rate_weight": 0.6}, quantize_after=0))
    return VQVAEObjective(model.double().train(), images.validation, DATA, make_context(dtype="float64").compute, 0, 1)


def test_prices_are_drawn_by_the_step_and_by_the_position_of_an_image(priced):
    def prices(positions, seed=3):
        priced.begin_step(0, seed)
        return priced._prices(positions)

    whole = prices(torch.arange(1000))
    assert torch.equal(torch.cat([prices(part) for part in torch.arange(1000).split(300)]), whole)
    assert not torch.equal(prices(torch.arange(1000), seed=4), whole)
    assert 0 <= whole.min() < 0.01 < 0.55 < whole.max() <= 0.6


def test_loss_is_of_codes_at_their_prices(priced):
    pictures = torch.randint(0, 256, (64, 1, 8, 8), dtype=torch.uint8)
    for _ in range(2):  # in the first step bits are free
        priced.begin_step(0, 3)
        loss, _ = priced(pictures, torch.zeros(64, dtype=torch.int64), torch.arange(64))
        pixels = model_pixels(pictures, torch.device("cpu"), torch.float64)
        expected = priced.model(pixels, None, priced._prices(torch.arange(64)))
        priced.end_step()
    assert loss == vqvae_loss(expected, pixels, priced.model.config.commitment_weight)[0]
    assert not torch.equal(expected.codes.grids["bottom"], priced.model.encode(pixels).grids["bottom"])


def test_quantizers_are_the_only_part_that_is_not_compiled(objective, model):
    compiled = {parameter for part in objective.compiled_parts() for parameter in part.parameters()}
    assert compiled == set(model.parameters())
    assert not set(model.quantizers.modules()) & {m for part in objective.compiled_parts() for m in part.modules()}


def test_codebooks_move_at_the_end_of_a_step(objective, model):
    model.train()
    before = model.quantizers[0].codebook.clone()
    objective.begin_step(0, seed=3)
    objective(
        torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), torch.arange(8)
    )
    assert torch.equal(model.quantizers[0].codebook, before)
    objective.end_step()
    assert not torch.equal(model.quantizers[0].codebook, before)


def test_codebooks_follow_the_averages_of_their_statistics(objective, model):
    names = [f"quantizers.{number}.ema_{name}" for number in (0, 1) for name in ("sums", "counts")]
    state = model.state_dict(keep_vars=True)
    assert all(found is state[name] for found, name in zip(objective.statistics(), names, strict=True))
    assert objective.statistics_steps() == model.quantizers[0].moves
    for tensor in objective.statistics():
        tensor.mul_(2)
    expected = [quantizer.ema_sums / quantizer.ema_counts[:, None] for quantizer in model.quantizers]
    objective.use_statistics()
    assert all(torch.equal(each.codebook, new) for each, new in zip(model.quantizers, expected, strict=True))


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


@pytest.mark.parametrize("quantize_after", [0, 3])
def test_validation_counts_from_the_first_quantized_step_on(model, images, make_context, quantize_after):
    config = model.config.model_copy(update={"quantize_after": quantize_after})
    compute = make_context(dtype="float64").compute
    objective = VQVAEObjective(VQVAE(config).double().train(), images.validation, DATA, compute, 0, 1)
    for step in range(5):
        objective.begin_step(step, seed=step)
        objective(
            torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), torch.arange(8)
        )
        objective.end_step()
        started = all(bool(quantizer.initialized) for quantizer in objective.model.quantizers)
        assert objective.validation_counts(step, 0) == started == (step >= quantize_after)


def test_validation_computes_no_gradients(model, images, make_context):
    batches = evaluation_batches(images.validation, evaluation_transform(DATA), batch_size=4)
    validate_vqvae(model, batches, make_context(dtype="float64").compute)
    assert all(parameter.grad is None for parameter in model.parameters())


# other losses


def with_losses(model, images, make_context, **settings):
    compute = make_context(dtype="float64").compute
    return VQVAEObjective(model, images.validation, DATA, compute, 0, 1, losses=make_losses(**settings).double())


def test_loss_is_that_of_the_reconstruction_and_the_weighted_commitment(model, images, make_context):
    objective = with_losses(model, images, make_context, pixel="l1", perceptual="classifier")
    pictures = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    loss, parts = objective(pictures, torch.zeros(4, dtype=torch.int64), torch.arange(4))
    pixels = model_pixels(pictures, torch.device("cpu"), torch.float64)
    output = model(pixels)
    plain, plain_parts = vqvae_loss(output, pixels, model.config.commitment_weight)
    expected = objective.losses.distance(output.reconstruction, pixels)[0] + plain - plain_parts["reconstruction"]
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(parts["loss"], expected.detach())
    assert list(parts) == ["loss", "reconstruction", "pixel", "perceptual", "commitment"]
    assert parts["reconstruction"] == plain_parts["reconstruction"]


def test_validation_has_the_losses_and_the_distance_chooses(model, images, make_context):
    objective = with_losses(model, images, make_context, perceptual="classifier", perceptual_weight=0.5)
    objective.validation_batch = 3
    found = objective.validate()
    assert objective.monitor == "distance"
    # `mse` is of intensities in [0, 1], and no pixel of this model is clamped.
    assert found["distance"] == pytest.approx(4 * found["mse"] + 0.5 * found["perceptual"])
    assert objective.validation_counts(model.config.quantize_after, 0)


def test_adversary_lets_no_validation_choose_and_leaves_the_decoder_as_it_is(model, images, make_context):
    objective = with_losses(model, images, make_context, **ADVERSARIAL)
    assert objective.opponent is objective.losses.adversary
    assert objective.limits == objective.losses.limits
    assert not any(objective.validation_counts(step, step) for step in range(12))
    assert model.decoder not in list(objective.compiled_parts())
    for step in (4, 5):
        objective.begin_step(step, seed=0)
        assert objective.opponent.takes_part == (step == 5)
