"""Halves of real images, drawn anew: the rows and what stays."""

from pathlib import Path

import pytest
import torch

from benchmarks.editing import EDITS, hidden_half, measure
from vqgen import VQGenPipeline
from vqgen.evaluation.features import ClassifierSpace
from vqgen.evaluation.judge.real_images import open_real_images

SHIPPED = Path(__file__).parents[3] / "checkpoints" / "pretrained" / "digits"


def test_halves_are_what_their_names_say():
    upper, left = hidden_half("upper", 8), hidden_half("left", 8)
    assert upper[:4].all() and not upper[4:].any()
    assert left[:, :4].all() and not left[:, 4:].any()
    assert torch.equal(hidden_half("lower", 8), ~upper)
    assert torch.equal(hidden_half("right", 8), ~left)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", "given"])
def test_every_edit_has_a_row_and_is_compared_with_one_pass(mode, monkeypatch):
    monkeypatch.setattr("benchmarks.editing.EDITS", {name: EDITS[name] for name in ("one pass", "1 sweep")})
    pipe = VQGenPipeline.from_pretrained(SHIPPED, device="cpu")
    real = open_real_images(pipe, None, most=12, splits=["validation"])["validation"]
    space = ClassifierSpace(pipe.parts.classifier, pipe.parts.classifier_hash, pipe.compute)
    rows = list(measure(pipe, space, real, "left", mode, {"seed": 0, "rescored": 2}))
    assert [row["images"] for row in rows] == ["real", "decoded codes", "one pass", "1 sweep"]
    assert rows[0]["named_right"] > 0.8
    assert rows[2]["more_than_one_pass"] == 0
    difference = rows[3]["named_right"] - rows[2]["named_right"]
    assert rows[3]["more_than_one_pass"] == pytest.approx(difference)
