"""The properties that every kind of quantizer has."""

import pytest
import torch
from tiny_quantizers import make_latents, rows, step

from vqgen.config import VQVAEConfig
from vqgen.nn.quantizers.cosine import CosineQuantizer
from vqgen.nn.quantizers.ema import EmaQuantizer
from vqgen.nn.quantizers.fsq import FiniteScalarQuantizer
from vqgen.nn.quantizers.learned import LearnedCosineQuantizer, SimVQQuantizer
from vqgen.nn.quantizers.lfq import LookupFreeQuantizer
from vqgen.nn.quantizers.make import estimator_of, make_quantizer
from vqgen.nn.rotation import rotate_through
from vqgen.nn.straight_through import straight_through

CLASSES = {
    ("ema", "ema"): EmaQuantizer, ("cosine", "ema"): CosineQuantizer, ("cosine", "learned"): LearnedCosineQuantizer,
    ("simvq", "ema"): SimVQQuantizer, ("fsq", "ema"): FiniteScalarQuantizer, ("lfq", "ema"): LookupFreeQuantizer,
}  # fmt: skip

ALL = pytest.mark.parametrize(("kind", "codebook"), CLASSES)


def configured(kind, codebook="ema", *, gradient="straight-through", entropy_weight=0.0, **settings):
    quantizer = {"kind": kind, "codebook": codebook, "gradient": gradient, "entropy_weight": entropy_weight}
    return VQVAEConfig.model_validate(
        {"downsample": (4, 2), "codebook_size": 16, "embedding_dim": 4, "image_size": 8, "image_channels": 1}
        | {"initialization": "random", "restart_after": 0, "quantizer": quantizer} | settings
    )  # fmt: skip


def build(*arguments, **settings):
    config = configured(*arguments, **settings)
    return make_quantizer(config, 0).double(), config.latent_dims[0]


@ALL
def test_kind_has_its_class(kind, codebook):
    assert type(build(kind, codebook)[0]) is CLASSES[kind, codebook]


@ALL
def test_code_is_that_of_the_entry_nearest_to_the_placed_latent(kind, codebook):
    quantizer, dim = build(kind, codebook)
    latents = make_latents(b=3, dim=dim, scale=1.5)
    codes = quantizer.eval()(latents).codes
    distances = torch.cdist(quantizer.place(rows(latents)), quantizer.entries())
    assert torch.equal(distances.argmin(dim=1), codes.flatten())
    assert len(codes.unique()) > 3


def test_levels_may_have_kinds_of_their_own():
    config = configured(["fsq", "cosine"])
    assert [type(make_quantizer(config, index)) for index in (0, 1)] == [FiniteScalarQuantizer, CosineQuantizer]
    assert config.latent_dims == (2, 4)  # 4 x 4 values


def test_grids_have_the_kind_of_their_level():
    config = configured(["fsq", "simvq"], quantizer={"kind": ["fsq", "simvq"], "depth": [1, 2]})
    quantizers = [make_quantizer(config, grid) for grid in range(len(config.levels))]
    assert [type(each) for each in quantizers] == [FiniteScalarQuantizer, SimVQQuantizer, SimVQQuantizer]
    assert not torch.equal(quantizers[1].codebook, quantizers[2].codebook)


def test_estimator_is_the_one_of_the_configuration():
    assert estimator_of(configured("ema")) is straight_through
    assert estimator_of(configured("ema", gradient="rotation")) is rotate_through


@ALL
def test_codes_come_back_as_the_quantized_map(kind, codebook):
    quantizer, d = build(kind, codebook)
    z = make_latents(b=3, dim=d, side=5)
    out = quantizer(z)
    assert out.codes.shape == (3, 5, 5)
    assert out.codes.dtype == torch.int64
    assert 0 <= out.codes.min() <= out.codes.max() < 16
    assert out.quantized.shape == z.shape
    assert torch.equal(quantizer.embed(out.codes), out.quantized)


@pytest.mark.parametrize(("kind", "codebook"), [pair for pair in CLASSES if pair[0] != "fsq"])
def test_entry_is_the_nearest_one_by_the_metric_of_the_kind(kind, codebook):
    quantizer, d = build(kind, codebook)
    z = make_latents(b=4, dim=d)
    entries = quantizer.entries().detach()
    if kind == "cosine":
        expected = torch.nn.functional.cosine_similarity(rows(z)[:, None], entries[None], dim=2).argmax(dim=1)
    else:
        expected = torch.cdist(rows(z), entries).argmin(dim=1)
    assert torch.equal(quantizer(z).codes.flatten(), expected)
    at_entries = quantizer.eval()(entries.T[None, :, None])
    assert torch.equal(at_entries.codes.flatten(), torch.arange(16))


def trained_perplexity(kind, codebook, contrast):
    """Trains linear layers around a quantizer on data of four dimensions: the perplexity of its 16 codes."""
    quantizer, dim = build(kind, codebook, initialization="data", quantize_after=20)
    encoder, decoder = torch.nn.Linear(8, dim).double(), torch.nn.Linear(dim, 8).double()
    weights = [*encoder.parameters(), *decoder.parameters(), *quantizer.parameters()]
    optimizer = torch.optim.Adam(weights, 1e-2)
    mixed = contrast * torch.randn(4, 8).double()
    for step_seed in range(150):
        quantizer.step_seed = step_seed
        data = 0.2 + torch.randn(256, 4).double() @ mixed
        out = quantizer(encoder(data).T[None, :, None])
        loss = (decoder(rows(out.quantized)) - data).square().mean() + 0.25 * out.commitment_loss
        optimizer.zero_grad()
        (loss if out.codebook_loss is None else loss + out.codebook_loss).backward()
        optimizer.step()
        quantizer.update()
    codes = quantizer.eval()(encoder(data).T[None, :, None]).codes
    shares = torch.bincount(codes.flatten(), minlength=16) / codes.numel()
    return float(torch.special.entr(shares).sum().exp())


