import stat
from pathlib import Path

import pytest
import torch

from vqgen.errors import CheckpointError
from vqgen.storage.tensors import load_tensors, save_tensors


def tree(folder):
    """Every file of a folder with its bytes."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


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


def test_tensor_file_has_the_usual_rights(tmp_path):
    (tmp_path / "usual").write_text("")
    save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(1)})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "a.safetensors")]
    assert modes[0] == modes[1]


def test_missing_and_damaged_tensor_files_are_named(tmp_path):
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


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
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
