"""The page in a real browser: each tab is used as a visitor uses it, on a phone and on a desk, and by keyboard."""

import base64
import io
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from browser import Watched, chromium, visit
from page_clients import Page
from PIL import Image
from served_page import served

PlaywrightTimeout = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").TimeoutError

pytestmark = pytest.mark.slow

__all__ = ["chromium", "served", "visit"]  # fixtures

TABS = ("Generate", "Compress", "Edit", "Codes", "Runs")


@pytest.fixture
def on_tab(visit: Callable[..., Watched], served: Page) -> Callable[..., Watched]:
    """Opens the page with a tab in front."""

    def open_tab(name: str, width: int = 1280, scheme: str = "light") -> Watched:
        watched = visit(served.url, width, scheme)
        watched.page.get_by_role("tab", name=name, exact=True).click()
        watched.page.get_by_role("tab", name=name, exact=True, selected=True).wait_for()
        return watched

    return open_tab


@pytest.fixture
def digit(tmp_path: Path) -> Path:
    """A picture of a digit, under a name that is HTML; a slash cannot be in a name."""
    from sklearn.datasets import load_digits

    path = tmp_path / "five <img src=x onerror=alert(1)>.png"
    values = (load_digits().images[5] * 255 / 16).astype(np.uint8)
    Image.fromarray(values).resize((16, 16), Image.Resampling.BICUBIC).save(path)
    return path


def pictures(watched: Watched, place: str) -> list[np.ndarray]:
    """Returns the pictures inside a part of the page."""
    sources = watched.page.locator(f"{place} img").evaluate_all("all => all.map(each => each.src)")
    found = []
    for source in sources:
        with Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) as opened:
            found.append(np.asarray(opened.convert("L")).astype(float))
    return found


def check_nothing_was_interpreted(watched: Watched) -> None:
    """Checks that no name became an element of the page."""
    assert watched.page.locator("img[src='x']").count() == 0
    assert watched.page.locator("[onerror]").count() == 0


def test_pictures_of_two_labels_appear_with_their_likelihoods(on_tab):
    watched = on_tab("Generate")
    page = watched.page
    page.locator("#labels label").first.wait_for()
    chosen = page.locator("#labels input:checked")
    while chosen.count():
        chosen.first.uncheck()
    page.locator("#labels").get_by_label("3", exact=True).check()
    page.locator("#labels").get_by_label("8", exact=True).check()
    page.locator("#generate-start").click()
    page.locator("#generated figcaption").first.wait_for()
    assert page.locator("#generated h3").all_inner_texts() == ["3", "8"]
    assert page.locator("#generated figcaption").count() == 8
    assert all(re.match(r"log p -\d", text) for text in page.locator("#generated figcaption").all_inner_texts())
    found = pictures(watched, "#generated")
    assert len(found) == 8
    assert len({each.tobytes() for each in found}) == 8  # eight pictures, and not one of them eight times
    with page.expect_download() as saved:
        page.get_by_role("button", name="Pictures (zip)").click()
    assert saved.value.suggested_filename.endswith(".zip")
    watched.check()


def test_picture_is_compressed_and_its_file_is_opened_again(on_tab, digit, tmp_path):
    watched = on_tab("Compress")
    page = watched.page
    files = page.locator("#tab-compress, [aria-labelledby*=compress]").locator("input[type=file]").first
    files.set_input_files(digit)
    page.get_by_text(re.compile(r"16 x 16 pixels in \d+ bytes")).wait_for()
    tables = page.locator(".vq-table").all_inner_texts()
    assert "packed" in tables[0]
    assert "prior" in tables[0]
    assert all(name in tables[1] for name in ("vqgen", "JPEG", "WebP"))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the file (.vqg)").click()
    path = tmp_path / "again.vqg"
    saved.value.save_as(path)
    assert path.read_bytes()[:4] == b"\x89VQG"
    check_nothing_was_interpreted(watched)
    watched.check()

    again = on_tab("Compress")
    again.page.locator("#tab-compress, [aria-labelledby*=compress]").locator("input[type=file]").first.set_input_files(
        path
    )
    again.page.get_by_text("Opened with the model digits").wait_for()
    assert "16 x 16, grey" in again.page.locator(".vq-table").inner_text()
    again.check()


