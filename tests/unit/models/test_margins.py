import pytest
import torch
from torch import nn

from vqgen.models.margins import alignment, decoding_margin, encoding_margin
from vqgen.models.vqvae import VQVAE

RESIDUAL = {"architecture": "residual", "channels": 4, "residual_channels": 4}
MODELS = [
    {"downsample": (2,), "residual_layers": 0},
    {"downsample": (8,)},
    {"downsample": (4, 2)},
    {"downsample": (4, 2), "quantizer": {"depth": (2, 3)}},
    {"downsample": (16, 4), "residual_layers": 0},
    {"downsample": (8, 4), "residual_layers": 2},
    {"downsample": (8, 4, 2), "residual_layers": 0},
    {"downsample": (8, 4, 2), "residual_layers": 0, "upsampling": "nearest"},
    RESIDUAL | {"downsample": (8,), "residual_layers": 2},
    RESIDUAL | {"downsample": (8, 2), "channel_multipliers": (1, 2), "upsampling": "nearest"},
    RESIDUAL | {"downsample": (4,), "attention_heads": 1},
    RESIDUAL | {"downsample": (4, 2), "attention_heads": 1},
    RESIDUAL | {"downsample": (4, 2), "attention_heads": 2, "image_size": 24, "residual_layers": 0},
    RESIDUAL | {"downsample": (4, 2), "attention_heads": 1, "image_size": 28, "residual_layers": 3},
    RESIDUAL | {"downsample": (8, 4, 2), "attention_heads": 1, "image_size": 40, "residual_layers": 2},
]


@pytest.fixture(params=MODELS, ids=str)
def model(request, tiny_vqvae_config):
    """A VQ-VAE in float64 that hides and cancels no influence.

    Weights above 0 let no ReLU hide one. A norm would take all away from equal channels, so there they are random.
    """
    built = VQVAE(tiny_vqvae_config(**({"image_size": 16} | request.param))).double().eval()
    for weights in built.parameters():
        nn.init.constant_(weights, 0.1) if built.config.architecture == "paper" else nn.init.normal_(weights)
    return built


def reach(rows, cell, size):
    """The cells around a cell that rows with an influence on it reach into, in the direction that reaches further."""
    first, last = rows[0], rows[-1]
    return max(cell - first // size, last // size - cell)


def middle_cells(model, margin):
    """Cells far from the edges, one at each place of a square, and the number of all cells.

    The margin is that of the cell of a square that reaches furthest.
    """
    unit = alignment(model)
    first = -(-(margin + 3) // unit) * unit
    return range(first, first + unit), 2 * first + unit


def test_encoding_margin_is_exactly_the_influence_on_the_latents(model):
    """The quantizer passes the gradient straight through, so that the influence of coarser levels counts."""
    size = model.config.downsample[0]
    places, cells = middle_cells(model, encoding_margin(model))
    found = []
    for cell in places:
        images = torch.rand(1, 1, cells * size, size, dtype=torch.float64).add_(1).requires_grad_()
        results, _ = model._quantize(images)
        total = images.new_zeros(())
        for result, factor in zip(results, model.config.downsample, strict=True):
            count = size // factor
            total = total + result.quantized[0, :, cell * count : (cell + 1) * count].sum()
        total.backward()
        found.append(reach(images.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist(), cell, size))
    assert max(found) == encoding_margin(model)


def test_decoding_margin_is_exactly_the_influence_on_the_pixels(model):
    size = model.config.downsample[0]
    places, cells = middle_cells(model, decoding_margin(model))
    found = []
    for cell in places:
        maps = [
            torch.rand(1, model.config.embedding_dim, cells * size // f, size // f, dtype=torch.float64)
            .add_(1)
            .requires_grad_()
            for f in model.config.downsample
        ]
        decoder_input = None
        for index, quantized in enumerate(maps):
            decoder_input = model._extend(decoder_input, index, quantized)
        model.decoder(decoder_input)[0, :, cell * size : (cell + 1) * size].sum().backward()
        found += [
            reach(m.grad.abs().amax(dim=(0, 1, 3)).nonzero().flatten().tolist(), cell, size // f)
            for m, f in zip(maps, model.config.downsample, strict=True)
        ]
    assert max(found) == decoding_margin(model)


def test_parts_begin_anywhere_without_attention_and_at_squares_with_it(tiny_vqvae_config):
    settings = {"image_size": 24, "downsample": (8, 4), "architecture": "residual"}
    assert alignment(VQVAE(tiny_vqvae_config(**settings))) == 1
    assert alignment(VQVAE(tiny_vqvae_config(**settings, attention_heads=2))) == 3
