import shutil

import pytest

from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.folder import check_replaceable, load_part, locate_pipeline, read_document


def test_run_folder_and_pipeline_folder_are_both_accepted(folder):
    assert locate_pipeline(folder) == folder
    assert locate_pipeline(str(folder.parent)) == folder


def test_folder_without_a_pipeline_is_refused_with_its_content(tmp_path):
    with pytest.raises(CheckpointError, match="holds no pipeline, found nothing; give a run folder"):
        locate_pipeline(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "vqvae").mkdir()
    with pytest.raises(CheckpointError, match=r"found recipe\.toml, vqvae; its first stage is not finished"):
        locate_pipeline(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "/no/such/place", "~/models/a", "a/b/c", "a b/c"])
def test_name_that_cannot_be_a_repository_is_a_missing_folder(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the Hub"))
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run RECIPE` makes one"):
        locate_pipeline(name)


def test_file_is_not_a_checkpoint(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        locate_pipeline(tmp_path / "a")


def test_document_describes_the_pipeline(folder):
    document = read_document(folder)
    assert (document.pipeline_class, document.name) == ("VQGenPipeline", "tiny")
    assert document.levels == ("top", "bottom")
    assert document.hashes.keys() == {"vqvae", "prior-top", "prior-bottom"}
    assert document.label_map.names == ("cat", "dog", "10")


def test_part_is_loaded_with_its_hash(folder):
    recorded = read_document(folder).hashes
    model, sha256 = load_part(folder / "vqvae", [VQVAE], recorded)
    assert isinstance(model, VQVAE) and not model.training
    assert sha256 == recorded["vqvae"]


def test_part_of_another_class_is_refused(folder):
    recorded = read_document(folder).hashes
    with pytest.raises(CheckpointError, match="vqvae: should hold a PixelCNN, found a VQVAE"):
        load_part(folder / "vqvae", [PixelCNN], recorded)
    with pytest.raises(CheckpointError, match="prior-top: should hold a VQVAE or a list, found a PixelCNN"):
        load_part(folder / "prior-top", [VQVAE, list], recorded)


def test_part_with_another_hash_is_refused(folder):
    with pytest.raises(
        CheckpointError, match=r"vqvae: is not the model that pipeline\.json names: should be abc, found"
    ):
        load_part(folder / "vqvae", [VQVAE], {"vqvae": "abc"})


@pytest.mark.parametrize(
    "names", [[], ["pipeline.json"], ["pipeline.json", "guide-bottom", "prior-middle", "split.json"]]
)
def test_folder_of_a_pipeline_may_be_replaced(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    check_replaceable(tmp_path)
    check_replaceable(tmp_path / "new")


@pytest.mark.parametrize("names", [["thesis.tex"], ["pipeline.json", "thesis.tex"], ["README.md"]])
def test_folder_with_anything_else_may_not_be_replaced(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(CheckpointError, match=f"found {names[-1]}; choose another"):
        check_replaceable(tmp_path)


def test_classifier_of_other_labels_or_weights_is_refused(choosing, make_classifier, tmp_path):
    choosing.parts.classifier = make_classifier(num_classes=4)
    choosing.save_pretrained(tmp_path / "p")
    with pytest.raises(CheckpointError, match="classifier: should name the 3 labels of the pipeline, found 4"):
        VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu")
    choosing.parts.classifier = make_classifier()
    choosing.save_pretrained(tmp_path / "p")
    choosing.parts.classifier.head.bias.data += 1
    choosing.save_pretrained(tmp_path / "q")
    shutil.copy(tmp_path / "q" / "classifier" / "model.safetensors", tmp_path / "p" / "classifier")
    with pytest.raises(CheckpointError, match=r"classifier: is not the model that pipeline\.json names"):
        VQGenPipeline.from_pretrained(tmp_path / "p", device="cpu")
