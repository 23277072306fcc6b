import pytest
import torch
from torch import nn

from vqgen.models.margins import decoding_margin, encoding_margin
from vqgen.models.vqvae import VQVAE

MODELS = [
    {"downsample": (2,), "residual_layers": 0},
    {"downsample": (8,)},
    {"downsample": (4, 2)},
    {"downsample": (16, 4), "residual_layers": 0},
    {"downsample": (8, 4), "residual_layers": 2},
    {"downsample": (8, 4, 2), "residual_layers": 0},
]


@pytest.fixture(params=MODELS, ids=str)
def model(request, tiny_vqvae_config):
    """A VQ-VAE in float64 whose weights are above 0, so that every influence shows."""
    built = VQVAE(tiny_vqvae_config(image_size=16, **request.param)).double().eval()
    for weights in built.parameters():
        nn.init.constant_(weights, 0.1)
    return built


def reach(rows, cell, size):
    """The cells around a cell that rows with an influence on it reach into, in the direction that reaches further."""
    first, last = rows[0], rows[-1]
    return max(cell - first // size, last // size - cell)


def test_encoding_margin_is_exactly_the_influence_on_the_latents(model):
    """The quantizer passes the gradient straight through, so that the influence of coarser levels counts."""
    size = model.config.downsample[0]
    cells = 2 * encoding_margin(model) + 9
    cell = cells // 2
    images = torch.ones(1, 1, cells * size, size, dtype=torch.float64, requires_grad=True)
    results, _ = model._quantize(images)
    total = images.new_zeros(())
    for level, factor in zip(model.levels, model.config.downsample, strict=True):
        count = size // factor
        total = total + results[level].quantized[0, :, cell * count : (cell + 1) * count].sum()
    total.backward()
    rows = images.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist()
    assert reach(rows, cell, size) == encoding_margin(model)


def test_decoding_margin_is_exactly_the_influence_on_the_pixels(model):
    size = model.config.downsample[0]
    cells = 2 * decoding_margin(model) + 5
    cell = cells // 2
    maps = [
        torch.ones(1, model.config.embedding_dim, cells * size // f, size // f, dtype=torch.float64, requires_grad=True)
        for f in model.config.downsample
    ]
    decoder_input = None
    for index, quantized in enumerate(maps):
        decoder_input = model._extend(decoder_input, index, quantized)
    model.decoder(decoder_input)[0, :, cell * size : (cell + 1) * size].sum().backward()
    found = [
        reach(m.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist(), cell, size // f)
        for m, f in zip(maps, model.config.downsample, strict=True)
    ]
    assert max(found) == decoding_margin(model)
