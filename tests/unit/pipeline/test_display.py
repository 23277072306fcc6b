import base64
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.codes import Codes
from vqgen.data import LabelMap
from vqgen.data.layout import image_grid
from vqgen.pipeline.display import _columns, gallery_html, grid_png
from vqgen.pipeline.vqgen import GenerationOutput


def noise(count, channels=1):
    return torch.randint(256, (count, channels, 4, 4), dtype=torch.uint8)


def output(labels, names=()):
    count = len(labels)
    return GenerationOutput(
        pixels=noise(count), labels=labels, seed=3, codes=Codes({"bottom": torch.zeros(count, 1, 1)}),
        log_likelihood=-torch.arange(count).double(), label_map=LabelMap(names),
    )  # fmt: skip


class Page(HTMLParser):
    """The elements, attributes and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.images, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.texts.append(data)


def opened(source):
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("labels", "columns"),
    [
        ([0, 0, 0, 1, 1, 1], 3),
        ([0, 1, 2, 3], 4),
        ([*range(26)], 10),
        ([0, 0, 1], 3),
        ([None] * 7, 7),
        ([None] * 30, 10),
        ([0, 0, 1, 0], 4),
        ([5], 1),
    ],
)
def test_each_label_has_a_row_if_all_have_the_same_number(labels, columns):
    assert _columns(labels) == columns


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_shows_every_pixel(channels):
    pixels = noise(6, channels)
    with Image.open(BytesIO(grid_png(pixels, [0, 0, 0, 1, 1, 1]))) as picture:
        assert picture.tobytes() == image_grid(pixels, 3, 64).tobytes()


def test_gallery_has_each_image_with_its_label_and_likelihood():
    images = output([1, None, 0], ("cat", "dog"))
    page = Page(images._repr_html_())
    assert [image["alt"] for image in page.images] == ["dog", "", "cat"]
    assert page.texts == ["dog", "-0.0 nats", "-1.0 nats", "cat", "-2.0 nats"]
    for image, pixels in zip(page.images, images.pixels, strict=True):
        assert (opened(image["src"])[::16, ::16] == pixels[0].numpy()).all()


def test_gallery_has_a_row_for_each_label():
    assert "repeat(3,max-content)" in output([0, 0, 0, 1, 1, 1], ("cat", "dog"))._repr_html_()


def test_names_are_not_read_as_html():
    evil = "<script>alert(1)</script>\" onerror='x'\x1b[31m"
    text = output([0], (evil,))._repr_html_()
    page = Page(text)
    assert set(page.tags) == {"div", "figure", "img", "figcaption", "br"}
    assert set(page.images[0]) == {"src", "alt"}
    assert page.images[0]["alt"] == page.texts[0] == evil.replace("\x1b", "\\x1b")


def test_model_without_likelihoods_shows_labels_alone():
    page = Page(gallery_html(noise(1), [0], ["cat"], None))
    assert page.texts == ["cat"]
    assert "br" not in page.tags


def test_many_images_are_counted_and_not_shown():
    text = gallery_html(noise(1203), [None] * 1203, ["a"] * 1203, None)
    assert len(Page(text).images) == 200
    assert "and 1,003 more" in text
    with Image.open(BytesIO(grid_png(noise(1203), [None] * 1203))) as picture:
        assert picture.size == image_grid(noise(200), 10, 64).size


def test_text_of_images_is_one_short_line():
    assert repr(output([0, 0], ("cat",))) == "GenerationOutput(2 images, seed 3)"


def test_process_without_images_shows_nothing():
    images = output([0, 1], ("cat", "dog"))
    empty = GenerationOutput(**{**vars(images), "pixels": images.pixels[:0]})
    assert (empty._repr_png_(), empty._repr_html_()) == (None, None)


def test_label_without_a_name_is_shown_by_its_index():
    assert re.findall(r'alt="(.*?)"', output([0, 7])._repr_html_()) == ["0", "7"]
