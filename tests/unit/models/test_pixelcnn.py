import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vqgen.config import PixelCNNConfig
from vqgen.models.pixelcnn import PixelCNN

SLOPES = [1, 2, 3, "raster"]


def make(*, randomise=True, **changes):
    """A small model in float64 whose zero-initialised layers are drawn too, so that every path carries a signal."""
    torch.manual_seed(0)
    settings = {
        "level": "bottom", "height": 4, "width": 5, "codebook_size": 6, "num_classes": 3, "channels": 8, "layers": 2,
        "attention_heads": 2, "conditioning_layers": 1, "label_dropout": 0.25,
    }  # fmt: skip
    model = PixelCNN(PixelCNNConfig(**(settings | changes))).double()
    if randomise:
        for parameter in model.parameters():
            if parameter.abs().max() == 0:
                nn.init.normal_(parameter, std=0.5)
    return model.eval()


def draw_codes(model, b, seed=0):
    shape = (b, model.config.height, model.config.width)
    return torch.randint(model.config.codebook_size, shape, generator=torch.Generator().manual_seed(seed))


def which_sees_which(model, queries=None):
    """`(queries, n)`: whether the gradient of a position's logits by an embedded code is not exactly zero."""
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
    model = make(height=grid[0], width=grid[1], slope=slope, attention_every=attention_every, dropout=0.2)
    model.train(training)
    seen = which_sees_which(model)
    assert not (seen & ~earlier(model)).any()
    if model.order.blind_fraction(5, 2) == 0:
        assert torch.equal(seen, earlier(model))


@pytest.mark.parametrize("slope", SLOPES)
def test_attention_closes_the_blind_spot_but_for_the_turn_of_a_raster(slope):
    settings = {"height": 7, "width": 7, "slope": slope, "layers": 1}
    blind, attentive = make(**settings), make(**settings, attention_every=1)
    assert not torch.equal(which_sees_which(blind), earlier(blind))
    expected = earlier(attentive)
    if slope == "raster":
        # In raster order no feature brings the last code of a row before the kernel reaches it from the next row.
        for row, column in itertools.product(range(6), range(7 - 1 - 2)):
            expected[(row + 1) * 7 + column, row * 7 + 6] = False
    assert torch.equal(which_sees_which(attentive), expected)


@pytest.mark.parametrize(
    ("slope", "kernel_size", "layers"), [(2, 5, 4), (2, 5, 3), ("raster", 5, 6), (3, 5, 6), (2, 3, 8), (1, 5, 4)]
)
def test_blind_spot_at_10_x_10_is_the_one_computed(slope, kernel_size, layers):
    model = make(height=10, width=10, slope=slope, kernel_size=kernel_size, layers=layers, codebook_size=2)
    seen = which_sees_which(model)
    assert not (seen & ~earlier(model)).any()
    unseen = ((earlier(model) & ~seen).sum() / earlier(model).sum()).item()
    assert unseen == pytest.approx(model.order.blind_fraction(kernel_size, layers), abs=1e-6)
    assert (unseen == 0) == ((slope, kernel_size, layers) in {(2, 5, 4), (1, 5, 4)})


def test_no_blind_spot_at_16_x_16_with_7_layers():
    model = make(height=16, width=16, layers=7, codebook_size=2)
    queries = torch.arange(0, 256, 17)  # the diagonal, with the first and the last position
    assert torch.equal(which_sees_which(model, queries), earlier(model)[queries])


@pytest.mark.parametrize("slope", SLOPES)
def test_a_code_changes_only_later_logits(slope):
    model = make(slope=slope, attention_every=1)
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


@pytest.mark.parametrize("slope", SLOPES)
def test_probabilities_of_all_codes_sum_to_one(slope):
    model = make(height=2, width=3, codebook_size=3, slope=slope, attention_every=1)
    codes = torch.tensor(list(itertools.product(range(3), repeat=6))).view(-1, 2, 3)
    for labels in (None, torch.ones(len(codes), dtype=torch.int64)):
        total = model.log_likelihood(codes, labels, None).exp().sum().item()
        assert total == pytest.approx(1, abs=1e-12)


def test_log_likelihood_is_the_sum_over_positions_in_float64():
    model = make().float()
    codes, labels = draw_codes(model, 3), torch.tensor([0, 2, 3])
    log_likelihood = model.log_likelihood(codes, labels, None)
    logits = model(codes, labels, None)
    assert logits.dtype == torch.float32
    assert log_likelihood.dtype == torch.float64
    for image in range(3):
        expected = -F.cross_entropy(logits[image : image + 1].double(), codes[image : image + 1], reduction="sum")
        assert log_likelihood[image].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("conditioned", [True, False])
def test_an_image_does_not_see_its_batch(conditioned):
    model = make(attention_every=1, **({"coarser_height": 2, "coarser_width": 1} if conditioned else {}))
    codes, labels = draw_codes(model, 5), torch.tensor([0, 1, 2, 3, -1])
    coarser = torch.randint(6, (5, 2, 1)) if conditioned else None

    def forward(images):
        condition = model.encode_condition(None if coarser is None else coarser[images])
        return model(codes[images], labels[images], condition)

    together = forward(slice(None))
    for image in range(5):
        alone = forward(slice(image, image + 1))
        assert torch.allclose(alone[0], together[image], atol=1e-12)


