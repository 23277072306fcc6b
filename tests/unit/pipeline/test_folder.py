import shutil

import pytest

from vqgen import VQGenPipeline
from vqgen.errors import CheckpointError
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.folder import check_replaceable, files_of, load_part, read_document
from vqgen.pipeline.parts import load_pipeline, save_pipeline
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_json


def test_document_describes_the_pipeline(folder):
    document = read_document(folder)
    assert (document.pipeline_class, document.name) == ("VQGenPipeline", "tiny")
    assert document.levels == ("top", "bottom")
    assert document.hashes.keys() == {"vqvae", "prior-top", "prior-bottom"}
    assert document.label_map.names == ("cat", "dog", "10")


def test_recipe_is_written_without_the_folders_of_this_machine(make_parts, tmp_path):
    parts = make_parts()
    parts.data = parts.data.model_copy(update={"root": "/home/ada", "workers": 3})
    parts.texts["recipe.toml"] = 'threads = 3\n[data]\nroot = "/home/ada"\nsource = "folder"\n'
    save_pipeline(parts, tmp_path / "p")
    assert (tmp_path / "p" / "recipe.toml").read_text() == '[data]\nsource = "folder"\n'
    assert "ada" not in (tmp_path / "p" / "pipeline.json").read_text()


def test_folder_in_a_pipeline_of_before_is_left_unread(folder):
    document = read_json(folder / "pipeline.json")
    document["data"] |= {"root": "/home/stranger", "workers": 99}
    write_json(folder / "pipeline.json", document)
    found = read_document(folder).data
    assert (found.root, found.workers) == (None, 0)


def test_run_folder_is_known_if_it_is_one(folder):
    assert load_pipeline(folder).run_folder is None  # has no recipe of its own
    (folder.parent / "recipe.toml").write_text("")
    assert load_pipeline(folder).run_folder == folder.parent
    folder.rename(folder.parent / "abc")
    assert load_pipeline(folder.parent / "abc").run_folder is None


@pytest.mark.parametrize("name", ["README.md", "recipe.toml"])
def test_text_in_another_encoding_is_refused_by_name(folder, name):
    (folder / name).write_bytes("# café".encode("latin-1"))
    with pytest.raises(CheckpointError, match=f"{name}: should be a text in UTF-8, .*; save it as UTF-8") as caught:
        load_pipeline(folder)
    assert "\n" not in str(caught.value)


def test_files_of_a_pipeline_are_those_of_its_models_and_no_others(folder):
    document = read_document(folder)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} <= {
        *files_of(document)
    }
    document.hashes.update({"../evil": "abc", "prior-*": "abc", "other": "abc"})
    assert not [name for name in files_of(document) if "evil" in name or "*" in name or "other" in name]


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
