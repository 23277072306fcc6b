import json

import pytest
import torch

import vqgen.data.code_shards as code_shards
import vqgen.data.code_store as code_store
from vqgen.codes import Codes
from vqgen.data import CodeStore, LabelMap, ShardContent, StoreInfo, finish_store, write_store
from vqgen.errors import DataError

COUNTS = {"train": 23, "validation": 5, "test": 10}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(code_store, "SHARD_SIZE", 10)


class Source:
    """The codes of a data set, and the shards that were asked for."""

    def __init__(self, codebook_size=256, seed=0):
        draws = torch.Generator().manual_seed(seed)
        self.codebook_size = codebook_size
        self.calls = []
        self.codes = {
            split: Codes(
                {
                    "top": torch.randint(codebook_size, (count, 2, 2), generator=draws),
                    "bottom": torch.randint(codebook_size, (count, 4, 4), generator=draws),
                }
            )
            for split, count in COUNTS.items()
        }
        for codes in self.codes.values():  # the ends of the range are there for certain
            codes.bottom[0, 0, 0] = 0
            codes.bottom[0, 0, 1] = codebook_size - 1
        self.labels = {split: torch.arange(count) % 4 - 1 for split, count in COUNTS.items()}
        self.names = {
            split: tuple(f'{split}/ä "{i}"\n{i % 3}.png' for i in range(count)) for split, count in COUNTS.items()
        }

    def __call__(self, split, span):
        self.calls.append((split, span.start, span.stop))
        rows = slice(span.start, span.stop)
        return ShardContent(self.codes[split][rows], self.labels[split][rows], self.names[split][rows])

    def info(self, vqvae_hash="a" * 64):
        indices = {split: list(range(count)) for split, count in COUNTS.items()}
        return StoreInfo(vqvae_hash, self.codebook_size, LabelMap(("x", "y", "z")), dict(COUNTS), indices)


def write(folder, source, world_size=1):
    for rank in range(world_size):
        write_store(folder, source.info(), source, rank=rank, world_size=world_size)
    return finish_store(folder, source.info())


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def folder(tmp_path, source):
    write(tmp_path / "codes", source)
    source.calls.clear()
    return tmp_path / "codes"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(
    ("codebook_size", "dtype"),
    [(2, torch.uint8), (256, torch.uint8), (257, torch.uint16), (32769, torch.uint16), (65536, torch.uint16)],
)
def test_codes_come_back_from_the_smallest_dtype(tmp_path, codebook_size, dtype):
    source = Source(codebook_size)
    write(tmp_path, source)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "train-00000.safetensors")
    assert stored["bottom"].dtype == dtype
    store = CodeStore(tmp_path, "a" * 64)
    assert store.info == source.info()
    assert (store.splits, store.levels) == (tuple(COUNTS), ("top", "bottom"))
    for split, count in COUNTS.items():
        codes, labels = store.batch(split, range(count))
        parts = list(store.contents(split))
        whole = Codes.cat([part.codes for part in parts])
        for level in ("top", "bottom"):
            assert codes.grids[level].dtype == whole.grids[level].dtype == torch.int64
            assert torch.equal(codes.grids[level], source.codes[split].grids[level])
            assert torch.equal(whole.grids[level], source.codes[split].grids[level])
            expected = torch.bincount(source.codes[split].grids[level].flatten(), minlength=codebook_size)
            assert torch.equal(store.histogram(split)[level], expected)
        assert torch.equal(labels, source.labels[split])
        assert torch.equal(torch.cat([part.labels for part in parts]), source.labels[split])
        assert tuple(name for part in parts for name in part.names) == source.names[split]
    assert source.codes["train"].bottom.max() == codebook_size - 1


def test_batch_follows_its_indices_in_any_order_with_duplicates_across_shards(folder, source):
    store = CodeStore(folder)
    for indices in ([22, 0, 9, 10, 0, 19, 20, 22], [5], list(range(22, -1, -1)), torch.randint(23, (200,)).tolist()):
        codes, labels = store.batch("train", indices)
        for level in store.levels:
            assert torch.equal(codes.grids[level], source.codes["train"].grids[level][indices])
        assert torch.equal(labels, source.labels["train"][indices])


def test_opening_reads_no_shard_and_each_is_read_once(folder, monkeypatch):
    read = []
    real = code_store.read_shard
    monkeypatch.setattr(code_store, "read_shard", lambda path: read.append(path.name) or real(path))
    store = CodeStore(folder)
    assert store.splits == tuple(COUNTS)
    assert read == []
    store.batch("train", [10, 3, 12])
    assert read == ["train-00000.safetensors", "train-00001.safetensors"]
    store.batch("train", [0, 11])
    assert len(read) == 2
    store.batch("test", [9])
    assert read[2:] == ["test-00000.safetensors"]


@pytest.mark.parametrize("world_size", [2, 3, 4, 9])
def test_any_number_of_processes_writes_the_same_bytes(tmp_path, folder, world_size):
    source = Source()
    write(tmp_path / "other", source, world_size)
    assert contents(tmp_path / "other") == contents(folder)
    spans = [("train", 0, 10), ("train", 10, 20), ("train", 20, 23), ("validation", 0, 5), ("test", 0, 10)]
    assert sorted(source.calls) == sorted(spans), "every image once"


