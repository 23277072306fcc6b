import pytest
import torch

from vqgen.errors import CheckpointError
from vqgen.models.published import read_published_weights


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_come_back(tmp_path):
    torch.save({"first.weight": torch.arange(3)}, tmp_path / "net.pth")
    weights = read_published_weights(tmp_path / "net.pth", "Net", "first.weight")
    assert weights["first.weight"].tolist() == [0, 1, 2]


def test_file_that_would_run_code_is_refused_and_never_runs_it(tmp_path):
    torch.save({"first.weight": Trap(tmp_path / "sprung")}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap\.pth: should hold the weights of Net, found something else"):
        read_published_weights(tmp_path / "trap.pth", "Net", "first.weight")
    assert not (tmp_path / "sprung").exists()


def test_files_of_anything_else_are_refused(tmp_path):
    torch.save({"a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "other.pth")
    torch.save(torch.ones(2), tmp_path / "tensor.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    for name in ("other.pth", "tensor.pth", "text.pth", "empty.pth", "gone.pth"):
        with pytest.raises(CheckpointError, match=f"{name}: should hold the weights of Net, found something else: "):
            read_published_weights(tmp_path / name, "Net", "first.weight")


def test_names_of_the_tensors_that_were_found_are_in_the_message(tmp_path):
    torch.save({name: torch.ones(1) for name in "dcba"}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"found something else: a, b, c$"):
        read_published_weights(tmp_path / "other.pth", "Net", "first.weight")
