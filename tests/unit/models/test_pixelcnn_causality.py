"""The causality of the PixelCNN, by its Jacobian; the rest of its tests are in `test_pixelcnn.py`."""

import itertools

import pytest
import torch
from tiny_models import draw_codes, make_pixelcnn

SLOPES = [1, 2, 3, "raster"]


def which_sees_which(model, queries=None):
    """`(queries, n)`: True if the gradient of a position's logits by an embedded code is not exactly zero."""
    queries = torch.arange(model.order.num_positions) if queries is None else queries
    b = len(queries)
    embedded = model.embedding(draw_codes(model, 1)).detach().expand(b, -1, -1, -1).clone().requires_grad_()
    label = model.embed_labels(torch.zeros(b, dtype=torch.int64), b)
    logits = model.forward_embedded(embedded, label, None).flatten(2)
    weights = torch.randn(logits.shape[1], dtype=logits.dtype)
    # Each image of the batch looks at one position, so that one pass gives the whole Jacobian.
    (logits[torch.arange(b), :, queries] @ weights).sum().backward()
    return embedded.grad.abs().sum(-1).flatten(1) != 0


def earlier(model):
    times = torch.from_numpy(model.order.times).flatten()
    return times[None] < times[:, None]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("grid", [(4, 4), (3, 6), (6, 3)])
@pytest.mark.parametrize("attention_every", [0, 1, 2])
def test_causality_by_jacobian(training, slope, grid, attention_every):
    model = make_pixelcnn(height=grid[0], width=grid[1], slope=slope, attention_every=attention_every, dropout=0.2)
    model.train(training)
    seen = which_sees_which(model)
    assert not (seen & ~earlier(model)).any()
    if model.order.blind_fraction(5, 2) == 0:
        assert torch.equal(seen, earlier(model))


@pytest.mark.parametrize("slope", SLOPES)
def test_attention_closes_the_blind_spot_except_at_the_ends_of_raster_rows(slope):
    settings = {"height": 7, "width": 7, "slope": slope, "layers": 1}
    blind = make_pixelcnn(**settings)
    attentive = make_pixelcnn(**settings, attention_every=1)
    assert not torch.equal(which_sees_which(blind), earlier(blind))
    expected = earlier(attentive)
    if slope == "raster":
        # In raster order no feature has read the last code of a row until the kernel reaches it from the next row.
        for row, column in itertools.product(range(6), range(7 - 1 - 2)):
            expected[(row + 1) * 7 + column, row * 7 + 6] = False
    assert torch.equal(which_sees_which(attentive), expected)


@pytest.mark.parametrize(
    ("slope", "kernel_size", "layers"), [(2, 5, 4), (2, 5, 3), ("raster", 5, 6), (3, 5, 6), (2, 3, 8), (1, 5, 4)]
)
def test_blind_spot_at_10_x_10_is_as_large_as_computed(slope, kernel_size, layers):
    model = make_pixelcnn(height=10, width=10, slope=slope, kernel_size=kernel_size, layers=layers, codebook_size=2)
    seen = which_sees_which(model)
    assert not (seen & ~earlier(model)).any()
    unseen = ((earlier(model) & ~seen).sum() / earlier(model).sum()).item()
    assert unseen == pytest.approx(model.order.blind_fraction(kernel_size, layers), abs=1e-6)
    assert (unseen == 0) == ((slope, kernel_size, layers) in {(2, 5, 4), (1, 5, 4)})


def test_seven_layers_have_no_blind_spot_at_16_x_16():
    model = make_pixelcnn(height=16, width=16, layers=7, codebook_size=2)
    queries = torch.arange(0, 256, 17)  # the diagonal, with the first and the last position
    assert torch.equal(which_sees_which(model, queries), earlier(model)[queries])


@pytest.mark.parametrize("slope", SLOPES)
def test_code_changes_only_later_logits(slope):
    model = make_pixelcnn(slope=slope, attention_every=1)
    codes = draw_codes(model, 1)
    logits = model(codes, None, None)
    times = torch.from_numpy(model.order.times)
    for row, column in itertools.product(range(4), range(5)):
        changed = codes.clone()
        changed[0, row, column] = (changed[0, row, column] + 1) % 6
        same = (model(changed, None, None) == logits).all(dim=1)[0]
        assert same[times <= times[row, column]].all()
        if model.order.blind_fraction(5, 2) == 0:
            assert not same[times > times[row, column]].any()
