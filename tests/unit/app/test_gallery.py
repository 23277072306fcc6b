import io
from base64 import b64decode

import numpy as np
from PIL import Image

from vqgen.app.gallery import Shown, data_uri, gallery


def noise(side):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def decoded(uri):
    kind, _, data = uri.partition(";base64,")
    return kind, b64decode(data)


def test_names_and_captions_are_text_and_never_html():
    evil = '"><img src=x onerror=alert(1)>'
    html = gallery([(evil, [Shown(noise(4), evil, evil, b"file", evil)])])
    assert "<img src=x" not in html
    assert html.count("<img") == 1
    assert html.count("&lt;img src=x onerror=alert(1)&gt;") >= 4


def test_small_picture_is_shown_exactly():
    kind, data = decoded(data_uri(noise(128)))
    assert kind == "data:image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(noise(128)))
    assert decoded(data_uri(noise(8), b"own file"))[1] == b"own file"


def test_large_picture_is_shown_as_a_short_copy_and_saved_exactly():
    kind, data = decoded(data_uri(noise(200), b"own file"))
    assert kind == "data:image/webp"
    assert len(data) < 200 * 200 * 3 / 2
    assert "data:image/png;base64,b3duIGZpbGU=" in gallery([("", [Shown(noise(200), file=b"own file")])])


def test_row_without_a_name_has_no_heading():
    assert "<h3>" not in gallery([("", [Shown(noise(4))])])
