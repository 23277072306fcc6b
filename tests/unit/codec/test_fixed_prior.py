import pytest
import torch
from tiny_models import make_pixelcnn

from vqgen.codec.fixed_prior import FixedPrior, FixedSteps
from vqgen.models.pixelcnn import PixelCNN

ALIKE = {"positions": "none", "attention_every": 0}
MODELS = [
    {},
    {"kernel_size": 3, "output_layers": 2},
    {"slope": 3, "kernel_size": 7, "layers": 3},
    {"slope": "raster"},
    {"slope": 1, "output_layers": 0},
    {"height": 4, "width": 6, "coarser_height": 2, "coarser_width": 3},
    {"height": 4, "width": 8, "coarser_height": 4, "coarser_width": 2, "conditioning_layers": 0},
    {"height": 3, "width": 3, "coarser_height": 3, "coarser_width": 3, "conditioning_layers": 3},
    {"height": 3, "width": 3, "coarser_height": 3, "coarser_width": 3, "conditioning_grids": 3},
    {"height": 4, "width": 6, "coarser_height": 2, "coarser_width": 3, "conditioning_norm": True},
]


def other_size(model, rows, columns):
    """Builds the same model for a grid that is some times as high and as wide."""
    config = model.config
    sizes = {
        name: getattr(config, name) * (rows if name.endswith("height") else columns)
        for name in ("height", "width", "coarser_height", "coarser_width")
    }
    larger = PixelCNN(config.model_copy(update=sizes | {"slope": model.order.effective_slope})).double().eval()
    larger.load_state_dict(model.state_dict())
    return larger


def inputs(model, count=2, seed=0):
    config = model.config
    draws = torch.Generator().manual_seed(seed)
    codes = torch.randint(config.codebook_size, (count, config.height, config.width), generator=draws)
    coarser = None
    if config.is_conditioned:
        size = (count, config.coarser_height, config.coarser_width)
        coarser = torch.randint(config.codebook_size**config.conditioning_grids, size, generator=draws)
    return codes, torch.arange(count) - 1, coarser


@torch.no_grad()
def fixed_logits(prior, codes, labels, coarser):
    steps = FixedSteps(prior, *codes.shape[1:], labels, coarser)
    found = torch.full((*codes.shape, prior.model.config.codebook_size), torch.nan, dtype=torch.float64)
    for time in steps.times:
        places = steps.places(time)
        found[:, *places] = steps.logits(time).transpose(0, 1)
        steps.append(time, codes[:, *places].T.numpy())
    return found


@pytest.mark.parametrize("changes", MODELS, ids=str)
@pytest.mark.parametrize("times_larger", [(1, 1), (3, 2)])
@torch.no_grad()
def test_logits_are_near_those_of_the_model_on_a_grid_of_any_size(changes, times_larger):
    model = make_pixelcnn(**ALIKE, **changes)
    larger = other_size(model, *times_larger)
    codes, labels, coarser = inputs(larger)
    expected = larger(codes, labels, larger.encode_condition(coarser)).movedim(1, -1)
    found = fixed_logits(FixedPrior(model), codes, labels, coarser)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert expected.std() > 0.3  # far above the tolerance


@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_grid_may_be_narrower_than_the_slope(width):
    """Some times then have no position; the grid is high enough for rings to go round several times."""
    model = make_pixelcnn(**ALIKE, slope=4, kernel_size=9, width=6, layers=3)
    narrow = PixelCNN(model.config.model_copy(update={"width": width, "height": 15})).double().eval()
    state = model.state_dict()
    for name, module in narrow.named_modules():
        if hasattr(module, "offsets"):
            # A narrow grid has a smaller slope, which opens other taps. Those that both lack read beyond the edge.
            own = model.get_submodule(name).offsets
            kept = state[f"{name}.weight"]
            weight = module.weight.new_zeros(module.weight.shape)
            for place, offset in enumerate(module.offsets):
                if offset in own:
                    weight[..., place] = kept[..., own.index(offset)]
            state[f"{name}.weight"] = weight
    narrow.load_state_dict(state)
    codes, labels, _ = inputs(narrow)
    expected = narrow(codes, labels, None).movedim(1, -1)
    found = fixed_logits(FixedPrior(model), codes, labels, None)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_the_same_bits_alone_and_beside_others(threads):
    model = make_pixelcnn(**ALIKE, coarser_height=2, coarser_width=5, channels=32)
    prior = FixedPrior(model)
    codes, labels, coarser = inputs(model, count=5)
    together = fixed_logits(prior, codes, labels, coarser)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for image in range(5):
            alone = slice(image, image + 1)
            assert torch.equal(fixed_logits(prior, codes[alone], labels[alone], coarser[alone]), together[alone])
    finally:
        torch.set_num_threads(before)


def test_memory_grows_with_the_height_and_not_with_the_area():
    prior = FixedPrior(make_pixelcnn(**ALIKE))

    def numbers(height, width):
        steps = FixedSteps(prior, height, width, torch.zeros(1, dtype=torch.int64), None)
        return sum(ring.features.numel() for ring in (steps._codes, *steps._features))

    assert numbers(20, 1000) == numbers(20, 10)
    assert numbers(40, 10) < 2 * numbers(20, 10)


def test_all_positions_have_one_time_each():
    prior = FixedPrior(make_pixelcnn(**ALIKE))
    for height, width in [(1, 1), (7, 1), (1, 9), (5, 8), (8, 5)]:
        steps = FixedSteps(prior, height, width, torch.zeros(1, dtype=torch.int64), None)
        places = [(r, c, time) for time in steps.times for r, c in zip(*steps.places(time), strict=True)]
        assert {(r, c) for r, c, _ in places} == {(r, c) for r in range(height) for c in range(width)}
        assert len(places) == height * width
        assert all(time == c + 2 * r for r, c, time in places)


@pytest.mark.parametrize("positions", [1, 10, 24])
@torch.no_grad()
def test_coarser_features_are_the_same_whatever_rows_are_computed_together(monkeypatch, positions):
    model = make_pixelcnn(**ALIKE, height=14, width=5, coarser_height=7, coarser_width=5, conditioning_layers=3)
    coarser = FixedPrior(model).coarser
    codes = inputs(model)[2]
    expected = coarser.encode(codes)
    monkeypatch.setattr("vqgen.codec.fixed_prior._POSITIONS_AT_A_TIME", positions)
    assert torch.equal(coarser.encode(codes), expected)
