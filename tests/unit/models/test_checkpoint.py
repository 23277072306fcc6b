import ast
import json
import re
import shutil
import stat
from pathlib import Path

import pytest
import torch
from tiny_models import make_prior

import vqgen
from vqgen.errors import CheckpointError
from vqgen.models.checkpoint import hash_model, load_model, made_from, save_model
from vqgen.models.pixelcnn import PixelCNN
from vqgen.models.vqvae import VQVAE
from vqgen.pipeline.folder import locate_pipeline
from vqgen.pipeline.parts import load_pipeline, save_pipeline
from vqgen.storage.documents import read_json
from vqgen.storage.tensors import load_tensors, save_tensors

SOURCES = sorted(Path(vqgen.__file__).parent.rglob("*.py"))


@pytest.fixture
def vqvae(make_parts):
    return make_parts().vqvae


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def tree(folder):
    """Every file of a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def truncate(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


# Tensors


def test_tensors_round_trip_with_their_text(tmp_path):
    tensors = {
        "f32": torch.randn(3, 4), "f64": torch.randn(2, dtype=torch.float64), "i64": torch.tensor([2**62, -1]),
        "bool": torch.tensor([True, False]), "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3),
        "turned": torch.randn(3, 4).T, "grad": torch.randn(2, requires_grad=True),
    }  # fmt: skip
    save_tensors(tmp_path / "new" / "a.safetensors", tensors, "ä text")
    found, text = load_tensors(tmp_path / "new" / "a.safetensors")
    assert text == "ä text"
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_files_have_the_usual_rights(tmp_path):
    (tmp_path / "usual").write_text("")
    save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "a.safetensors")]
    assert modes[0] == modes[1]


def test_a_missing_file_and_damaged_ones_are_named(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match=r"a\.safetensors: there is no such file"):
        load_tensors(path)
    save_tensors(path, {"a": torch.randn(100)})
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[:40], whole[:-1], b"\xff" * 8 + whole[8:], b"not at all a safetensors file"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: is damaged or cut short .*restore it or make it"):
            load_tensors(path)
    with pytest.raises(CheckpointError, match="is damaged or cut short"):
        load_tensors(tmp_path)


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    from safetensors import SafetensorError

    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.zeros(2)})
    before = tree(tmp_path)

    def full(tensors, filename, metadata):
        Path(filename).write_bytes(b"half")
        raise SafetensorError("Error while serializing: No space left on device")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: could not be written: .*No space left"):
        save_tensors(path, {"a": torch.ones(2)})
    assert tree(tmp_path) == before


# Models


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_bit_for_bit(tmp_path, vqvae, dtype):
    vqvae = vqvae.to(dtype)
    save_model(vqvae, tmp_path / "model")
    torch.manual_seed(99)
    found = load_model(tmp_path / "model", VQVAE)
    assert not found.training
    assert found.config == vqvae.config
    assert found.state_dict().keys() == vqvae.state_dict().keys()
    for name, tensor in vqvae.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name
        assert found.state_dict()[name].dtype == tensor.dtype, name
    images = torch.rand(2, 1, 8, 8, dtype=dtype)
    assert torch.equal(found(images).reconstruction, vqvae(images).reconstruction)


def test_a_codebook_that_has_started_does_not_start_again(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "model")
    found = load_model(tmp_path / "model", VQVAE).train()
    before = found.quantizers[0].codebook.clone()
    found(torch.rand(2, 1, 8, 8))
    assert torch.equal(found.quantizers[0].codebook, before)


def test_a_prior_comes_back_too(tmp_path):
    prior = make_prior("bottom", slope="raster").eval()
    save_model(prior, tmp_path / "model", {"vqvae": "abc", "codes": "def"})
    found = load_model(tmp_path / "model", PixelCNN)
    assert found.config == prior.config
    codes, coarser = torch.randint(16, (2, 4, 4)), torch.randint(16, (2, 2, 2))
    labels = torch.tensor([0, -1])
    assert torch.equal(
        found(codes, labels, found.encode_condition(coarser)), prior(codes, labels, prior.encode_condition(coarser))
    )
    assert made_from(tmp_path / "model") == {"vqvae": "abc", "codes": "def"}


def test_the_hash_is_that_of_weights_configuration_and_class(tmp_path, vqvae, make_parts, tiny_vqvae_config):
    first = save_model(vqvae, tmp_path / "a", {"images": "x"})
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert hash_model(tmp_path / "a") == first
    assert save_model(vqvae, tmp_path / "other" / "name", {"images": "y"}) == first
    with torch.no_grad():
        weight = vqvae.decoder[0].bias
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    second = save_model(vqvae, tmp_path / "b")
    assert second != first
    vqvae.config = tiny_vqvae_config(commitment_weight=0.5)
    assert save_model(vqvae, tmp_path / "c") not in (first, second)
    edit_json(tmp_path / "a" / "config.json", **{"class": "Other"})
    assert hash_model(tmp_path / "a") != first


def test_a_hash_needs_both_files(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    (tmp_path / "a" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: there is no such file, so .*a holds no model"):
        hash_model(tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"config\.json: there is no such file"):
        hash_model(tmp_path / "gone")


def test_another_class_is_refused_by_name(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    with pytest.raises(CheckpointError, match="a: should hold a PixelCNN, found a VQVAE"):
        load_model(tmp_path / "a", PixelCNN)


def test_weights_that_do_not_fit_name_the_leaf_and_both_shapes(tmp_path, vqvae, make_parts):
    save_model(vqvae, tmp_path / "a")
    save_model(make_parts(embedding_dim=6).vqvae, tmp_path / "b")
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "a", VQVAE)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("model.safetensors: holds another model's weights:")
    assert lines[1] == "  decoder.0.weight: should have shape (8, 8, 3, 3), found (8, 12, 3, 3)"
    assert len(lines) == 10
    assert re.fullmatch(r"  and \d+ more", lines[-1])


def test_missing_and_superfluous_weights_are_named(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    path = tmp_path / "a" / "model.safetensors"
    weights, _ = load_tensors(path)
    weights["brand.new"] = weights.pop("decoder.0.bias")
    weights["quantizers.0.codebook"] = torch.zeros(16, 5)
    save_tensors(path, weights)
    with pytest.raises(CheckpointError) as caught:
        load_model(tmp_path / "a", VQVAE)
    assert str(caught.value).splitlines()[1:] == [
        "  brand.new: is no part of this model",
        "  decoder.0.bias: is missing",
        "  quantizers.0.codebook: should have shape (16, 4), found (16, 5)",
    ]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, r"config\.json: should have format_version 1, found 2; use the vqgen that wrote it"),
        ({"format_version": None}, "should have format_version 1, found None"),
        ({"class": None}, "should hold a VQVAE, found a None"),
        ({"config": None}, r"config\.json: is no configuration of a VQVAE"),
        ({"config": {"colour": 1}}, r"config\.json: is no configuration of a VQVAE"),
    ],
)
def test_a_configuration_that_is_none_is_refused(tmp_path, vqvae, changes, match):
    save_model(vqvae, tmp_path / "a")
    edit_json(tmp_path / "a" / "config.json", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_model(tmp_path / "a", VQVAE)


@pytest.mark.parametrize(
    ("content", "match"), [(b"{", "is no JSON file"), (b"\xff", "is no JSON file"), (b"[]", "a list")]
)
def test_what_is_no_json_object_is_refused(tmp_path, content, match):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"a\.json: .*{match}"):
        read_json(tmp_path / "a.json")


def test_truncated_weights_are_named(tmp_path, vqvae):
    save_model(vqvae, tmp_path / "a")
    truncate(tmp_path / "a" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"a/model\.safetensors: is damaged or cut short"):
        load_model(tmp_path / "a", VQVAE)


def test_a_model_that_cannot_be_written_leaves_the_old_one(tmp_path, vqvae, monkeypatch):
    save_model(vqvae, tmp_path / "a")
    before = tree(tmp_path)

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(vqvae, tmp_path / "a")
    with pytest.raises(OSError, match="No space left"):
        save_model(vqvae, tmp_path / "b")
    assert tree(tmp_path) == before


# Pipelines


@pytest.fixture
def saved(tmp_path, make_parts):
    save_pipeline(make_parts(), tmp_path / "pipeline")
    return tmp_path / "pipeline"


def test_a_pipeline_comes_back_whole(saved, make_parts):
    parts, found = make_parts(), load_pipeline(saved)
    assert (found.name, found.data, found.label_map) == (parts.name, parts.data, parts.label_map)
    assert (found.split, found.texts) == (parts.split, parts.texts)
    assert list(found.priors) == ["top", "bottom"]
    for one, other in [(parts.vqvae, found.vqvae), *zip(parts.priors.values(), found.priors.values(), strict=True)]:
        assert all(
            torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
        )
    assert found.vqvae_hash == hash_model(saved / "vqvae")
    assert found.trained_on == {"top": found.vqvae_hash, "bottom": found.vqvae_hash}


def test_a_pipeline_says_nothing_of_the_place_of_its_images(tmp_path, make_parts):
    parts = make_parts()
    parts.data = parts.data.model_copy(update={"root": "/home/somebody/secret", "workers": 3})
    save_pipeline(parts, tmp_path / "pipeline")
    assert not [name for name, content in tree(tmp_path).items() if b"somebody" in content]
    assert load_pipeline(tmp_path / "pipeline").data.root is None


def test_priors_may_still_be_missing(tmp_path, make_parts):
    parts = make_parts()
    del parts.priors["bottom"]
    save_pipeline(parts, tmp_path / "pipeline")
    assert list(load_pipeline(tmp_path / "pipeline").priors) == ["top"]


def test_the_same_parts_make_the_same_bytes(tmp_path, saved, make_parts):
    save_pipeline(make_parts(), tmp_path / "again")
    assert tree(tmp_path / "again") == tree(saved)
    save_pipeline(load_pipeline(saved), tmp_path / "loaded")
    assert tree(tmp_path / "loaded") == tree(saved)


def test_a_prior_of_another_vqvae_is_refused_by_name(tmp_path, saved, make_parts):
    save_pipeline(make_parts(seed=1), tmp_path / "other")
    shutil.rmtree(saved / "prior-bottom")
    shutil.copytree(tmp_path / "other" / "prior-bottom", saved / "prior-bottom")
    with pytest.raises(CheckpointError, match=r"prior-bottom: was trained on codes of another VQ-VAE \([0-9a-f]{64}\)"):
        load_pipeline(saved)


def test_what_the_priors_were_trained_on_is_told_by_whoever_trained_them(tmp_path, make_parts):
    parts = make_parts()
    parts.trained_on = {"top": "0" * 64}
    save_pipeline(parts, tmp_path / "pipeline")
    with pytest.raises(CheckpointError, match=rf"prior-top: was trained on codes of another VQ-VAE \({'0' * 64}\)"):
        load_pipeline(tmp_path / "pipeline")


@pytest.mark.parametrize("part", ["vqvae", "prior-top"])
def test_a_model_that_was_exchanged_is_refused_by_name(saved, part):
    weights, _ = load_tensors(saved / part / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = weights[name] + 1
    save_tensors(saved / part / "model.safetensors", weights)
    with pytest.raises(CheckpointError, match=f"{part}: is not the model that pipeline.json names: should be"):
        load_pipeline(saved)


def test_another_configuration_is_refused_too(saved):
    document = read_json(saved / "prior-top" / "config.json")
    edit_json(saved / "prior-top" / "config.json", config=document["config"] | {"dropout": 0.75})
    with pytest.raises(CheckpointError, match=r"prior-top: is not the model that pipeline\.json names"):
        load_pipeline(saved)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 2}, r"pipeline\.json: should have format_version 1, found 2"),
        ({"data": {"source": "nowhere"}}, r"pipeline\.json: is not what it has to be"),
        ({"labels": ["a", "a", "b"]}, r"pipeline\.json: is not what it has to be"),
        ({"labels": None}, r"pipeline\.json: is not what it has to be"),
        ({"sha256": "abc"}, r"pipeline\.json: is not what it has to be"),
        ({"sha256": {}}, r"vqvae: is not the model that pipeline\.json names: should be None"),
    ],
)
def test_a_manifest_that_is_damaged_is_refused(saved, changes, match):
    edit_json(saved / "pipeline.json", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_pipeline(saved)


@pytest.mark.parametrize("key", ["data", "labels", "levels", "sha256"])
def test_a_manifest_that_lacks_something_is_refused(saved, key):
    document = read_json(saved / "pipeline.json")
    del document[key]
    (saved / "pipeline.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=rf"pipeline\.json: is not what it has to be: '{key}'"):
        load_pipeline(saved)


@pytest.mark.parametrize("name", ["vqvae/model.safetensors", "prior-bottom/config.json", "pipeline.json"])
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"{re.escape(name)}: there is no such file"):
        load_pipeline(saved)


def test_a_pipeline_that_cannot_be_written_leaves_the_old_one(saved, make_parts, monkeypatch):
    before = tree(saved.parent)
    calls = []

    def full(tensors, filename, metadata):
        calls.append(filename)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        Path(filename).write_bytes(b"")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(OSError, match="No space left"):
        save_pipeline(make_parts(seed=1), saved)
    assert tree(saved.parent) == before
    monkeypatch.undo()
    assert load_pipeline(saved).name == "tiny"


# Names of checkpoints


def test_a_run_folder_and_a_pipeline_folder_serve(saved):
    assert locate_pipeline(saved) == saved
    assert locate_pipeline(str(saved.parent)) == saved


def test_a_folder_without_a_pipeline_says_what_is_there(tmp_path):
    with pytest.raises(CheckpointError, match="holds no pipeline, found nothing; give a run folder"):
        locate_pipeline(tmp_path)
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "vqvae").mkdir()
    with pytest.raises(CheckpointError, match=r"found recipe\.toml, vqvae; its first stage is not finished"):
        locate_pipeline(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "./a/b", "/no/such/place", "~/models/a", "a/b/c", "a b/c"])
def test_what_can_be_no_repository_is_a_missing_folder(name, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: pytest.fail("asked the Hub"))
    with pytest.raises(CheckpointError, match="there is no such folder; `vqgen run RECIPE` makes one"):
        locate_pipeline(name)


def test_a_file_is_no_checkpoint(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        locate_pipeline(tmp_path / "a")


def test_a_repository_is_fetched_without_anything_that_could_run(saved, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda name, allow_patterns: asked.append((name, allow_patterns)) or saved
    )
    assert locate_pipeline("user/name") == saved
    assert asked == [("user/name", ["*.json", "*.safetensors", "*.md", "*.toml"])]


@pytest.mark.parametrize("error", [OSError("no network\nat all"), ValueError("no network")])
def test_a_hub_that_does_not_answer_is_said_in_a_line(monkeypatch, error):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(CheckpointError) as caught:
        locate_pipeline("user/name")
    assert str(caught.value) == (
        "checkpoint 'user/name': is no folder here, and could not be had from the Hub: no network"
    )


def test_a_repository_without_a_pipeline_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: tmp_path)
    with pytest.raises(CheckpointError, match=r"'user/name': the repository on the Hub holds no pipeline\.json"):
        locate_pipeline("user/name")


# No pickles


PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE = {"torch.load", "torch.save", "accelerator.save_state", "accelerator.load_state", "accelerator.save"}


FOREIGN = "published.py"
"""Reads weights that others publish, which torch wrote; only as tensors."""


def test_published_weights_are_read_as_tensors_only():
    (path,) = [path for path in SOURCES if path.name == FOREIGN]
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    (load,) = [call for call in calls if ast.unparse(call.func) == "torch.load"]
    assert {keyword.arg: ast.unparse(keyword.value) for keyword in load.keywords}["weights_only"] == "True"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.name != FOREIGN],
    ids=lambda path: str(path.relative_to(SOURCES[0].parent)),
)
def test_nothing_is_pickled(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        imported += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in imported} & PICKLERS
        if isinstance(node, ast.Attribute):
            assert not any(ast.unparse(node).endswith(name) for name in UNSAFE), ast.unparse(node)
            assert node.attr != "register_for_checkpointing"
        if isinstance(node, ast.keyword):
            assert node.arg not in ("allow_pickle", "weights_only")


def test_the_search_for_pickles_sees_the_whole_package():
    assert len(SOURCES) > 60
    assert {"checkpoint.py", "code_store.py", "training.py"} <= {path.name for path in SOURCES}
