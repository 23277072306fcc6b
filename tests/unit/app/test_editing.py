from dataclasses import replace

import numpy as np
import pytest
import torch

from vqgen.app.editing import (
    HOLES,
    Edited,
    EditSettings,
    canvas_of,
    completed,
    edited_steps,
    inpainted,
    interpolated,
    mask_of,
    source_of_label,
    source_of_picture,
    varied,
)
from vqgen.codes import Codes
from vqgen.data import to_pil
from vqgen.errors import ConfigError, DataError
from vqgen.reports.edits import redrawn_share

THREE = EditSettings("cat", edits=3, seed=5, sweeps=0)


@pytest.fixture
def source(pipe):
    return source_of_label(pipe, "cat", 1)


def last_of(context, source, edit, settings=THREE):
    *_, last = edited_steps(context, "tiny", source, edit, settings)
    assert isinstance(last, Edited)
    return last


def test_source_is_the_picture_that_the_pipeline_draws(pipe, source):
    alone = pipe(labels=["cat"], seed=1)
    assert torch.equal(source.pixels, alone.pixels)
    again = source_of_picture(pipe, alone.images[0])
    assert torch.equal(again.pixels, alone.pixels)
    assert torch.equal(again.codes.top, pipe.encode(alone.images).top)


def test_edits_are_those_of_the_pipeline(context, pipe, source):
    mask = mask_of("left half", None, 8)
    found = last_of(context, source, inpainted(mask, 1)).output
    shared = {"labels": "cat", "seed": 5}
    alone = pipe.inpaint(Codes.cat([source.codes] * 3), mask, sweeps=1, **shared)
    assert torch.equal(found.codes.bottom, alone.codes.bottom)
    assert not found.redrawn["bottom"][:, :, 2:].any()
    assert torch.equal(found.codes.bottom[:, :, 2:], source.codes.bottom[:, :, 2:].repeat(3, 1, 1))


def test_completion_and_variation_are_those_of_the_pipeline(context, pipe, source):
    codes = Codes.cat([source.codes] * 3)
    whole = last_of(context, source, completed(0.5, 0)).output
    assert torch.equal(whole.codes.bottom, pipe.complete(codes, rows=0.5, labels="cat", seed=5).codes.bottom)
    other = last_of(context, source, varied("top", 0)).output
    assert torch.equal(other.codes.bottom, pipe.vary(codes, keep="top", labels="cat", seed=5).codes.bottom)


def test_user_who_leaves_stops_the_edits(context, source):
    steps = edited_steps(context, "tiny", source, completed(0.5, 0), replace(THREE, edits=12))
    assert next(steps).edits == 4
    steps.close()
    with context.use("tiny"):
        pass


@pytest.mark.parametrize("hole", HOLES[1:])
def test_holes_leave_a_part_of_the_picture(hole):
    mask = mask_of(hole, None, 8)
    assert mask.shape == (8, 8)
    assert 0 < mask.sum() < 64


def test_painting_is_reduced_to_the_pixels_of_the_model():
    painted = np.zeros((80, 80), dtype=bool)
    painted[10:30, 40:52] = True
    wanted = np.zeros((8, 8), dtype=bool)
    wanted[1:3, 4] = True  # the next column is covered by a fifth
    assert np.array_equal(mask_of("painted", painted, 8), wanted)


def test_small_spot_is_not_lost():
    painted = np.zeros((80, 80), dtype=bool)
    painted[33, 47] = True
    assert mask_of("painted", painted, 8).sum() == 1


@pytest.mark.parametrize("painted", [None, np.zeros((8, 8), dtype=bool)])
def test_missing_painting_is_refused(painted):
    with pytest.raises(DataError, match="mask: should cover a part of the picture, found none"):
        mask_of("painted", painted, 8)


def test_unknown_hole_is_refused():
    with pytest.raises(ConfigError, match="found 'keyhole'"):
        mask_of("keyhole", None, 8)


def test_canvas_repeats_pixels(source):
    canvas = canvas_of(source.pixels)
    assert canvas.size == (384, 384)
    small = canvas.resize((8, 8), 0).convert("L")
    assert np.array_equal(np.asarray(small), np.asarray(to_pil(source.pixels)[0]))


def test_redrawn_cells_are_white_in_all_levels(context, source):
    output = last_of(context, source, inpainted(mask_of("left half", None, 8), 0)).output
    shares = redrawn_share(output.redrawn, 8)[0, 0]
    assert shares[:, :4].unique().tolist() == [1]
    assert shares[:, 4:].unique().tolist() == [0]


def test_steps_lead_from_one_picture_to_the_other(pipe, source):
    other = source_of_label(pipe, "10", 2)
    found = interpolated(pipe, source, other, 5)
    assert torch.equal(found[0], pipe.decode_tensor(source_of_picture(pipe, to_pil(source.pixels)[0]).codes)[0])
    assert len(found) == 5
    with pytest.raises(ConfigError, match="steps: should be from 2 to 24, found 1"):
        interpolated(pipe, source, other, 1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (replace(THREE, edits=13), "edits: should be from 1 to 12, found 13"),
        (replace(THREE, edits=0), "edits: should be from 1"),
        (replace(THREE, sweeps=99), "at most 240 passes, found 300"),
    ],
)
def test_edits_of_a_request_are_limited(context, source, settings, text):
    with pytest.raises(ConfigError, match=text):
        next(edited_steps(context, "tiny", source, completed(0.5, 0), settings))