def test_every_coarser_code_and_every_cell_matters():
    model = make(height=6, width=4, coarser_height=3, coarser_width=2, conditioning_layers=1)
    coarser = torch.randint(6, (2, 3, 2))
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


def test_the_condition_is_not_masked():
    model = make(height=4, width=4, coarser_height=2, coarser_width=2, conditioning_layers=2)
    codes, coarser = draw_codes(model, 1), torch.zeros(1, 2, 2, dtype=torch.int64)
    logits = model(codes, None, model.encode_condition(coarser))
    coarser[0, 1, 1] = 1
    changed = model(codes, None, model.encode_condition(coarser)) != logits
    assert changed.any(dim=1).all()  # the last coarser code reaches the first logits


def test_labels_and_the_null_label():
    model = make()
    codes = draw_codes(model, 4)
    logits = [model(codes, torch.full((4,), label), None) for label in range(4)]
    assert model.null_label == 3
    assert torch.equal(model(codes, None, None), logits[3])
    assert torch.equal(model(codes, torch.full((4,), -1), None), logits[3])
    for one, other in itertools.combinations(logits, 2):
        assert ((one - other).abs().amax(dim=1) > 0).all()
    unlabelled = make(num_classes=0)
    assert unlabelled.label_embedding.weight.shape == (1, 8)
    assert torch.equal(unlabelled(codes, None, None), unlabelled(codes, torch.zeros(4, dtype=torch.int64), None))


def test_mirrored_images_are_told_apart_by_a_model_that_is_told_and_by_no_other():
    model, codes = make(mirror_conditioned=True), draw_codes(make(), 3)
    plain = model(codes, None, None)
    told = model(codes, None, None, torch.tensor([False, True, False]))
    assert torch.equal(told[[0, 2]], plain[[0, 2]])
    assert not torch.equal(told[1], plain[1])
    assert torch.equal(model(codes, None, None, torch.zeros(3, dtype=torch.bool)), plain)
    with pytest.raises(ValueError, match="mirrored should be None"):
        make()(codes, None, None, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mirrored should be bool"):
        model(codes, None, None, torch.zeros(3))


def test_a_model_begins_without_a_difference_for_mirrored_images_and_learns_it():
    model, codes = make(randomise=False, mirror_conditioned=True), draw_codes(make(), 2)
    mirrored = torch.tensor([True, False])
    with torch.no_grad():
        model.output[-1].weight.normal_()
        for block in model.blocks:
            block.project.weight.normal_()
    logits = model(codes, None, None, mirrored)
    assert torch.equal(logits, model(codes, None, None))
    F.cross_entropy(logits, codes).backward()
    assert model.mirrored_embedding.grad.abs().max() > 0


def test_drop_labels_at_the_rate_and_only_there():
    model = make(label_dropout=0.25)
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert model.drop_labels(labels, torch.tensor([0.0, 0.249, 0.25, 0.9, 0.1])).tolist() == [3, 3, 2, 0, 3]
    assert torch.equal(make(label_dropout=0.0).drop_labels(labels, torch.zeros(5)), labels)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    dropped = model.drop_labels(torch.zeros(20_000, dtype=torch.int64), uniform) == 3
    # Six standard deviations of 0.0031: fails by chance for one seed in 5 x 10^8.
    assert abs(dropped.double().mean().item() - 0.25) < 6 * math.sqrt(0.25 * 0.75 / 20_000)


def test_the_first_position_is_the_same_for_all_codes_and_learns_its_start():
    model = make()
    logits = model(draw_codes(model, 7), None, None)
    assert torch.allclose(logits[:, :, 0, 0], logits[:1, :, 0, 0].expand(7, -1), atol=1e-12)
    (logits[0, :, 0, 0] @ torch.randn(6, dtype=torch.float64)).backward()
    assert model.rows.grad[0].abs().min() > 0
    assert model.columns.grad[0].abs().min() > 0


def test_starts_near_the_uniform_distribution():
    model = make(randomise=False, codebook_size=64, channels=32)
    nats_per_code = -model.log_likelihood(draw_codes(model, 8), None, None).mean().item() / 20
    assert nats_per_code == pytest.approx(math.log(64), abs=0.3)


def test_dropout_and_modes():
    model = make(dropout=0.5)
    codes = draw_codes(model, 2)
    assert torch.equal(model(codes, None, None), model(codes, None, None))
    model.train()
    assert not torch.equal(model(codes, None, None), model(codes, None, None))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model(codes, None, None).sum().backward()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


SEEN = pytest.mark.parametrize(("rescale", "factor"), [(True, 1 / 0.75), (False, 1.0)])


@SEEN
def test_code_dropout_hides_whole_codes_in_training_only(rescale, factor):
    model = make(code_dropout=0.25, rescale=rescale)
    codes = draw_codes(model, 200)
    shown: list[torch.Tensor] = []
    model.first.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0]))
    model(codes, None, None)
    model.train()
    model(codes, None, None)
    in_sampling, in_training = shown
    hidden = (in_training == 0).all(dim=1, keepdim=True)
    assert hidden.double().mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(in_training, torch.where(hidden, 0.0, in_sampling * factor))


