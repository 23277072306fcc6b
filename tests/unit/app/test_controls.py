import pytest

pytest.importorskip("gradio", reason="vqgen[app] is not installed")

import gradio as gr

from vqgen.app.controls import (
    FEW_LABELS,
    LabelChooser,
    chosen_labels,
    label_choices,
    model_choice,
    new_seed,
)
from vqgen.data import LabelMap


def test_model_is_a_choice_only_if_there_are_several(context):
    with gr.Blocks():
        assert not model_choice(context).visible
        context.models["other"] = context.models["tiny"]
        assert model_choice(context).visible


def test_labels_are_shown_without_signs_that_are_not_printed(context, pipe):
    pipe.parts.label_map = LabelMap(("a\x1b[31m", "b"))
    assert label_choices(context, "tiny") == [("a\\x1b[31m", "a\x1b[31m"), ("b", "b")]


def test_boxes_have_a_picture_of_each_label(context):
    chooser = LabelChooser(context)
    with gr.Blocks():
        controls = chooser.add()
        boxes, search, style = chooser.update("tiny")
    assert controls.boxes.visible and not controls.search.visible
    assert boxes.value == ["cat", "<img src=x onerror=alert(1)>"]
    assert not search.visible
    assert style.count("--picture: url(data:image/png;base64,") == 3
    assert "onerror" not in style


def test_many_labels_are_searched_by_name(context, pipe):
    pipe.parts.label_map = LabelMap(tuple(f"label {number}" for number in range(FEW_LABELS + 1)))
    with gr.Blocks():
        boxes, search, style = LabelChooser(context).update("tiny")
    assert not boxes.visible
    assert search.value == ["label 0", "label 1"]
    assert style == ""


def test_chosen_labels_come_from_boxes_or_list():
    assert chosen_labels(["a"], None) == ("a",)
    assert chosen_labels([], ["b"]) == ("b",)
    assert chosen_labels(None, None) == ()


def test_new_seeds_differ():
    assert len({new_seed() for _ in range(20)}) > 1  # equal with a chance of 1e-114
