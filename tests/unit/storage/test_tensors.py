import os

import pytest
import torch
from safetensors import SafetensorError

from vqgen.errors import CheckpointError
from vqgen.storage.tensors import load_tensors, load_text, read_shapes, save_tensors


def test_tensors_and_text_round_trip(tmp_path):
    tensors = {
        "f64": torch.randn(2, dtype=torch.float64), "i64": torch.tensor([2**62, -1]), "bool": torch.tensor([True]),
        "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3), "transposed": torch.randn(3, 4).T,
        "gradient": torch.randn(2, requires_grad=True),
    }  # fmt: skip
    path = tmp_path / "new" / "a.safetensors"
    save_tensors(path, tensors, "tëxt")
    found, text = load_tensors(path)
    assert (text, load_text(path)) == ("tëxt", "tëxt")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


def test_text_of_a_file_without_one_is_empty(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
    assert load_text(tmp_path / "a.safetensors") == ""


@pytest.mark.parametrize("load", [load_tensors, load_text, read_shapes])
def test_missing_file_is_refused(tmp_path, load):
    with pytest.raises(CheckpointError, match=r"a\.safetensors: there is no such file"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("load", [load_tensors, load_text, read_shapes])
def test_damaged_file_is_refused_with_a_remedy(tmp_path, load):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.randn(100)})
    whole = path.read_bytes()
    for content in (b"", whole[:4], whole[:40], whole[:-1], b"\xff" * 8 + whole[8:], b"text"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.safetensors: is damaged or cut short .*restore it or make it"):
            load(path)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"a": torch.zeros(2)}, "old")

    def full(tensors, temporary, metadata):
        temporary.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("vqgen.storage.tensors.save_file", full)
    with pytest.raises(CheckpointError, match=r"a\.safetensors: could not be written: No space left"):
        save_tensors(path, {"a": torch.ones(2)})
    assert load_tensors(path)[1] == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.safetensors"]


def test_shapes_are_read_without_the_numbers(tmp_path):
    save_tensors(tmp_path / "a", {"x": torch.zeros(2, 3), "y": torch.tensor(1)})
    assert read_shapes(tmp_path / "a") == {"x": (2, 3), "y": ()}


def test_file_below_a_folder_whose_name_is_no_text_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"r\xff\n\x1b") / "a.safetensors"
    save_tensors(path, {"a": torch.arange(3)}, "text")
    found, text = load_tensors(path)
    assert text == load_text(path) == "text"
    assert torch.equal(found["a"], torch.arange(3))
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_tensors(path.with_name("b.safetensors"))