def test_refusal_is_a_sentence_and_names_are_no_html(on_tab, tmp_path):
    watched = on_tab("Compress")
    odd = tmp_path / "a <img src=x onerror=alert(1)>.png"
    odd.write_text("<!doctype html><img src=x onerror=alert(1)>")
    files = watched.page.locator("#tab-compress, [aria-labelledby*=compress]").locator("input[type=file]").first
    files.set_input_files(odd)
    watched.page.get_by_text("its format is an HTML page").wait_for()
    check_nothing_was_interpreted(watched)
    watched.check()


def paint_upper_left(watched: Watched) -> None:
    """Paints a stroke into the upper left of the picture, which is a square in the middle of the canvas."""
    box = watched.page.locator("#edit-canvas canvas").first.bounding_box()
    side = min(box["width"], box["height"])
    left = box["x"] + (box["width"] - side) / 2
    top = box["y"] + (box["height"] - side) / 2
    mouse = watched.page.mouse
    mouse.move(left + 0.1 * side, top + 0.12 * side)
    mouse.down()
    for share in np.linspace(0.1, 0.22, 8):
        mouse.move(left + share * side, top + 0.12 * side)
    mouse.up()
    watched.page.wait_for_timeout(500)


def test_painted_hole_changes_and_the_rest_stays(on_tab):
    watched = on_tab("Edit")
    page = watched.page
    page.locator("#edit-sample").click()
    page.locator("#edit-canvas canvas").first.wait_for()
    edits = page.locator("#edited h3", has_text="Edits")
    # The picture comes into the canvas by a script that tells nobody; a stroke before that is none.
    for _ in range(4):
        page.wait_for_timeout(2000)
        paint_upper_left(watched)
        page.locator("#edit-start").click()
        with suppress(PlaywrightTimeout):
            edits.wait_for(timeout=15_000)
            break
    edits.wait_for()
    _, as_codes, hole, *edits = pictures(watched, "#edited")
    drawn_anew = hole == 255  # grey: only the one code of level top, which is a code of the whole picture
    assert 0 < drawn_anew.mean() <= 0.25
    assert not drawn_anew[8:].any()
    assert len(edits) == 4
    inside, outside = (
        np.mean([np.abs(edit - as_codes)[part].mean() for edit in edits]) for part in (drawn_anew, ~drawn_anew)
    )
    assert outside < inside
    watched.check()


def test_codes_are_drawn_and_a_click_shows_their_probabilities(on_tab):
    watched = on_tab("Codes")
    page = watched.page
    page.get_by_role("button", name="Draw a picture").click()
    page.get_by_text("entries occur").wait_for()
    grid = page.get_by_alt_text("The code map")
    grid.wait_for()
    box = grid.bounding_box()
    page.mouse.click(box["x"] + 0.9 * box["width"], box["y"] + 0.6 * box["height"])
    page.get_by_text("The likeliest codes at row 2, column 3").first.wait_for()
    atlas = page.get_by_alt_text("All codes, each decoded alone")
    atlas.wait_for()
    page.get_by_label("Code", exact=True).fill("7")
    page.get_by_text("Code 7 has").wait_for()
    watched.check()


def test_report_of_a_run_opens_in_a_frame_that_can_do_nothing(on_tab):
    watched = on_tab("Runs")
    frame = watched.page.locator("iframe.vq-report")
    frame.wait_for()
    assert frame.get_attribute("sandbox") == ""
    report = watched.page.frame_locator("iframe.vq-report")
    report.get_by_role("heading", name="Overview").wait_for()
    assert "complete" in watched.page.locator(".vq-table").inner_text()
    watched.check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_tab_fits_the_screen(visit, served, tmp_path, width, scheme):
    watched = visit(served.url, width, scheme)
    page = watched.page
    for name in TABS:
        page.get_by_role("tab", name=name, exact=True).click()
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=tmp_path / f"{name}.png", full_page=True)
    with Image.open(tmp_path / "Generate.png") as shot:
        assert (np.median(np.asarray(shot.convert("L"))) > 128) == (scheme == "light")
    watched.check()


def test_keyboard_reaches_the_main_button_and_shows_where_it_is(on_tab):
    watched = on_tab("Generate")
    page = watched.page
    page.locator("#labels label").first.wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#generate-start') !== null"):
            break
    else:
        pytest.fail("60 presses of Tab did not reach the button")
    assert page.evaluate("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    page.keyboard.press("Enter")
    page.locator("#generated figcaption").first.wait_for()
    watched.check()
