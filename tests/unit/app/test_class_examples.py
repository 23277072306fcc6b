import numpy as np
import pytest
import torch
from PIL import Image

from vqgen.app import class_examples as module
from vqgen.app.class_examples import class_examples
from vqgen.config import DataConfig
from vqgen.data import LabelMap
from vqgen.pipeline import VQGenPipeline


@pytest.fixture
def build(make_parts, monkeypatch):
    def build(labels, data, root=None):
        parts = make_parts(labels=labels)
        parts.data = data
        monkeypatch.setattr(module, "_root", lambda pipe: root)
        return VQGenPipeline(parts)

    return build


def folder(root):
    for name, value in (("cat", 10), ("dog", 200)):
        (root / "train" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(np.full((8, 8), value + number, dtype=np.uint8)).save(
                root / "train" / name / f"{number}.png"
            )
    return str(root)


FOLDER = DataConfig(source="folder", image_size=8, channels=1)


def test_digits_are_real(build):
    found = class_examples(build(tuple("0123456789"), DataConfig(source="digits", image_size=8, channels=1)))
    assert found.real
    assert found.pixels.shape == (10, 1, 8, 8)


def test_folder_gives_the_first_image_of_each_label(build, tmp_path):
    found = class_examples(build(("cat", "dog"), FOLDER, folder(tmp_path)))
    assert found.real
    assert found.pixels[:, 0, 0, 0].tolist() == [10, 200]


@pytest.mark.parametrize("labels", [("cat", "cow"), ("cat", "../dog")])
def test_label_without_a_folder_of_its_own_makes_samples_of_all(build, tmp_path, labels):
    found = class_examples(build(labels, FOLDER, folder(tmp_path)))
    assert not found.real
    assert len(found.pixels) == 2


def test_missing_data_set_is_not_downloaded(build, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = class_examples(build(tuple("0123456789"), DataConfig(source="mnist", image_size=8, channels=1)))
    assert not found.real
    assert not (tmp_path / "data").exists()


def test_model_without_labels_or_priors_has_no_examples(build):
    pipe = build(("cat", "dog"), FOLDER)
    pipe.parts.priors = {}
    assert class_examples(pipe) is None
    pipe.parts.label_map = LabelMap()
    assert class_examples(pipe) is None
    assert torch.is_grad_enabled()
