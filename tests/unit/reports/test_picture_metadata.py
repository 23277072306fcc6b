import numpy as np
import pytest
from PIL import Image

from vqgen.data import LabelMap
from vqgen.errors import DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.reports.picture_metadata import label_name, png_with_settings, read_settings, settings_of_images


def test_settings_come_back_from_the_file(make_parts, tmp_path):
    pipe = VQGenPipeline(make_parts(labels=("猫", "<b>", "10")))
    output = pipe(labels=["猫", None], seed=7, temperature=0.5)
    settings = settings_of_images(output, pipe, {"temperature": 0.5})
    path = tmp_path / "a.png"
    for own, image in zip(settings, output.images, strict=True):
        path.write_bytes(png_with_settings(image, own))
        assert read_settings(path) == own
        with Image.open(path) as opened:
            assert np.array_equal(np.asarray(opened), np.asarray(image))
            assert opened.text["Software"].startswith("vqgen ")
    assert [own["label"] for own in settings] == ["猫", None]
    assert settings[1] | {"label": None} == {
        "model": "tiny",
        "model_sha256": "",
        "seed": 7,
        "index": 1,
        "label": None,
        "temperature": 0.5,
    }


def test_picture_of_another_program_has_no_settings(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="has no settings of vqgen"):
        read_settings(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be read"):
        read_settings(tmp_path / "b.png")


def test_missing_label_has_no_name():
    assert label_name(None, LabelMap(("a",))) is None
    assert label_name(0, LabelMap(("a",))) == "a"
