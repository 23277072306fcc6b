"""The grid of edits, and the list beside it."""

import json

import pytest
import torch
from PIL import Image

from vqgen.codes import Codes
from vqgen.data import LabelMap
from vqgen.pipeline.editing import EditOutput
from vqgen.reports.edits import save_edit_grid, tinted, write_edits

MARGIN = 6
SIDE = 96


@pytest.fixture
def edits():
    """Two edits of each of two images of 8 x 8 pixels: all white; the last bottom code is drawn anew."""
    marked = torch.zeros(4, 4, 4, dtype=torch.bool)
    marked[:, 3, 3] = True
    codes = Codes({"top": torch.zeros(4, 2, 2).long(), "bottom": torch.zeros(4, 4, 4).long()})
    return EditOutput(
        pixels=torch.full((4, 1, 8, 8), 255, dtype=torch.uint8),
        labels=[0, 0, None, None],
        seed=7,
        codes=codes,
        given=codes,
        log_likelihood=torch.tensor([-1.0, -2, -3, -4], dtype=torch.float64),
        log_likelihood_before=torch.tensor([-5.0, -5, -6, -6], dtype=torch.float64),
        redrawn={"top": torch.zeros(4, 2, 2, dtype=torch.bool), "bottom": marked},
        one_pass_is_exact=torch.tensor([True, True, False, False]),
        sweeps=2,
    )


def test_cells_of_redrawn_codes_are_coloured_by_the_number_of_levels():
    pixels = torch.full((1, 1, 8, 8), 100, dtype=torch.uint8)
    top = torch.tensor([[[True, False], [False, False]]])
    bottom = torch.zeros(1, 4, 4, dtype=torch.bool)
    bottom[0, 0, 0] = True
    found = tinted(pixels, {"top": top, "bottom": bottom})
    assert found.shape == (1, 3, 8, 8)
    assert found[0, :, 7, 7].tolist() == [100, 100, 100]
    both, one = found[0, :, 0, 0], found[0, :, 3, 3]
    assert both.tolist() == [193, 76, 40]  # 0.4 x 100 + 0.6 x (255, 60, 0)
    assert one.tolist() == [146, 88, 70]  # half of that colour


@pytest.mark.parametrize("with_originals", [True, False])
def test_grid_has_a_row_for_each_image_with_all_its_edits(edits, tmp_path, with_originals):
    decoded = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    originals = torch.full((2, 1, 8, 8), 50, dtype=torch.uint8) if with_originals else None
    told = save_edit_grid(edits, decoded, originals, tmp_path / "grid.png")
    first = "the original, " if with_originals else ""
    assert told == f"grid.png: {first}its decoded codes, what is drawn anew, the edits"
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size[0] == (4 + with_originals) * (SIDE + MARGIN) + MARGIN
        assert grid.size[1] == 2 * (SIDE + MARGIN) + MARGIN
        left = MARGIN + (1 + with_originals) * (SIDE + MARGIN)
        assert grid.getpixel((left + SIDE - 1, MARGIN + SIDE - 1)) == (76, 18, 0)
        assert grid.getpixel((left + SIDE + MARGIN, MARGIN)) == (255, 255, 255)
        assert grid.getpixel((MARGIN, MARGIN)) == ((50,) * 3 if with_originals else (0,) * 3)


def test_list_has_the_likelihoods_and_the_redrawn_codes_of_each_edit(edits, tmp_path):
    path = tmp_path / "edits.json"
    write_edits(edits, ["a.0", None, "b.0", "b.1"], ["a", "a", "b", "b"], LabelMap(("cat",)), {"sweeps": 2}, path)
    document = json.loads(path.read_text())
    assert document["seed"] == 7 and document["settings"] == {"sweeps": 2}
    assert document["codes"] == {"top": 4, "bottom": 16}
    assert document["images"][1] == {
        "file": None, "source": "a", "label": "cat", "log_likelihood_before": -5.0, "log_likelihood": -2.0,
        "redrawn": {"top": 0, "bottom": 1}, "one_pass_is_exact": True,
    }  # fmt: skip
    assert document["images"][2]["label"] is None