@SEEN
def test_coarser_dropout_hides_whole_codes_in_training_only(rescale, factor):
    changes = {"coarser_height": 4, "coarser_width": 5, "conditioning_layers": 0}
    model, all_seen = make(coarser_dropout=0.25, rescale=rescale, **changes), make(**changes)
    coarser = torch.randint(6, (200, 4, 5), generator=torch.Generator().manual_seed(0))
    whole = all_seen.encode_condition(coarser) - all_seen.upsample.bias[:, None, None]
    assert torch.equal(model.encode_condition(coarser), all_seen.encode_condition(coarser))
    model.train()
    found = model.encode_condition(coarser) - model.upsample.bias[:, None, None]
    hidden = found.abs().amax(dim=1) < 1e-12
    assert hidden.double().mean().item() == pytest.approx(0.25, abs=0.03)  # 4,000 draws: the deviation is 0.007
    torch.testing.assert_close(found, torch.where(hidden[:, None], 0.0, whole * factor))


def train(model, codes, labels, steps=150):
    model.float().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    for step in range(steps):
        uniform = torch.rand(len(labels), generator=torch.Generator().manual_seed(step))
        loss = -model.log_likelihood(codes, model.drop_labels(labels, uniform), None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("slope", [2, "raster"])
def test_learns_eight_maps_with_and_without_their_labels(slope):
    settings = {"height": 4, "width": 4, "codebook_size": 8, "num_classes": 8, "channels": 32, "dropout": 0.0}
    model = make(randomise=False, slope=slope, **settings)
    codes, labels = draw_codes(model, 8), torch.arange(8)
    codes[:, 0, 0] = torch.arange(8)  # the first position tells the maps apart, so its start is learned
    train(model, codes, labels)
    with torch.no_grad():
        labelled = -model.log_likelihood(codes, labels, None).mean().item()
        unlabelled = -model.log_likelihood(codes, None, None).mean().item()
    assert labelled / 16 < 0.02
    # log 8 nats an image is the entropy of eight maps, which no model beats.
    assert math.log(8) - 1e-6 < unlabelled < math.log(8) + 0.02 * 16


CODES = torch.zeros(2, 4, 5, dtype=torch.int64)
LABELS = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("codes", [CODES[0], CODES[:, :3], CODES.int(), CODES.float()])
def test_refuses_wrong_codes(codes):
    with pytest.raises(ValueError, match=r"codes should be int64 of shape \(b, 4, 5\), found \w+ of shape"):
        make()(codes, LABELS, None)


@pytest.mark.parametrize("labels", [LABELS[:1], LABELS[:, None], LABELS.float()])
def test_refuses_wrong_labels(labels):
    with pytest.raises(ValueError, match=r"labels should be int64 of shape \(2,\), found \w+ of shape"):
        make()(CODES, labels, None)


def test_refuses_wrong_conditions():
    coarser = torch.zeros(2, 2, 5, dtype=torch.int64)
    model, conditioned = make(), make(coarser_height=2, coarser_width=5)
    with pytest.raises(ValueError, match="condition should be None for level 'bottom', found float64 of shape"):
        model(CODES, LABELS, torch.zeros(2, 8, 4, 5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"condition should be of shape \(2, 8, 4, 5\), from encode_condition"):
        conditioned(CODES, LABELS, None)
    with pytest.raises(ValueError, match=r"condition should be of shape \(2, 8, 4, 5\).* of shape \(1, 8, 4, 5\)"):
        conditioned(CODES, LABELS, conditioned.encode_condition(coarser[:1]))
    with pytest.raises(ValueError, match="coarser should be None for level 'bottom', found int64 of shape"):
        model.encode_condition(coarser)
    with pytest.raises(ValueError, match="coarser should be given for level 'bottom', found None"):
        conditioned.encode_condition(None)
    with pytest.raises(ValueError, match=r"coarser should be int64 of shape \(b, 2, 5\), found int64 of shape"):
        conditioned.encode_condition(coarser[:, :1])
    assert model.encode_condition(None) is None


@pytest.mark.parametrize("coarser", [(3, 5), (2, 2), (2, 0), (8, 5)])
def test_refuses_grids_that_are_no_multiple(coarser):
    with pytest.raises(ValueError, match="height x width should be a whole multiple of coarser_height x coarser_width"):
        make(coarser_height=coarser[0], coarser_width=coarser[1])


def test_refuses_heads_that_do_not_divide():
    with pytest.raises(ValueError, match="heads should divide channels = 8, found 3"):
        make(attention_every=1, attention_heads=3)
