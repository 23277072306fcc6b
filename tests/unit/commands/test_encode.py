import pytest
import torch

from vqgen.codes import Codes
from vqgen.commands.encode import _check_output
from vqgen.data import LabelMap, ShardContent, StoreInfo, finish_store, write_shard
from vqgen.errors import ConfigError


def write_store(folder, name="x"):
    folder.mkdir()
    codes = Codes({"bottom": torch.zeros(1, 2, 2, dtype=torch.int64)})
    write_shard(folder, "images", 0, ShardContent(codes, torch.tensor([0]), (name,)), 4)
    finish_store(
        folder, StoreInfo(vqvae_hash="a", codebook_size=4, label_map=LabelMap(), counts={"images": 1}, indices={})
    )


def test_new_folder_and_code_store_may_be_written(tmp_path):
    write_store(tmp_path / "store")
    _check_output(tmp_path / "store")
    _check_output(tmp_path / "new" / "deep")


def test_empty_folder_may_be_written(tmp_path):
    (tmp_path / "empty").mkdir()
    _check_output(tmp_path / "empty")


def test_folder_with_another_file_is_refused(tmp_path):
    write_store(tmp_path / "store")
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="store: should be a new folder or a code store, found something else"):
        _check_output(tmp_path / "store")


def test_foreign_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my site"}')
    with pytest.raises(ConfigError, match="should be a new folder or a code store"):
        _check_output(tmp_path)


def test_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="should be another folder, found the current one"):
        _check_output(tmp_path)
