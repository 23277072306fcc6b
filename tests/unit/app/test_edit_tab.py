import numpy as np
import pytest
from PIL import Image

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.edit_tab import _act, _painted, _taken, build  # noqa: E402
from vqgen.app.editing import source_of_label  # noqa: E402
from vqgen.errors import DataError  # noqa: E402


@pytest.fixture
def sources(pipe):
    return [source_of_label(pipe, "cat", 1), source_of_label(pipe, "10", 2)]


def press(context, **changes):
    values = {
        "model": "tiny", "kind": "Paint a hole", "sources": [], "canvas": None, "label": "cat", "seed": 3,
        "hole": "painted", "rows": 0.5, "keep": "top", "steps": 4, "edits": 2, "sweeps": 0, "candidates": 1,
    }  # fmt: skip
    return list(_act(context)(*(values | changes).values(), progress=lambda *values, **named: None))


def canvas(box):
    layer = np.zeros((80, 80, 4), dtype=np.uint8)
    layer[box] = 255
    return {"background": None, "layers": [Image.fromarray(layer)], "composite": None}


@pytest.mark.parametrize(
    ("changes", "pictures"),
    [
        ({"canvas": canvas(np.s_[:, :30])}, 5),
        ({"hole": "middle"}, 5),
        ({"kind": "Complete"}, 5),
        ({"kind": "Vary"}, 5),
        ({"kind": "Between two"}, 6),
    ],
)
def test_each_kind_of_edit_shows_pictures(context, sources, changes, pictures, unchecked_annotations):
    html, button = press(context, sources=sources, **changes)[-1]
    assert html.count("<img") == pictures
    assert button.interactive


def test_missing_picture_and_missing_painting_are_told(context, sources, unchecked_annotations):
    with pytest.raises(DataError, match="open a picture, or take a sample"):
        press(context)
    with pytest.raises(DataError, match="mask: should cover a part of the picture, found none"):
        press(context, sources=sources, canvas=canvas(np.s_[:0]))
    with pytest.raises(DataError, match="pictures: should be two, found one"):
        press(context, sources=sources[:1], kind="Between two")


def test_painting_is_where_a_layer_is_not_clear():
    assert _painted(None) is None
    assert _painted({"layers": []}) is None
    assert _painted(canvas(np.s_[2:4, 5:6])).sum() == 2


def test_last_two_pictures_are_kept(sources):
    kept, value = _taken(sources[0], sources)
    assert kept == [sources[1], sources[0]]
    assert value["background"].size == (384, 384)


def test_tab_is_built(context):
    with gr.Blocks():
        build(context)
