import pytest
from codec_models import noise_picture

gr = pytest.importorskip("gradio", reason="vqgen[app] is not installed")

from vqgen.app.code_views import cell_side  # noqa: E402
from vqgen.app.codes_tab import CodeViews, build  # noqa: E402
from vqgen.app.controls import NO_LABEL  # noqa: E402

HTML_LABEL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def views(context):
    return CodeViews(context)


def click(x, y):
    return gr.SelectData(None, {"index": [x, y], "value": None})


def test_tab_is_built(context):
    with gr.Blocks() as page:
        build(context)
    assert page.fns


def test_panels_show_the_picture_the_map_and_the_code(views, pipe):
    found = views.draw("tiny", "cat", 3)
    about, decoded, grid, alone, use, likely = views.panels("tiny", found, "bottom", 5, 1, 2)
    assert "seed 3" in about
    assert decoded.count("<figure>") == 3
    assert grid.size == (4 * cell_side(4, 4),) * 2
    assert alone.size == (384, 384)
    assert "Code 5 has" in use
    assert "row 1, column 2" in likely


def test_uploaded_picture_is_shown_with_the_name_as_text(views, tmp_path):
    path = tmp_path / "<u>a<u>.png"
    noise_picture(12, 9).save(path)
    found = views.encode("tiny", str(path), HTML_LABEL)
    shown = "".join(part for part in views.panels("tiny", found, "top", 0, 0, 0) if isinstance(part, str))
    assert "&lt;u&gt;a&lt;u&gt;.png" in shown
    assert "<u>" not in shown
    assert "<img src=x" not in shown


def test_click_on_the_map_chooses_the_position_and_its_code(views):
    found = views.draw("tiny", NO_LABEL, 0)
    side = cell_side(4, 4)
    row, column, code = views.clicked(found, "bottom", click(2.5 * side, 1.5 * side))
    assert (row, column) == (1, 2)
    assert code == int(found.codes.bottom[0, 1, 2])


def test_click_on_the_atlas_chooses_the_entry_and_one_beside_it_nothing(views):
    step = views._atlas("tiny", "top").step
    assert views.clicked_entry("tiny", "top", click(step + 1, 1)) == 1
    assert views.clicked_entry("tiny", "top", click(100 * step, 1)) == gr.skip()


def test_position_beyond_the_map_moves_to_its_edge(views):
    found = views.draw("tiny", "cat", 0)
    assert views.at(found, "top", 99, -1)[:2] == (1, 0)
    assert views.at(found, "top", None, None)[:2] == (0, 0)


def test_wrong_requests_are_plain_lines(views):
    found = views.draw("tiny", "cat", 0)
    with pytest.raises(gr.Error, match="should be drawn or dropped first"):
        views.panels("tiny", None, "top", 0, 0, 0)
    with pytest.raises(gr.Error, match="code: should lie in"):
        views.panels("tiny", found, "top", 99, 0, 0)
    with pytest.raises(gr.Error, match="label"):
        views.draw("tiny", "bird", 0)
    with pytest.raises(gr.Error, match="found none"):
        views.encode("tiny", None, None)


def test_model_without_a_prior_still_shows_codes(views, pipe, tmp_path):
    noise_picture(8, 8).save(tmp_path / "a.png")
    pipe.parts.priors.pop("bottom")
    found = views.encode("tiny", str(tmp_path / "a.png"), None)
    assert "has no prior" in views.panels("tiny", found, "bottom", 0, 0, 0)[-1]


def test_change_of_the_model_empties_the_panels(views):
    labels, levels, found, *rest = views.for_model("tiny")
    assert labels.value == "10"
    assert levels.value == "bottom"
    assert found is None
    assert rest[1:] == ["", None, None, "", "", None]
