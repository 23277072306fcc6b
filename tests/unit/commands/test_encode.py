import pytest
import torch
from codec_models import noise_picture
from PIL import Image

from vqgen.codes import Codes
from vqgen.commands import encode
from vqgen.commands.encode import _check_output
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, finish_store, write_shard
from vqgen.errors import ConfigError, DataError


def write_store(folder, name="x"):
    folder.mkdir()
    codes = Codes({"bottom": torch.zeros(1, 2, 2, dtype=torch.int64)})
    write_shard(folder, "images", 0, ShardContent(codes, torch.tensor([0]), (name,)), 4)
    finish_store(
        folder, StoreInfo(vqvae_hash="a", codebook_size=4, label_map=LabelMap(), counts={"images": 1}, indices={})
    )


def test_new_folder_and_code_store_may_be_written(tmp_path):
    write_store(tmp_path / "store")
    _check_output(tmp_path / "store", overwrite=True)
    _check_output(tmp_path / "new" / "deep", overwrite=False)


def test_empty_folder_may_be_written(tmp_path):
    (tmp_path / "empty").mkdir()
    _check_output(tmp_path / "empty", overwrite=False)


def test_folder_with_another_file_is_refused(tmp_path):
    write_store(tmp_path / "store")
    (tmp_path / "store" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="store: should be a new folder or a code store, found something else"):
        _check_output(tmp_path / "store", overwrite=True)


def test_foreign_manifest_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my site"}')
    with pytest.raises(ConfigError, match="should be a new folder or a code store"):
        _check_output(tmp_path, overwrite=True)


def test_current_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="should be another folder, found the current one"):
        _check_output(tmp_path, overwrite=True)


def test_store_is_replaced_only_on_request(tmp_path):
    write_store(tmp_path / "store")
    with pytest.raises(ConfigError, match=r"should be a new or empty folder, found images-.*, and 1 more; --overwrite"):
        _check_output(tmp_path / "store", overwrite=False)


@pytest.fixture
def run(call, opens, pipe, tmp_path):
    opens(pipe)
    (tmp_path / "in").mkdir()
    for seed, name in enumerate(["a.png", "b.png", "c.png"]):
        noise_picture(8, 8, seed=seed).save(tmp_path / "in" / name)
    return lambda *words: call(encode, "c", tmp_path / "in", "-o", tmp_path / "store", *words)


def stored(folder):
    return {name: codes for content in CodeStore(folder).contents("images") for name, codes in zip(
        content.names, content.codes, strict=True
    )}  # fmt: skip


def test_picture_that_takes_too_much_memory_leaves_the_others(run, pipe, tmp_path, capsys, monkeypatch):
    assert run() == 0
    sound = stored(tmp_path / "store")
    with Image.open(tmp_path / "in" / "b.png") as picture:
        bad = pipe.preprocess(picture)
    encode_tensor = type(pipe).encode_tensor

    def limited(self, images):
        if any((image == bad[0]).all() for image in images):
            raise MemoryError
        return encode_tensor(self, images)

    monkeypatch.setattr(type(pipe), "encode_tensor", limited)
    assert run("--overwrite") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("vqgen: b.png: there is not enough memory")
    assert printed.out.splitlines()[-1].endswith("; 1 of 3 images failed")
    found = stored(tmp_path / "store")
    assert list(found) == ["a.png", "c.png"]
    for name, codes in found.items():
        assert all(torch.equal(grid, sound[name].grids[level]) for level, grid in codes.grids.items())


def test_store_stays_as_it_was_if_no_picture_can_be_read(run, tmp_path):
    assert run() == 0
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DataError, match="none of the 3 images could be read"):
        run("--overwrite")
    assert len(stored(tmp_path / "store")) == 3
