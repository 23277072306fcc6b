import pytest
from codec_models import noise_picture
from PIL import Image

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.compress_tab import build, coding_labels  # noqa: E402
from vqgen.app.controls import NO_LABEL  # noqa: E402
from vqgen.app.file_work import compress_file, save_file  # noqa: E402


def act_of(context):
    """Builds the tab, and returns the function of its button."""
    with gr.Blocks() as page:
        build(context)
    return next(each.fn for each in page.fns.values() if each.name == "show")


def picture(tmp_path, name="a.png"):
    noise_picture(12, 9).save(tmp_path / name)
    return str(tmp_path / name)


def test_picture_gives_steps_then_the_tables_and_the_file(context, tmp_path):
    *steps, (state, pair, tables, saved) = act_of(context)("tiny", picture(tmp_path), NO_LABEL)
    assert all("Reads the file" in step[0] or "Working" in step[0] for step in steps)
    assert "12 x 9 pixels in" in state
    assert [each.size for each in pair] == [(384, 288)] * 2
    assert all(word in tables for word in ("packed", "prior", "JPEG", "WebP"))
    assert saved.interactive


def test_file_gives_its_picture_and_its_header(context, tmp_path):
    path = picture(tmp_path)
    *_, result = compress_file(context, "tiny", path, None)
    *_, (state, pair, table, _) = act_of(context)("tiny", str(save_file(context, path, result)), NO_LABEL)
    assert "Opened with the model tiny" in state
    assert "12 x 9, grey" in table
    assert isinstance(pair[0], Image.Image)


def test_labels_of_a_model_are_offered_as_text(context):
    assert [value for _, value in coding_labels(context, "tiny")] == [
        NO_LABEL,
        "auto",
        "cat",
        "<img src=x onerror=alert(1)>",
        "10",
    ]


def test_no_label_of_the_model_is_interpreted(context, tmp_path):
    *_, (state, _, tables, _) = act_of(context)("tiny", picture(tmp_path), "<img src=x onerror=alert(1)>")
    assert "<img src=x" not in state + tables
