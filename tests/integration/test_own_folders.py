"""A folder of one's own: the run inside it, odd names, images that change."""

import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image
from small_runs import assert_refused, small_document, write_recipe

from vqgen.config import DataConfig
from vqgen.data import open_images

pytestmark = pytest.mark.slow  # together they take too long for the tests that everybody runs

LATIN = os.fsdecode(b"ni\xf1o")
ACCENT = unicodedata.normalize("NFD", "élève")
NAMES = (LATIN, ACCENT, "grid.png", "A\n\x1b[2J", "--seed")


@pytest.fixture
def photos(tmp_path):
    """A folder with five labels of three images, whose names and own name are odd."""
    root = tmp_path / os.fsdecode(b"photos\xff")
    draws = np.random.default_rng(0)
    for name in NAMES:
        (root / name).mkdir(parents=True)
        for number in range(3):
            pixels = draws.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}\udce9.bmp")
    return root


@pytest.fixture
def run(vqgen, tmp_path, photos):
    """A function that runs a tiny recipe on the photos, with its run folder among them."""
    data = {"source": "folder", "image_size": 8, "channels": 1}
    recipe = write_recipe(tmp_path / "own.toml", small_document() | {"data": data, "name": "own"})
    return lambda *more: vqgen(
        "run", recipe, "--data.root", photos, "--checkpoints", photos / "checkpoints", "--force", "--quiet", *more
    )


def test_run_inside_its_images_goes_on_and_notices_what_changes(vqgen, run, photos, tmp_path):
    first = run()
    assert first.code == 0, first.err
    folder = photos / "checkpoints" / "own"
    again = run()
    assert (again.code, again.out.count(": complete")) == (0, 5), again.err
    assert "no images of the data set: 'checkpoints/own'" in again.err
    assert "\x1b" not in first.out + first.err + again.out + again.err

    made = vqgen("generate", folder, "--labels", LATIN, "élève", "--images-per-label", 1, "-o", photos / "made")
    assert made.code == 0, made.err
    listing = json.loads((photos / "made" / "samples.json").read_text(encoding="utf-8"))
    assert [listing["labels"][image["label"]] for image in listing["images"]] == [LATIN, ACCENT]
    small = vqgen("compress", folder, photos, "-o", tmp_path / "small", "--quiet")
    back = vqgen("decompress", folder, tmp_path / "small", "-o", tmp_path / "back", "--quiet")
    assert (small.code, back.code) == (0, 0), small.err + back.err
    pictures = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert ({path.parent.name for path in pictures}, len(pictures)) == (set(NAMES), 15)
    assert vqgen("info", folder).code == 0

    path = photos / LATIN / "0\udce9.bmp"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    os.utime(path, ns=times)  # neither size nor time tells
    assert_refused(run(), "images: ", "--redo")


def test_run_of_an_earlier_version_goes_on_and_then_notices_changes(run, photos):
    assert run("--generate.images-per-label", 1).code == 0
    records = [photos / "checkpoints" / "own" / stage / "stage.json" for stage in ("vqvae", "codes")]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in records]
    (present,) = {document["inputs"]["images"] for document in documents}
    (by_size,) = open_images(DataConfig(source="folder", image_size=8, root=str(photos)), 0).earlier_fingerprints
    for path, document in zip(records, documents, strict=True):
        path.write_text(json.dumps(document | {"inputs": document["inputs"] | {"images": by_size}}))
    again = run("--generate.images-per-label", 1)
    assert (again.code, again.out.count(": complete")) == (0, 5), again.err
    assert [json.loads(path.read_text(encoding="utf-8"))["inputs"]["images"] for path in records] == [present] * 2
