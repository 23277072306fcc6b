import itertools
import math

import pytest
import torch
from tiny_models import draw_codes, make_pixelcnn
from torch.nn import functional as F

SLOPES = [1, 2, 3, "raster"]


@pytest.mark.parametrize("slope", SLOPES)
def test_probabilities_of_all_codes_sum_to_one(slope):
    model = make_pixelcnn(height=2, width=3, codebook_size=3, slope=slope, attention_every=1)
    codes = torch.tensor(list(itertools.product(range(3), repeat=6))).view(-1, 2, 3)
    for labels in (None, torch.ones(len(codes), dtype=torch.int64)):
        total = model.log_likelihood(codes, labels, None).exp().sum().item()
        assert total == pytest.approx(1, abs=1e-12)


def test_log_likelihood_is_the_sum_over_positions_in_float64():
    model = make_pixelcnn().float()
    codes = draw_codes(model, 3)
    labels = torch.tensor([0, 2, 3])
    log_likelihood = model.log_likelihood(codes, labels, None)
    logits = model(codes, labels, None)
    assert logits.dtype == torch.float32
    assert log_likelihood.dtype == torch.float64
    for image in range(3):
        expected = -F.cross_entropy(logits[image : image + 1].double(), codes[image : image + 1], reduction="sum")
        assert log_likelihood[image].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("conditioned", [True, False])
def test_image_does_not_see_its_batch(conditioned):
    model = make_pixelcnn(attention_every=1, **({"coarser_height": 2, "coarser_width": 1} if conditioned else {}))
    codes = draw_codes(model, 5)
    labels = torch.tensor([0, 1, 2, 3, -1])
    coarser = torch.randint(6, (5, 2, 1)) if conditioned else None

    def forward(images):
        condition = model.encode_condition(None if coarser is None else coarser[images])
        return model(codes[images], labels[images], condition)

    together = forward(slice(None))
    for image in range(5):
        alone = forward(slice(image, image + 1))
        assert torch.allclose(alone[0], together[image], atol=1e-12)


def test_logits_differ_between_labels_and_the_null_label():
    model = make_pixelcnn()
    codes = draw_codes(model, 4)
    logits = [model(codes, torch.full((4,), label), None) for label in range(4)]
    assert model.null_label == 3
    assert torch.equal(model(codes, None, None), logits[3])
    assert torch.equal(model(codes, torch.full((4,), -1), None), logits[3])
    for one, other in itertools.combinations(logits, 2):
        assert ((one - other).abs().amax(dim=1) > 0).all()
    unlabelled = make_pixelcnn(num_classes=0)
    assert unlabelled.label_embedding.weight.shape == (1, 8)
    assert torch.equal(unlabelled(codes, None, None), unlabelled(codes, torch.zeros(4, dtype=torch.int64), None))


