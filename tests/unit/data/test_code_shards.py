import os

import pytest
import torch

from vqgen.codes import Codes
from vqgen.data.code_shards import ShardContent, is_complete_shard, read_shard, shard_path, widen, write_shard
from vqgen.errors import DataError

NAMES = ("ä.png", 'a "b"\n.png', "c/d.png")


def content(codebook_size):
    """Three images with the smallest and the largest code."""
    top = torch.tensor([0, codebook_size - 1, codebook_size // 2])
    grids = {"top": top[:, None, None], "bottom": torch.randint(codebook_size, (3, 2, 2))}
    return ShardContent(Codes(grids), torch.tensor([0, -1, 2]), NAMES)


@pytest.mark.parametrize("codebook_size", [1, 256, 257, 32769, 65536])
def test_written_shard_comes_back(tmp_path, codebook_size):
    written = content(codebook_size)
    write_shard(tmp_path, "train", 3, written, codebook_size)
    path = shard_path(tmp_path, "train", 3)
    assert path.name == "train-00003.safetensors"
    found = read_shard(path)
    assert found.codes.levels == ("top", "bottom")
    for level, grid in widen(found.codes).grids.items():
        assert grid.dtype == torch.int64
        assert torch.equal(grid, written.codes.grids[level])
    assert torch.equal(found.labels, written.labels)
    assert found.names == NAMES


@pytest.mark.parametrize(("codebook_size", "num_bytes"), [(256, 1), (257, 2)])
def test_codes_stay_narrow_until_they_are_widened(tmp_path, codebook_size, num_bytes):
    write_shard(tmp_path, "train", 0, content(codebook_size), codebook_size)
    codes = read_shard(shard_path(tmp_path, "train", 0)).codes
    assert {grid.element_size() for grid in codes.grids.values()} == {num_bytes}
    assert torch.equal(codes[torch.tensor([2, 0])].top, codes.top[[2, 0]])  # these dtypes can be indexed


def test_shard_is_complete_only_with_its_number_of_images(tmp_path):
    write_shard(tmp_path, "train", 0, content(8), 8)
    path = shard_path(tmp_path, "train", 0)
    assert is_complete_shard(path, 3)
    assert not is_complete_shard(path, 4)
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_complete_shard(path, 3)
    assert not is_complete_shard(tmp_path / "missing.safetensors", 3)


@pytest.mark.parametrize("damaged", [b"", b"half of it"])
def test_damaged_shard_is_refused_by_name(tmp_path, damaged):
    (tmp_path / "a.safetensors").write_bytes(damaged)
    with pytest.raises(DataError, match=r"code store shard .*a\.safetensors: is missing, damaged or cut short .*again"):
        read_shard(tmp_path / "a.safetensors")


def test_odd_names_come_back_from_a_folder_whose_name_is_no_text(tmp_path):
    written = content(256)
    names = (os.fsdecode(b"caf\xe9"), "e\u0301", "a\nb", "\x1b[31m", '"')[: len(written.names)]
    names += tuple(f"{number}" for number in range(len(written.names) - len(names)))
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    write_shard(folder, "train", 0, ShardContent(written.codes, written.labels, names), 256)
    found = read_shard(shard_path(folder, "train", 0))
    assert found.names == names
    assert torch.equal(found.labels, written.labels)