def test_counts_of_finished_shards_are_reported(tmp_path, source):
    done = []
    write_store(tmp_path, source.info(), source, rank=1, world_size=2, on_shard=done.append)
    assert done == [10, 5]


def test_hash_covers_the_content_of_all_shards(tmp_path, folder, source):
    first = write(tmp_path / "a", source)
    assert write(tmp_path / "b", Source()) == first
    other = Source()
    other.labels["test"] = other.labels["test"].flip(0)
    assert write(tmp_path / "c", other) != first


def test_cut_write_is_completed_and_complete_shards_are_not_written_again(tmp_path, folder):
    class Cut(Exception):
        pass

    source = Source()

    def cut(split, span):
        if split == "validation":
            raise Cut
        return source(split, span)

    target = tmp_path / "cut"
    with pytest.raises(Cut):
        write_store(target, source.info(), cut)
    with pytest.raises(DataError, match=r"cut: should contain a complete code store, found no manifest\.json"):
        CodeStore(target)
    (target / "train-00001.safetensors").write_bytes(b"half of it")
    kept = target / "train-00000.safetensors"
    before = kept.stat().st_mtime_ns, kept.stat().st_ino
    source.calls.clear()
    write(target, source)
    assert source.calls == [("train", 10, 20), ("validation", 0, 5), ("test", 0, 10)]
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == before
    assert contents(target) == contents(folder)


def test_shard_of_another_length_is_written_again(tmp_path, folder):
    source = Source()
    folder.joinpath("train-00001.safetensors").write_bytes(folder.joinpath("train-00002.safetensors").read_bytes())
    write(folder, source)
    assert source.calls == [("train", 10, 20)]


def test_store_with_a_missing_shard_cannot_be_finished(tmp_path, source):
    write_store(tmp_path, source.info(), source, rank=0, world_size=2)
    with pytest.raises(DataError, match=r"train-00001\.safetensors: should have been written, but is missing"):
        finish_store(tmp_path, source.info())
    assert not (tmp_path / "manifest.json").exists()


def test_full_disk_leaves_nothing_half_written(tmp_path, source, monkeypatch):
    from safetensors import SafetensorError

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(code_shards, "save_file", full)
    with pytest.raises(DataError, match=r"train-00000\.safetensors: could not be written: No space left"):
        write_store(tmp_path / "codes", source.info(), source)
    assert list((tmp_path / "codes").iterdir()) == []


def test_store_of_another_vqvae_is_refused_by_hash(folder):
    CodeStore(folder, "a" * 64)
    with pytest.raises(
        DataError, match=rf"codes: should hold .* {'b' * 64}, found codes of another VQ-VAE \({'a' * 64}\)"
    ):
        CodeStore(folder, "b" * 64)


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "bit", "swapped"])
def test_damaged_shard_is_refused_by_name(folder, damage):
    path = folder / "train-00001.safetensors"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "swapped":
        path.write_bytes((folder / "test-00000.safetensors").read_bytes())
    elif damage == "bit":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "cut" else 0])
    store = CodeStore(folder)
    store.batch("train", [0, 9])
    with pytest.raises(DataError, match=r"code store shard .*train-00001\.safetensors: is .*; encode again"):
        store.batch("train", [10])


def test_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a complete code store, found no manifest\.json; make one with vqgen encode"):
        CodeStore(tmp_path)


DAMAGED = [b"", b"{", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_manifest_is_refused_by_name_in_one_line(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=r"manifest\.json: .*; encode the images again$") as caught:
        CodeStore(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["vqvae", "codebook_size", "labels", "counts", "indices", "shard_size", "sha256"])
def test_manifest_without_a_key_is_refused_by_name(folder, key):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=rf"manifest\.json: is not the manifest of a code store \(.*{key}"):
        CodeStore(folder)


def test_store_of_a_newer_format_is_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    with pytest.raises(DataError, match="should have format_version 1, found 2; use the vqgen that wrote it"):
        CodeStore(folder)


def test_store_is_read_with_its_own_shard_size(folder, source, monkeypatch):
    monkeypatch.setattr(code_store, "SHARD_SIZE", 3)
    codes, _ = CodeStore(folder).batch("train", [4, 22])
    assert torch.equal(codes.bottom, source.codes["train"].bottom[[4, 22]])


@pytest.mark.parametrize("split", ["../evil", "/evil", "a/b", "..", "", "a\0b"])
def test_split_whose_name_leads_elsewhere_is_refused(folder, split):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"counts": {split: 1}}))
    with pytest.raises(DataError, match="a split should have the name of a file, found "):
        CodeStore(folder)


def test_splits_that_are_one_file_on_some_systems_are_refused(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"counts": {"train": 1, "Train": 1}}))
    with pytest.raises(DataError, match="differ on every file system, found 'train', 'Train'"):
        CodeStore(folder)
