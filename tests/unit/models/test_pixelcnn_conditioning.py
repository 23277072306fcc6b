"""The coarser codes that condition a PixelCNN."""

import pytest
import torch
from tiny_models import draw_codes, make_pixelcnn

from vqgen.codes import join_codes


@pytest.mark.parametrize("size", [(3, 2), (6, 4)])
def test_every_coarser_code_and_every_position_of_the_condition_change_the_logits(size):
    model = make_pixelcnn(height=6, width=4, coarser_height=size[0], coarser_width=size[1], conditioning_layers=1)
    coarser = torch.randint(6, (2, *size))
    features = {}
    model.coarser_embedding.register_forward_hook(
        lambda *_, key="embedded": _[2].retain_grad() or features.update({key: _[2]})
    )
    condition = model.encode_condition(coarser)
    assert condition.shape == (2, 8, 6, 4)
    condition.retain_grad()
    logits = model(draw_codes(model, 2), None, condition)
    (logits * torch.randn_like(logits)).sum().backward()
    assert (features["embedded"].grad.abs().sum(-1) > 0).all()
    assert (condition.grad.abs().sum(1) > 0).all()


def test_codes_of_each_conditioning_grid_add_an_embedding_of_their_own():
    sizes = {"height": 4, "width": 4, "coarser_height": 4, "coarser_width": 4}
    model = make_pixelcnn(**sizes, conditioning_grids=3, conditioning_layers=0)
    one = make_pixelcnn(**sizes, conditioning_layers=0)
    one.upsample.load_state_dict(model.upsample.state_dict())
    grids = [torch.randint(6, (2, 4, 4), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    parts = model.coarser_embedding.weight.detach().split(6)
    with torch.no_grad():
        added = sum(part[grid] for part, grid in zip(parts, grids, strict=True))
        # A model whose embedding has these sums as its entries.
        one.coarser_embedding = torch.nn.Embedding.from_pretrained(added.flatten(0, 2))
        expected = one.encode_condition(torch.arange(32).view(2, 4, 4))
        assert torch.allclose(model.encode_condition(join_codes(grids, 6)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("grids", [1, 3])
def test_norm_keeps_the_size_of_the_condition_whatever_the_size_of_the_embeddings(grids):
    sizes = {"height": 4, "width": 4, "coarser_height": 4, "coarser_width": 4, "conditioning_layers": 0}
    codes = torch.randint(6**grids, (2, 4, 4))
    for has_norm in (True, False):
        model = make_pixelcnn(**sizes, conditioning_grids=grids, conditioning_norm=has_norm)
        with torch.no_grad():
            before = model.encode_condition(codes)
            model.coarser_embedding.weight.mul_(1000)
            after = model.encode_condition(codes)
        growth = float(after.std() / before.std())
        assert growth == pytest.approx(1, abs=0.05) if has_norm else growth > 100


def test_condition_is_not_masked():
    model = make_pixelcnn(height=4, width=4, coarser_height=2, coarser_width=2, conditioning_layers=2)
    codes = draw_codes(model, 1)
    coarser = torch.zeros(1, 2, 2, dtype=torch.int64)
    logits = model(codes, None, model.encode_condition(coarser))
    coarser[0, 1, 1] = 1
    changed = model(codes, None, model.encode_condition(coarser)) != logits
    assert changed.any(dim=1).all()  # the last coarser code reaches the first logits
