"""Starts of models whose levels have several quantizers: which ones come along, and what a new one does."""

import torch

from vqgen.models.warm_start import shared_weights, take_weights


def start(model, source):
    """Starts a model from another one and returns what was shared."""
    shared = shared_weights(model, source)
    take_weights(model, source, shared, {})
    return shared


def same(model, source, name, other=None):
    return torch.equal(model.state_dict()[name], source.state_dict()[other or name])


def test_second_quantizer_of_a_level_begins_at_the_residuals_of_one_that_came_along(make_vqvae):
    model, source = make_vqvae(1, steps=0, quantizer={"depth": (1, 2)}, quantize_after=50), make_vqvae(2)
    shared = start(model, source)
    assert same(model, source, "quantizers.1.codebook")
    assert shared.rest["quantizers.2.codebook"] == "has no counterpart"
    # The level is in use, so the new quantizer does not let its residuals pass.
    assert [quantizer.waits for quantizer in model.train().quantizers] == [False] * 3
    assert not model.has_quantized
    images = torch.rand(16, 1, 16, 16) * 2 - 1
    model(images)
    assert bool(model.quantizers[2].initialized)


def test_grids_are_found_by_their_names(make_vqvae):
    model = make_vqvae(1, steps=0, downsample=(4, 2), quantizer={"depth": (2, 1)})
    source = make_vqvae(2, downsample=(4, 2), quantizer={"depth": (1, 2)})
    start(model, source)
    assert same(model, source, "quantizers.0.codebook")
    assert same(model, source, "quantizers.2.codebook", "quantizers.1.codebook")  # both are the first of the bottom
    deep = make_vqvae(1, steps=0, quantizer={"depth": 2})
    shared = start(deep, make_vqvae(2, quantizer={"depth": 2}))
    assert not shared.rest


def test_quantizer_of_residuals_stays_without_the_one_that_leaves_them(make_vqvae):
    model, source = (make_vqvae(seed, quantizer={"depth": (1, 2)}) for seed in (1, 2))
    source.quantizers[1].initialized.fill_(False)
    shared = start(model, source)
    assert shared.rest["quantizers.1.codebook"] == "is not in use there yet"
    assert shared.rest["quantizers.2.codebook"] == "belongs to residuals of another quantizers.1"
    assert same(model, source, "quantizers.0.codebook")