@pytest.mark.usefixtures("unchecked_annotations")
def test_mirrored_images_have_other_logits_only_in_a_mirror_conditioned_model():
    model = make_pixelcnn(mirror_conditioned=True)
    codes = draw_codes(make_pixelcnn(), 3)
    plain = model(codes, None, None)
    marked = model(codes, None, None, torch.tensor([False, True, False]))
    assert torch.equal(marked[[0, 2]], plain[[0, 2]])
    assert not torch.equal(marked[1], plain[1])
    assert torch.equal(model(codes, None, None, torch.zeros(3, dtype=torch.bool)), plain)
    with pytest.raises(ValueError, match="mirrored should be None for a model without mirror_conditioned"):
        make_pixelcnn()(codes, None, None, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mirrored should be bool"):
        model(codes, None, None, torch.zeros(3))


def test_difference_of_mirrored_images_starts_at_zero_and_is_learned():
    model = make_pixelcnn(randomise=False, mirror_conditioned=True)
    codes = draw_codes(make_pixelcnn(), 2)
    mirrored = torch.tensor([True, False])
    with torch.no_grad():
        model.output[-1].weight.normal_()
        for block in model.blocks:
            block.project.weight.normal_()
    logits = model(codes, None, None, mirrored)
    assert torch.equal(logits, model(codes, None, None))
    F.cross_entropy(logits, codes).backward()
    assert model.mirrored_embedding.grad.abs().max() > 0


def test_labels_are_dropped_where_the_draw_is_below_label_dropout():
    model = make_pixelcnn(label_dropout=0.25)
    labels = torch.tensor([0, 1, 2, 0, 1])
    assert model.drop_labels(labels, torch.tensor([0.0, 0.249, 0.25, 0.9, 0.1])).tolist() == [3, 3, 2, 0, 3]
    assert torch.equal(make_pixelcnn(label_dropout=0.0).drop_labels(labels, torch.zeros(5)), labels)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    dropped = model.drop_labels(torch.zeros(20_000, dtype=torch.int64), uniform) == 3
    # Six standard deviations of 0.0031: fails by chance for one seed in 5 x 10^8.
    assert abs(dropped.double().mean().item() - 0.25) < 6 * math.sqrt(0.25 * 0.75 / 20_000)


def test_first_position_is_the_same_for_all_codes_and_learns_its_start():
    model = make_pixelcnn()
    logits = model(draw_codes(model, 7), None, None)
    assert torch.allclose(logits[:, :, 0, 0], logits[:1, :, 0, 0].expand(7, -1), atol=1e-12)
    (logits[0, :, 0, 0] @ torch.randn(6, dtype=torch.float64)).backward()
    assert model.rows.grad[0].abs().min() > 0
    assert model.columns.grad[0].abs().min() > 0


def test_new_model_is_near_the_uniform_distribution():
    model = make_pixelcnn(randomise=False, codebook_size=64, channels=32)
    nats_per_code = -model.log_likelihood(draw_codes(model, 8), None, None).mean().item() / 20
    assert nats_per_code == pytest.approx(math.log(64), abs=0.3)


def test_dropout_acts_in_training_only_and_changes_no_state():
    model = make_pixelcnn(dropout=0.5)
    codes = draw_codes(model, 2)
    assert torch.equal(model(codes, None, None), model(codes, None, None))
    model.train()
    assert not torch.equal(model(codes, None, None), model(codes, None, None))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model(codes, None, None).sum().backward()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


RESCALED = pytest.mark.parametrize(("rescale", "factor"), [(True, 1 / 0.75), (False, 1.0)])


@RESCALED
def test_code_dropout_drops_whole_codes_in_training_only(rescale, factor):
    model = make_pixelcnn(code_dropout=0.25, rescale=rescale)
    codes = draw_codes(model, 200)
    inputs_of_first: list[torch.Tensor] = []
    model.first.register_forward_pre_hook(lambda _, inputs: inputs_of_first.append(inputs[0]))
    model(codes, None, None)
    model.train()
    model(codes, None, None)
    in_sampling, in_training = inputs_of_first
    dropped = (in_training == 0).all(dim=1, keepdim=True)
    assert dropped.double().mean().item() == pytest.approx(0.25, abs=0.03)  # 4,000 draws: the deviation is 0.007
    torch.testing.assert_close(in_training, torch.where(dropped, 0.0, in_sampling * factor))


@RESCALED
def test_coarser_dropout_drops_whole_codes_in_training_only(rescale, factor):
    changes = {"coarser_height": 4, "coarser_width": 5, "conditioning_layers": 0}
    model = make_pixelcnn(coarser_dropout=0.25, rescale=rescale, **changes)
    without = make_pixelcnn(**changes)
    coarser = torch.randint(6, (200, 4, 5), generator=torch.Generator().manual_seed(0))
    whole = without.encode_condition(coarser) - without.upsample.bias[:, None, None]
    assert torch.equal(model.encode_condition(coarser), without.encode_condition(coarser))
    model.train()
    found = model.encode_condition(coarser) - model.upsample.bias[:, None, None]
    dropped = found.abs().amax(dim=1) < 1e-12
    assert dropped.double().mean().item() == pytest.approx(0.25, abs=0.03)  # 4,000 draws: the deviation is 0.007
    torch.testing.assert_close(found, torch.where(dropped[:, None], 0.0, whole * factor))


@RESCALED
def test_input_dropout_is_switched_off_by_the_attribute(rescale, factor):
    model = make_pixelcnn(code_dropout=0.5, dropout=0.0, rescale=rescale).train()
    codes = draw_codes(model, 8)
    assert not torch.equal(model(codes, None, None), model(codes, None, None))
    model.input_dropout = False
    assert torch.equal(model(codes, None, None), model.eval()(codes, None, None))


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
def test_eight_maps_are_learned_with_and_without_their_labels(slope):
    settings = {"height": 4, "width": 4, "codebook_size": 8, "num_classes": 8, "channels": 32, "dropout": 0.0}
    model = make_pixelcnn(randomise=False, slope=slope, **settings)
    codes = draw_codes(model, 8)
    labels = torch.arange(8)
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


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("codes", [CODES[0], CODES[:, :3], CODES.int(), CODES.float()])
def test_wrong_codes_are_refused(codes):
    with pytest.raises(ValueError, match=r"codes should be int64 of shape \(b, 4, 5\), found \w+ of shape"):
        make_pixelcnn()(codes, LABELS, None)


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize("labels", [LABELS[:1], LABELS[:, None], LABELS.float()])
def test_wrong_labels_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels should be int64 of shape \(2,\), found \w+ of shape"):
        make_pixelcnn()(CODES, labels, None)


@pytest.mark.usefixtures("unchecked_annotations")
def test_wrong_conditions_are_refused():
    coarser = torch.zeros(2, 2, 5, dtype=torch.int64)
    model = make_pixelcnn()
    conditioned = make_pixelcnn(coarser_height=2, coarser_width=5)
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
def test_grids_that_are_not_multiples_of_the_coarser_one_are_refused(coarser):
    with pytest.raises(ValueError, match="height x width should be a whole multiple of coarser_height x coarser_width"):
        make_pixelcnn(coarser_height=coarser[0], coarser_width=coarser[1])


def test_heads_that_do_not_divide_the_channels_are_refused():
    with pytest.raises(ValueError, match="heads should divide channels = 8, found 3"):
        make_pixelcnn(attention_every=1, attention_heads=3)


def test_prior_without_positions_and_attention_treats_all_places_alike():
    """Codes that are moved by a row and a column move the logits, wherever no edge of the grid is in sight."""
    model = make_pixelcnn(height=9, width=12, kernel_size=3, positions="none", attention_every=0)
    assert model.config.is_alike_everywhere
    assert not {"rows", "columns"} & model.state_dict().keys()
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(model.config.codebook_size, (1, 9, 12), generator=generator)
    moved = torch.randint(model.config.codebook_size, (1, 9, 12), generator=generator)
    moved[:, 1:, 1:] = codes[:, :-1, :-1]
    with torch.no_grad():
        logits, others = (model(each, torch.tensor([1]), None) for each in (codes, moved))
    reach = 3  # of three layers of kernels 3 wide
    inside = logits[:, :, reach:-1, reach : -reach - 1]
    torch.testing.assert_close(others[:, :, reach + 1 :, reach + 1 : -reach], inside)
    assert not torch.allclose(others[:, :, :1], logits[:, :, :1])


@pytest.mark.parametrize("changes", [{}, {"positions": "none", "attention_every": 1}])
def test_prior_with_positions_or_attention_is_not_alike_everywhere(changes):
    assert not make_pixelcnn(**changes).config.is_alike_everywhere
