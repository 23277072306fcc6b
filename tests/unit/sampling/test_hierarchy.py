import pytest
import torch

from vqgen.codes import Codes
from vqgen.sampling import ImageNoise, LevelParams, PlainSampler, sample_codes

LABELS = torch.tensor([0, 1, 2, 3, -1, 0, 1])


@pytest.fixture
def priors(make_prior):
    return (
        make_prior(level="top", height=2, width=3),
        make_prior(level="bottom", height=4, width=6, coarser_height=2, coarser_width=3),
    )


def sample(priors, labels=LABELS, *, image_indices=None, params=None, batch_size=100, **options):
    return sample_codes(
        priors,
        labels,
        seed=9,
        image_indices=range(len(labels)) if image_indices is None else image_indices,
        params=params or [LevelParams()] * len(priors),
        sampler=PlainSampler(),
        batch_size=batch_size,
        **options,
    )


def test_each_level_is_sampled_given_the_next_coarser_one(priors):
    codes, log_likelihood = sample(priors)
    top, bottom = priors
    noise = ImageNoise(9, range(7))
    first = PlainSampler().sample(top, LABELS, None, noise, LevelParams())
    with torch.no_grad():
        condition = bottom.encode_condition(first.codes)
    second = PlainSampler().sample(bottom, LABELS, condition, noise, LevelParams())
    assert isinstance(codes, Codes)
    assert codes.levels == ("top", "bottom")
    assert torch.equal(codes.top, first.codes)
    assert torch.equal(codes.bottom, second.codes)
    assert torch.allclose(log_likelihood, first.log_likelihood + second.log_likelihood, rtol=0, atol=1e-12)


def test_likelihood_is_that_of_the_models(priors):
    codes, log_likelihood = sample(priors, params=[LevelParams(temperature=0.5), LevelParams(top_k=2)])
    top, bottom = (prior.eval() for prior in priors)
    with torch.no_grad():
        expected = top.log_likelihood(codes.top, LABELS, None)
        expected += bottom.log_likelihood(codes.bottom, LABELS, bottom.encode_condition(codes.top))
    assert torch.allclose(log_likelihood, expected, rtol=0, atol=1e-10)


def test_any_batch_split_gives_the_same_codes_in_float64(priors):
    together, log_likelihood = sample(priors)
    for batch_size in (1, 2, 3, 6):
        codes, parts = sample(priors, batch_size=batch_size)
        assert torch.equal(codes.top, together.top)
        assert torch.equal(codes.bottom, together.bottom)
        assert torch.allclose(parts, log_likelihood, rtol=0, atol=1e-10)


def test_any_process_split_gives_the_same_codes_in_float64(priors):
    together, _ = sample(priors)
    for rank in range(2):
        codes, _ = sample(priors, LABELS[rank::2], image_indices=range(rank, 7, 2))
        assert torch.equal(codes.top, together[rank::2].top)
        assert torch.equal(codes.bottom, together[rank::2].bottom)


def test_params_of_one_level_leave_the_other_level_its_draws(make_prior):
    top = make_prior(level="top", height=2, width=3)
    bottom = make_prior(level="bottom", height=4, width=6, coarser_height=2, coarser_width=3)
    torch.nn.init.zeros_(bottom.upsample.weight)  # the coarser codes then have no influence
    torch.nn.init.zeros_(bottom.upsample.bias)
    one, _ = sample((top, bottom))
    other, _ = sample((top, bottom), params=[LevelParams(temperature=0.0), LevelParams()])
    assert not torch.equal(one.top, other.top)
    assert torch.equal(one.bottom, other.bottom)


def test_hierarchies_of_one_and_three_levels_are_sampled(make_prior):
    only, _ = sample([make_prior()])
    assert only.levels == ("bottom",)
    three, _ = sample(
        [
            make_prior(level="top", height=1, width=2),
            make_prior(level="middle", height=2, width=2, coarser_height=1, coarser_width=2),
            make_prior(level="bottom", height=4, width=4, coarser_height=2, coarser_width=2),
        ]
    )
    assert [tuple(grid.shape) for grid in three.grids.values()] == [(7, 1, 2), (7, 2, 2), (7, 4, 4)]


def test_level_is_sampled_given_all_grids_that_condition_it(make_prior):
    same = {"height": 2, "width": 3, "coarser_height": 2, "coarser_width": 3}
    priors = [
        make_prior(level="top", height=2, width=3),
        make_prior(level="top-2", **same),
        make_prior(level="top-3", **same, conditioning_grids=2),
    ]
    codes, log_likelihood = sample(priors)
    size = priors[0].config.codebook_size
    above = [None, codes.grids["top"], codes.grids["top"] + size * codes.grids["top-2"]]
    with torch.no_grad():
        expected = sum(
            prior.eval().log_likelihood(grid, LABELS, prior.encode_condition(coarser))
            for prior, grid, coarser in zip(priors, codes.grids.values(), above, strict=True)
        )
    assert torch.allclose(log_likelihood, expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match=r"priors should have 2 grids of 2 x 3 before 'top-3', found \[\(2, 3\)\]"):
        sample([priors[0], priors[2]])


def test_progress_is_reported_and_modes_are_restored(priors):
    finished = []
    priors[0].train()
    priors[1].eval()
    sample(priors, batch_size=3, progress=finished.append)
    assert finished == [3, 3, 1]
    assert priors[0].training
    assert not priors[1].training


@pytest.mark.usefixtures("unchecked_annotations")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params": [LevelParams()]}, "params should be one per level, 2, found 1"),
        ({"image_indices": [0, 1]}, "image_indices should be one per label, 7, found 2"),
        ({"batch_size": 0}, "batch_size should be at least 1, found 0"),
        ({"labels": LABELS.float()}, "labels should be int64 of shape"),
        ({"labels": LABELS[None]}, "labels should be int64 of shape"),
        ({"labels": LABELS[:0]}, "labels should be int64 of shape"),
        ({"labels": torch.tensor([0, 4])}, "labels should be from -1 to 3, the null label, found 0 to 4"),
        ({"labels": torch.tensor([-2, 1])}, "labels should be from -1 to 3, the null label, found -2 to 1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(priors, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(priors, **arguments)


def test_priors_that_do_not_fit_are_refused(priors, make_prior):
    with pytest.raises(ValueError, match="priors should be at least one, found none"):
        sample([])
    with pytest.raises(ValueError, match="coarse to fine, 'bottom' next to coarser codes of 0 x 0, found 2 x 3"):
        sample(priors[::-1])
    with pytest.raises(ValueError, match="coarse to fine, 'bottom' next to coarser codes of 2 x 3, found 2 x 2"):
        sample([priors[0], make_prior(height=4, width=6, coarser_height=2, coarser_width=2)])
    with pytest.raises(ValueError, match=r"priors should share num_classes, found \[3, 2\]"):
        sample([priors[0], make_prior(height=4, width=6, coarser_height=2, coarser_width=3, num_classes=2)])
