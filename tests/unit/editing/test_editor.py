"""Edits: what is marked is drawn, nothing else changes, and an image does not depend on its batch."""

import pytest
import torch
from listed_codes import listed_priors

from vqgen.codes import Codes
from vqgen.editing import EditRequest, edit_codes, joint_log_likelihood
from vqgen.errors import ConfigError
from vqgen.runtime.randomness import derive_seed
from vqgen.sampling import CachedSampler, LevelParams, SamplingParams, sample_codes

LABELS = torch.tensor([0, 1, 2, -1, 3, 1, 0])
GUIDED = LevelParams(temperature=0.5, guidance_scale=3.0)
SETTINGS = [{}, {"sweeps": 1, "rescored": 2, "candidates": 2}, {"sweeps": 1, "rescored": 3}]


@pytest.fixture(scope="module")
def priors():
    return listed_priors()


def draw(priors, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {prior.config.level: (len(LABELS), prior.config.height, prior.config.width) for prior in priors}
    return {level: torch.randint(3, shape, generator=generator) for level, shape in shapes.items()}


def codes_and_masks(priors):
    """Codes of seven images, each with a mask of its own."""
    return Codes(draw(priors, 0)), {level: grid == 0 for level, grid in draw(priors, 1).items()}


def edit(priors, codes, redrawn, labels=LABELS, params=LevelParams(), image_indices=None, **settings):  # noqa: B008
    request = EditRequest(**({"seed": 4} | settings))
    each = [params] * len(priors)
    return edit_codes(
        priors, codes, redrawn, labels, request, params=each, sampler=CachedSampler(), image_indices=image_indices
    )


def are_equal(one, other):
    return all(torch.equal(one.grids[level], other.grids[level]) for level in one.levels)


@pytest.mark.parametrize("settings", SETTINGS)
def test_codes_outside_of_the_mask_stay_and_likelihoods_are_those_of_the_model(priors, settings):
    codes, redrawn = codes_and_masks(priors)
    found = edit(priors, codes, redrawn, **settings)
    for level, marked in redrawn.items():
        assert torch.equal(found.codes.grids[level][~marked], codes.grids[level][~marked])
        assert not torch.equal(found.codes.grids[level], codes.grids[level])
    with torch.no_grad():
        before = joint_log_likelihood(priors, codes, LABELS)
        after = joint_log_likelihood(priors, found.codes, LABELS)
    assert torch.allclose(found.log_likelihood_before, before, rtol=0, atol=1e-10)
    assert torch.allclose(found.log_likelihood, after, rtol=0, atol=1e-10)


@pytest.mark.parametrize("settings", SETTINGS)
def test_edit_depends_on_the_seed_and_the_place_of_the_image_but_not_on_its_batch(priors, settings):
    codes, redrawn = codes_and_masks(priors)
    counted = []
    whole = edit(priors, codes, redrawn, **settings).codes
    for batch_size in (1, 4):
        assert are_equal(edit(priors, codes, redrawn, batch_size=batch_size, **settings).codes, whole)
    last = slice(4, 7)
    part = edit(
        priors, codes[last], {level: grid[last] for level, grid in redrawn.items()}, LABELS[last],
        image_indices=[4, 5, 6], **settings,
    )  # fmt: skip
    assert are_equal(part.codes, whole[last])
    assert not are_equal(edit(priors, codes, redrawn, seed=5, **settings).codes, whole)
    request = EditRequest(batch_size=3)
    edit_codes(
        priors, codes, redrawn, LABELS, request, params=[LevelParams()] * 2, sampler=CachedSampler(),
        progress=counted.append,
    )  # fmt: skip
    assert counted == [3, 3, 1]


@pytest.mark.parametrize("params", [LevelParams(), GUIDED])
def test_edit_of_everything_is_a_generated_image_of_another_seed(priors, params):
    codes, redrawn = codes_and_masks(priors)
    every = {level: torch.ones_like(grid) for level, grid in redrawn.items()}
    options = {"image_indices": range(7), "params": [params] * 2, "sampler": CachedSampler(), "batch_size": 7}
    generated, _ = sample_codes(priors, LABELS, seed=derive_seed(4, "edit", 0), **options)
    assert are_equal(edit(priors, codes, every, params=params).codes, generated)
    # Another seed than its own: with its own draws every sample would come out as it went in.
    sample, _ = sample_codes(priors, LABELS, seed=4, **options)
    assert not are_equal(edit(priors, sample, redrawn, params=params).codes, sample)


@pytest.mark.parametrize("sweeps", [0, 1])
def test_likeliest_candidate_is_kept(priors, sweeps):
    codes, redrawn = codes_and_masks(priors)
    nats = []
    for count in (1, 2, 3, 4):
        found = edit(priors, codes, redrawn, candidates=count, sweeps=sweeps)
        nats.append(found.log_likelihood)
    rising = torch.stack(nats)
    assert (rising[1:] >= rising[:-1]).all()
    assert (rising[-1] > rising[0]).any()
    if not sweeps:
        with torch.no_grad():
            kept = {level: grid.clone() for level, grid in found.codes.grids.items()}
            assert torch.equal(joint_log_likelihood(priors, Codes(kept), LABELS), rising[-1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sweeps": -1}, "sweeps: should be at least 0"),
        ({"rescored": 1}, "rescored: should be at least 2"),
        ({"candidates": 0}, "candidates: should be at least 1"),
        ({"batch_size": 0}, "batch_size: should be at least 1"),
        ({"seed": -1}, "seed: should be at least 0"),
        ({"params": 1.0}, "params: should be a SamplingParams"),
    ],
)
@pytest.mark.usefixtures("unchecked_annotations")
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        EditRequest(**settings)


def test_sweeps_and_parameters_of_sampling_exclude_each_other(priors):
    codes, redrawn = codes_and_masks(priors)
    with pytest.raises(ConfigError, match="sweeps: should be 0 with temperature, top-k, top-p or guidance, found 2"):
        edit(priors, codes, redrawn, params=GUIDED, sweeps=2)
    EditRequest(sweeps=2, params=SamplingParams()).check_params([LevelParams()])
