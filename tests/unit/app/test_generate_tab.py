import pytest

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.generate_tab import _act, _settings, _temperature_label, build  # noqa: E402
from vqgen.app.generating import Settings  # noqa: E402

DEFAULTS = (0, 1, 1, 1, 1, 1, 1, 1, 1)
"""Values of the controls of sampling: top-k, top-p, guidance, autoguidance, keep, and four temperatures."""


def test_untouched_controls_sample_the_model_as_it_is():
    assert _settings(("cat",), 4, 0, DEFAULTS, levels=2) == Settings(("cat",), temperature=(1.0, 1.0))


def test_controls_arrive_in_the_request():
    many = _settings((), 2.0, None, (5, 0.5, 2, 3, 0.25, 0.1, 0.2, 0.3, 0.4), levels=6)
    assert many.temperature == (0.1, 0.2, 0.3, 0.4, 0.4, 0.4)
    grids = ("top", "top-2", "top-3", "bottom", "bottom-2")
    assert _temperature_label(grids, 3) == "Temperature, bottom and all after it"
    assert _temperature_label(("top", "bottom"), 1) == "Temperature, bottom"
    found = _settings((), 2.0, None, (5, 0.5, 2, 3, 0.25, 0.1, 0.2, 1, 1), levels=2)
    assert found == Settings((), 2, None, (0.1, 0.2), 5, 0.5, 2.0, 3.0, 0.25)


def press(context, labels):
    return list(_act(context)("tiny", labels, [], 2, 7, *DEFAULTS, progress=lambda *values, **named: None))


def test_pictures_come_level_by_level_and_then_with_their_likelihoods(context, unchecked_annotations):
    *steps, last = press(context, ["cat"])
    assert len(steps) == 2  # one batch of two levels
    assert all("log p" not in pictures and pictures.count("<img") == 2 for pictures, *_ in steps)
    pictures, python, command, *files = last
    assert pictures.count("log p") == 4  # in the caption and in the text for those who cannot see
    assert "seed=7" in python and "--seed 7" in command
    assert [button.value["orig_name"] if isinstance(button.value, dict) else button.value for button in files]


def test_label_that_is_html_is_shown_as_text(context, unchecked_annotations):
    *_, last = press(context, ["<img src=x onerror=alert(1)>"])
    assert "<img src=x" not in last[0]
    assert "&lt;img src=x onerror=alert(1)&gt;" in last[0]


def test_tab_is_built_for_a_model_without_labels(make_parts, context, pipe):
    pipe.parts.priors = {}
    with gr.Blocks():
        build(context)