@ALL
@pytest.mark.parametrize(("contrast", "least"), [(0.1, 2), (1.0, 5)])
def test_training_uses_several_codes_whatever_the_contrast_of_the_data(kind, codebook, contrast, least):
    assert trained_perplexity(kind, codebook, contrast) > least


@ALL
def test_no_state_moves_in_evaluation(kind, codebook):
    quantizer, d = build(kind, codebook)
    quantizer.eval()
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    step(quantizer, make_latents(dim=d))
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())


@ALL
def test_latents_pass_unchanged_before_they_are_quantized(kind, codebook):
    quantizer, d = build(kind, codebook, quantize_after=2)
    z = make_latents(dim=d).requires_grad_()
    for _ in range(2):
        assert quantizer.waits
        out = quantizer(z)
        assert torch.equal(out.quantized, z)
        assert not out.codes.any()
        # A learned weight has a gradient of zero: processes wait for the gradient of every parameter.
        if out.codebook_loss is not None:
            out.codebook_loss.backward()
            assert not out.codebook_loss
        assert all(p.grad is not None and not p.grad.any() for p in quantizer.parameters())
        quantizer.update()
    assert not quantizer.waits
    assert not torch.equal(quantizer(z).quantized, z)


@ALL
def test_mean_entry_is_weighted_by_frequencies(kind, codebook):
    quantizer, _ = build(kind, codebook)
    frequencies = torch.arange(16)
    expected = (frequencies[:, None] * quantizer.entries()).sum(dim=0) / frequencies.sum()
    torch.testing.assert_close(quantizer.mean_entry(frequencies), expected.detach(), rtol=0, atol=1e-12)
    assert not quantizer.mean_entry().requires_grad


@pytest.mark.parametrize("kind", ["ema", "lfq"])
def test_gradient_of_the_quantized_map_is_exactly_one(kind):
    quantizer, d = build(kind)
    z = make_latents(dim=d).requires_grad_()
    quantizer(z).quantized.sum().backward()
    assert torch.equal(z.grad, torch.ones_like(z))


@pytest.mark.parametrize("kind", ["ema", "lfq", "simvq"])
def test_rotation_turns_the_gradient(kind):
    quantizer, d = build(kind, gradient="rotation")
    z = make_latents(dim=d).requires_grad_()
    upstream = make_latents(dim=d)
    out = quantizer(z)
    (out.quantized * upstream).sum().backward()
    latents = rows(z.detach()).requires_grad_()
    rotate_through(latents, rows(out.quantized.detach()))[0].backward(rows(upstream))
    torch.testing.assert_close(rows(z.grad), latents.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kind", "codebook"), [pair for pair in CLASSES if pair[0] in ("ema", "cosine", "simvq")])
def test_idle_codes_restart_at_latents(kind, codebook):
    quantizer, d = build(kind, codebook, restart_after=3)
    z = make_latents(b=1, dim=d, side=2)  # four latents for 16 codes
    for seed in range(5):
        quantizer.step_seed = seed
        step(quantizer, z)
    placed = quantizer.place(rows(z))
    distances = torch.cdist(placed, quantizer.entries().detach()).amin(dim=1)
    assert distances.max() < 1e-6  # every latent has an entry of its own


@pytest.mark.parametrize(("kind", "codebook"), [pair for pair in CLASSES if pair[0] in ("ema", "cosine", "simvq")])
def test_entries_start_at_the_data(kind, codebook):
    quantizer, d = build(kind, codebook, initialization="data", kmeans_iterations=0)
    z = make_latents(b=4, dim=d)
    quantizer(z)
    assert torch.cdist(quantizer.place(rows(z)), quantizer.entries().detach()).amin(dim=0).max() < 1e-7
    assert bool(quantizer.initialized)


@pytest.mark.parametrize("kind", ["ema", "cosine", "simvq", "lfq"])
def test_entropy_loss_is_computed_in_training_alone(kind):
    quantizer, d = build(kind, entropy_weight=0.1)
    plain, _ = build(kind)
    z = make_latents(dim=d)
    loss = quantizer(z).codebook_loss - (plain(z).codebook_loss or 0) * (kind != "simvq")
    assert loss.isfinite() and loss != 0
    evaluated = quantizer.eval()(z).codebook_loss
    assert evaluated is None or kind == "simvq"


@pytest.mark.parametrize("kind", ["ema", "cosine", "simvq", "fsq", "lfq"])
def test_half_precision_latents_are_quantized_in_the_dtype_of_the_quantizer(kind):
    quantizer, d = build(kind)
    quantizer.float()
    z = make_latents(dim=d).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = quantizer(z)
    assert out.quantized.dtype == torch.float32
    assert torch.equal(out.codes, quantizer(z.float()).codes)
