"""Weights of one model in another: by place and shape, by name of the label, with the codebooks that are in use."""

import pytest
import torch
from tiny_models import make_baseline, make_pixelcnn

from vqgen.config import ClassifierConfig
from vqgen.models.classifiers import build_classifier
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.warm_start import shared_weights, take_weights
from vqgen.models.without_weights import without_weights


def prior(seed, **changes):
    """Builds a small prior in which every number differs between seeds."""
    return filled(make_pixelcnn(**changes), seed)


def classifier(seed, **changes):
    settings = {"channels": 8, "stages": 2, "hidden": 6, "image_size": 8, "image_channels": 1, "num_classes": 3}
    return filled(build_classifier(ClassifierConfig(**(settings | changes))), seed)


def filled(model, seed):
    """Gives every weight of a model numbers of its own."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws).to(parameter.dtype)
    return model


@pytest.fixture
def make_model(make_vqvae):
    """Builds a model of a kind, from a seed."""
    builders = {
        "vqvae": make_vqvae,
        "prior": lambda seed: prior(seed, coarser_height=2, coarser_width=5),
        "classifier": classifier,
        "hidden-layer": lambda seed: classifier(seed, kind="hidden-layer"),
        "vae": lambda seed: filled(make_baseline(labels="conditional", num_classes=3), seed),
        "autoencoder": lambda seed: filled(make_baseline(kind="autoencoder", num_classes=3), seed),
    }
    return lambda kind, seed: builders[kind](seed)


def start(model, source, labels=None):
    """Starts a model from another one; by default all labels are the same. Returns what was shared, and copied."""
    shared = shared_weights(model, source)
    every = {label: label for label in range(getattr(model.config, "num_classes", 0))}
    return shared, take_weights(model, source, shared, every if labels is None else labels)


def same(model, source, name, other=None):
    return torch.equal(model.state_dict()[name], source.state_dict()[other or name])


@pytest.mark.parametrize("kind", ["vqvae", "prior", "classifier", "hidden-layer", "vae", "autoencoder"])
def test_model_of_the_same_sizes_takes_every_number(make_model, kind):
    model, source = make_model(kind, 1), make_model(kind, 2)
    if kind != "autoencoder":
        assert not same(model, source, next(iter(model.state_dict())))
    shared, copied = start(model, source)
    assert shared.fit(model)
    assert not shared.rest
    differing = [name for name in source.state_dict() if not same(model, source, name)]
    assert differing == [name for name in source.state_dict() if name.endswith(".steps")]
    assert not any(model.state_dict()[name] for name in differing)  # steps of the training that begins
    assert copied == {name: tensor.numel() for name, tensor in model.state_dict().items()}


def test_rows_of_labels_are_taken_by_name_and_others_stay_as_they_are():
    model, source = prior(1, num_classes=3), prior(2, num_classes=5)
    before = model.label_embedding.weight.detach().clone()
    shared, copied = start(model, source, {0: 4, 2: 1})
    rows, there = model.label_embedding.weight, source.label_embedding.weight
    assert torch.equal(rows[[0, 2]], there[[4, 1]])
    assert torch.equal(rows[1], before[1])
    assert torch.equal(rows[3], there[5])  # no label
    assert shared.by_label == {"label_embedding.weight": "label_embedding.weight"}
    assert copied["label_embedding.weight"] == 3 * rows.shape[1]


def test_other_labels_of_the_same_number_are_not_mistaken_for_these():
    model, source = prior(1), prior(2)
    before = model.label_embedding.weight.detach().clone()
    start(model, source, {})
    assert torch.equal(model.label_embedding.weight[:3], before[:3])
    assert torch.equal(model.label_embedding.weight[3], source.label_embedding.weight[3])


@pytest.mark.parametrize(("own", "there"), [(0, 3), (3, 0), (0, 0)])
def test_prior_without_labels_shares_the_row_of_no_label(own, there):
    model, source = prior(1, num_classes=own), prior(2, num_classes=there)
    start(model, source, {})
    assert torch.equal(model.label_embedding.weight[-1], source.label_embedding.weight[-1])


@pytest.mark.parametrize("kind", ["residual", "hidden-layer"])
def test_last_layer_of_a_classifier_is_taken_by_label(kind):
    model, source = classifier(1, kind=kind, num_classes=2), classifier(2, kind=kind, num_classes=4)
    before = model.head.weight.detach().clone()
    shared, copied = start(model, source, {1: 3})
    assert not shared.rest
    assert torch.equal(model.head.weight[1], source.head.weight[3])
    assert torch.equal(model.head.bias[1], source.head.bias[3])
    assert torch.equal(model.head.weight[0], before[0])
    assert copied["head.bias"] == 1


@pytest.mark.parametrize("labels", ["conditional", "unused"])
def test_columns_of_labels_of_a_baseline_are_taken_by_label(labels):
    model = filled(make_baseline(labels="conditional", num_classes=2), 1)
    source = filled(make_baseline(labels=labels, num_classes=4), 2)
    before = model.decoder.hidden.weight.detach().clone()
    shared, _ = start(model, source, {0: 3} if labels == "conditional" else {})
    latents = model.config.latent_size
    now = model.decoder.hidden.weight
    assert not shared.rest
    assert torch.equal(now[:, :latents], source.decoder.hidden.weight[:, :latents])
    assert torch.equal(now[:, latents + 1], before[:, latents + 1])
    if labels == "conditional":
        assert torch.equal(now[:, latents], source.decoder.hidden.weight[:, latents + 3])


def test_positions_of_another_grid_stay_and_the_reason_has_both_shapes():
    model, source = prior(1, height=8), prior(2, height=4)
    before = model.rows.detach().clone()
    shared, _ = start(model, source)
    assert shared.rest == {"rows": "should have shape (8, 1, 8), found (4, 1, 8)"}
    assert shared.share(model) == 1 - 64 / sum(tensor.numel() for tensor in model.state_dict().values())
    assert torch.equal(model.rows, before)
    assert same(model, source, "columns")


def test_kernels_of_the_same_shape_that_read_other_positions_are_not_taken():
    settings = {"height": 8, "width": 8, "kernel_size": 7}
    model, source = prior(1, slope=3, **settings), prior(2, slope=2, **settings)
    assert model.first.weight.shape == source.first.weight.shape
    shared, _ = start(model, source)
    assert "first.weight" in shared.rest
    assert set(shared.rest.values()) == {"reads other positions: another slope or kernel_size"}
    assert not same(model, source, "first.weight")
    assert same(model, source, "first.bias")


def test_levels_are_found_by_their_names(make_vqvae):
    model, source = make_vqvae(1, downsample=(8, 4, 2)), make_vqvae(2, downsample=(4, 2))
    shared, _ = start(model, source)
    for part in ("encoders", "quantizers", "to_latents"):
        mine = {name: other for name, other in shared.whole.items() if name.startswith(part)}
        # The bottom level is the third one here, and the second one there. `middle` takes nothing.
        assert {(name.split(".")[1], other.split(".")[1]) for name, other in mine.items()} <= {("0", "0"), ("2", "1")}
    assert same(model, source, "quantizers.2.codebook", "quantizers.1.codebook")
    assert shared.rest["encoders.1.0.weight"] == "has no counterpart"


def test_only_level_becomes_the_finest_of_two(make_vqvae):
    model, source = make_vqvae(1, downsample=(4, 2)), make_vqvae(2, downsample=(2,))
    shared, _ = start(model, source)
    assert same(model, source, "encoders.1.0.weight", "encoders.0.0.weight")
    # The bottom latents are made of two kinds of features here, so the codebook would be foreign to them.
    assert shared.rest["to_latents.1.weight"] == "should have shape (4, 16, 1, 1), found (4, 8, 1, 1)"
    assert shared.rest["quantizers.1.codebook"] == "belongs to latents of another to_latents.1"


def test_classifier_of_larger_images_takes_the_blocks_behind_its_longer_stem():
    model, source = classifier(1, image_size=64), classifier(2, image_size=32)
    shared, _ = start(model, source)
    # The last layer of the stem reads the pixels there, and the halved features here.
    assert set(shared.rest) == {"body.0.weight", "body.0.bias", "body.2.weight"}
    assert same(model, source, "body.3.first.weight", "body.1.first.weight")


def test_codebook_comes_along_with_its_averages_or_not_at_all(make_vqvae):
    source = make_vqvae(2)
    source.quantizers[1].idle_steps += 5
    model = make_vqvae(1, steps=0, codebook_size=24)
    before = {name: tensor.clone() for name, tensor in model.quantizers.state_dict().items()}
    shared, _ = start(model, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.quantizers.state_dict().items())
    assert not any(quantizer.initialized for quantizer in model.quantizers)
    assert shared.rest["quantizers.0.initialized"] == "should have shape (24, 4), found (16, 4)"
    alike = make_vqvae(1, steps=0)
    start(alike, source)
    for part in ("codebook", "ema_counts", "ema_sums", "idle_steps", "initialized"):
        assert same(alike, source, f"quantizers.1.{part}")
    assert alike.codebook_moves == 0  # those of this training, by which a moving average warms up


KINDS = {
    "ema": {"kind": ["ema"]},
    "cosine": {"kind": ["cosine"]},
    "cosine, learned": {"kind": ["cosine"], "codebook": "learned"},
    "simvq": {"kind": ["simvq"]},
    "fsq": {"kind": ["fsq"]},
    "lfq": {"kind": ["lfq"]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["paper", "residual"])
def test_quantizer_of_the_same_kind_comes_along_and_serves_at_once(make_vqvae, kind, architecture):
    settings = {"quantizer": KINDS[kind], "architecture": architecture}
    model, source = make_vqvae(1, steps=0, quantize_after=50, **settings), make_vqvae(2, **settings)
    shared, _ = start(model, source)
    assert not shared.rest
    images = torch.rand(4, 1, 16, 16) * 2 - 1
    codes = model(images).codes  # in training mode: latents do not pass
    for level in model.levels:
        assert torch.equal(codes.grids[level], source.encode(images).grids[level])
    model.update_codebooks()
    assert model.has_quantized


@pytest.mark.parametrize(("own", "there"), [("ema", "cosine"), ("simvq", "ema"), ("ema", "lfq"), ("fsq", "lfq")])
def test_quantizer_of_another_kind_stays_there(make_vqvae, own, there):
    model, source = make_vqvae(1, steps=0, quantizer=KINDS[own]), make_vqvae(2, quantizer=KINDS[there])
    before = {name: tensor.clone() for name, tensor in model.quantizers.state_dict().items()}
    shared, _ = start(model, source)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.quantizers.state_dict().items())
    assert shared.rest["quantizers.0.steps"] == "belongs to another kind of quantizer"
    assert same(model, source, "encoders.0.0.weight")


@pytest.mark.parametrize("weights", [(0.1, 0.0), (0.0, 0.1)])
def test_codebook_comes_along_whether_both_have_an_entropy_loss_or_not(make_vqvae, weights):
    own, there = ({"kind": ["ema"], "entropy_weight": weight} for weight in weights)
    model, source = make_vqvae(1, steps=0, quantizer=own), make_vqvae(2, quantizer=there)
    start(model, source)
    assert same(model, source, "quantizers.1.codebook")
    assert same(model, source, "quantizers.1.ema_sums")


def test_codebook_that_is_not_in_use_yet_stays_there(make_vqvae):
    model, source = make_vqvae(1, steps=0), make_vqvae(2, steps=0)
    shared, _ = start(model, source)
    assert shared.rest["quantizers.0.codebook"] == "is not in use there yet"
    assert not same(model, source, "quantizers.0.codebook")
    assert not model.quantizers[0].initialized


def test_latents_do_not_pass_unquantized_again(make_vqvae):
    model, source = make_vqvae(1, steps=0, quantize_after=50), make_vqvae(2, steps=3)
    images = torch.rand(4, 1, 16, 16) * 2 - 1
    assert not model(images).codes.grids["bottom"].any()  # codes of zero: latents pass
    assert not model.has_quantized
    start(model, source)
    assert all(
        torch.equal(model.encode(images).grids[level], source.encode(images).grids[level]) for level in model.levels
    )
    before = model.quantizers[0].codebook.clone()
    model(images)
    model.update_codebooks()
    assert model.has_quantized
    # An average of many latents: after a step the codebook has moved, and not begun anew at the latents of the step.
    assert 0 < float((model.quantizers[0].codebook - before).abs().max()) < float(before.abs().max()) / 5


def test_level_whose_codebook_does_not_fit_passes_its_latents_as_before(make_vqvae):
    model, source = make_vqvae(1, steps=0, quantize_after=2), make_vqvae(2)
    source.quantizers[1].initialized.fill_(False)
    start(model, source)
    found = []
    for _ in range(4):
        model(torch.rand(4, 1, 16, 16) * 2 - 1)
        model.update_codebooks()
        found.append(model.codebook_moves)
    assert found == [0, 0, 1, 2]  # a moving average follows the codebooks as they are until the last one is in use


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_model_keeps_its_dtype_whatever_that_of_the_other_one(dtype):
    model, source = prior(1, num_classes=3).float(), prior(2, num_classes=5).to(dtype)
    start(model, source, {1: 4})
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model.embedding.weight, source.embedding.weight.float())
    assert torch.equal(model.label_embedding.weight[1], source.label_embedding.weight[4].float())


def test_models_that_share_vectors_alone_do_not_fit():
    model, source = prior(1, channels=16), prior(2)
    shared = shared_weights(model, source)
    assert not shared.fit(model)
    assert "output.3.bias" in shared.whole or "output.2.bias" in shared.whole  # one number for each code


def test_model_without_numbers_is_compared_like_any_other():
    other, source = prior(1, num_classes=4, height=8), prior(2)
    model = without_weights(lambda: PixelCNN(other.config))
    assert shared_weights(model, source) == shared_weights(other, source)
