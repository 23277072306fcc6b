"""Edits of a pipeline: pictures and codes, masks, labels, likelihoods, and plain errors."""

import numpy as np
import pytest
import torch
from codec_models import noise_picture, tiny_codec

from vqgen.codes import Codes
from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.editing import SWEEPS_AGAINST_THE_ORDER, EditOutput
from vqgen.runtime.compute import Compute
from vqgen.sampling import SamplingParams


@pytest.fixture(scope="module")
def built():
    return []


@pytest.fixture
def pipe(make_parts, built):
    """A pipeline of 8 x 8 grey pixels: a top of 2 x 2 codes and a bottom of 4 x 4."""
    if not built:
        built.append(tiny_codec(make_parts).parts)
    return VQGenPipeline(built[0], Compute.resolve("cpu", "float64"))


@pytest.fixture
def pictures():
    return [noise_picture(8, 8, seed=seed) for seed in range(3)]


def half(height=8, width=8):
    mask = np.zeros((height, width), bool)
    mask[:, width // 2 :] = True
    return mask


def stays(found):
    return all(
        torch.equal(found.codes.grids[level][~grid], found.given.grids[level][~grid])
        for level, grid in found.redrawn.items()
    )


def are_equal(one, other):
    return all(torch.equal(one.grids[level], other.grids[level]) for level in one.levels)


def test_inpainting_draws_the_codes_under_the_mask_and_tells_what_it_did(pipe, pictures):
    found = pipe.inpaint(pictures, half(), labels="dog", seed=3)
    assert isinstance(found, EditOutput)
    assert {level: grid[0].sum().item() for level, grid in found.redrawn.items()} == {"top": 2, "bottom": 8}
    assert stays(found)
    assert are_equal(found.given, pipe.encode(pictures))
    assert torch.equal(found.pixels, pipe.decode_tensor(found.codes))
    assert found.labels == [1, 1, 1] and found.seed == 3 and found.sweeps == 0
    for codes, nats in ((found.given, found.log_likelihood_before), (found.codes, found.log_likelihood)):
        assert torch.allclose(nats, pipe.log_likelihood(codes, "dog"), rtol=0, atol=1e-8)


def test_codes_are_edited_as_their_pictures_are_whatever_the_batch_size(pipe, pictures):
    counted = []
    whole = pipe.inpaint(pictures, half(), labels=["cat", None, "10"], sweeps=1, rescored=3)
    by_codes = pipe.inpaint(
        pipe.encode(pictures), half(), labels=["cat", None, "10"], sweeps=1, rescored=3, batch_size=1,
        progress=counted.append,
    )  # fmt: skip
    assert are_equal(whole.codes, by_codes.codes)
    assert counted == [1, 1, 1]
    assert not are_equal(whole.codes, pipe.inpaint(pictures, half(), labels="cat", sweeps=1, rescored=3, seed=1).codes)


def test_samples_change_under_the_seed_that_made_them(pipe):
    made = pipe("cat", 3)
    assert not are_equal(pipe.inpaint(made.codes, half(), labels=made.labels).codes, made.codes)


def test_pictures_of_several_sizes_take_masks_of_their_own(pipe):
    pictures = [noise_picture(8, 8), noise_picture(32, 16)]
    found = pipe.inpaint(pictures, [half(), half(16, 32)])
    # The centre square of the wide picture.
    assert torch.equal(found.redrawn["bottom"][0], found.redrawn["bottom"][1])
    with pytest.raises(DataError, match="mask: should have the size of its picture, 32 x 16, picture 1, found 8 x 8"):
        pipe.inpaint(pictures, half())


def test_completion_keeps_codes_that_come_first_or_all_of_the_rows_with_sweeps(pipe, pictures):
    exact = pipe.complete(pictures, rows=0.5)
    assert exact.one_pass_is_exact.all() and stays(exact)
    assert not exact.redrawn["top"][:, 0].all()  # something of the upper row stays
    swept = pipe.complete(pictures, rows=0.5, sweeps=1, rescored=2)
    assert not swept.one_pass_is_exact.any() and stays(swept)
    assert not swept.redrawn["bottom"][:, :2].any() and swept.redrawn["bottom"][:, 2:].all()


def test_variation_keeps_one_level(pipe, pictures):
    finer = pipe.vary(pictures, keep="top")
    assert torch.equal(finer.codes.grids["top"], finer.given.grids["top"])
    assert finer.redrawn["bottom"].all() and finer.one_pass_is_exact.all() and finer.sweeps == 0
    coarser = pipe.vary(pictures, keep="bottom", rescored=2)
    assert torch.equal(coarser.codes.grids["bottom"], coarser.given.grids["bottom"])
    assert not coarser.one_pass_is_exact.any() and coarser.sweeps == SWEEPS_AGAINST_THE_ORDER
    assert pipe.vary(pictures, keep="bottom", sweeps=0).sweeps == 0


def test_likeliest_candidate_is_kept_and_parameters_guide_one_pass(pipe, pictures):
    one = pipe.inpaint(pictures, half())
    assert (pipe.inpaint(pictures, half(), candidates=3).log_likelihood >= one.log_likelihood).all()
    cold = SamplingParams(temperature=0)
    first = pipe.inpaint(pictures, half(), params=cold)
    assert are_equal(first.codes, pipe.inpaint(pictures, half(), params=cold, seed=9).codes)


def test_parts_of_edits_join_again(pipe, pictures):
    found = pipe.inpaint(pictures, half(), labels=["cat", "dog", None])
    parts = [found.subset(torch.tensor([0])), found.subset(torch.tensor([1, 2]))]
    joined = EditOutput.cat(parts)
    assert are_equal(joined.codes, found.codes) and joined.labels == found.labels
    assert torch.equal(joined.redrawn["bottom"], found.redrawn["bottom"])


def test_wrong_requests_are_plain_errors(pipe, pictures):
    nothing, everything = np.zeros((8, 8), bool), np.ones((8, 8), bool)
    cases = [
        (DataError, "found nothing that the model sees", lambda: pipe.inpaint(pictures, nothing)),
        (DataError, "found all of them marked", lambda: pipe.inpaint(pictures, everything)),
        (DataError, "found 'zebra'", lambda: pipe.inpaint(pictures, half(), labels="zebra")),
        (DataError, "one for all of 3 images", lambda: pipe.inpaint(pictures, half(), labels=["cat", "dog"])),
        (ConfigError, "sweeps: should be 0 with", lambda: pipe.vary(
            pictures, keep="bottom", params=SamplingParams(top_k=2))),
        (ConfigError, "keep: should be one of several levels, found 'middle'", lambda: pipe.vary(
            pictures, keep="middle")),
        (ConfigError, "rows: should be between 0 and 1, found 1", lambda: pipe.complete(pictures, rows=1)),
        (ConfigError, "rows: should keep at least one code that", lambda: pipe.complete(pictures, rows=0.1)),
        (ConfigError, "rows: should keep at least one code, found", lambda: pipe.complete(
            pictures, rows=0.1, sweeps=1)),
        (DataError, "codes: ", lambda: pipe.vary(Codes({"top": torch.zeros(1, 2, 2).long()}), keep="top")),
        (DataError, "as its prior", lambda: pipe.complete(pipe.encode_tensor(
            torch.zeros(1, 1, 16, 16, dtype=torch.uint8)))),
    ]  # fmt: skip
    for kind, message, act in cases:
        with pytest.raises(kind, match=message):
            act()


def test_pipeline_without_priors_edits_nothing(pipe, pictures, make_parts):
    parts = make_parts()
    bare = VQGenPipeline(type(parts)(**(vars(parts) | {"priors": {}})), Compute.resolve("cpu"))
    for act in (
        lambda: bare.inpaint(pictures, half()),
        lambda: bare.complete(pictures),
        lambda: bare.vary(pictures, keep="top"),
    ):
        with pytest.raises(CheckpointError, match="has no prior for top, bottom"):
            act()


def test_model_that_never_saw_an_image_without_its_label_needs_labels(pipe, pictures, monkeypatch):
    monkeypatch.setattr(type(pipe), "takes_none", False)
    with pytest.raises(DataError, match="never saw an image without its label"):
        pipe.vary(pictures, keep="top")
    pipe.vary(pictures, keep="top", labels="cat")
