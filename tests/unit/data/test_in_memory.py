import hashlib
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from sklearn.datasets import load_digits

from vqgen.config import DataConfig
from vqgen.data import open_images
from vqgen.errors import DataError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (60, 28, 28), dtype=np.uint8)
TEST = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def write_mnist_like(root: Path, name: str = "FashionMNIST") -> Path:
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    for part, images in (("train", TRAIN), ("t10k", TEST)):
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(len(images), dtype=np.uint8) % 10)
    return raw


def config(source: str, root: Path | None = None, **fields: Any) -> DataConfig:
    return DataConfig(**{"source": source, "image_size": 16, "root": root and str(root), **fields})


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def refuse(url: str, *_: object, **__: object) -> None:
        asked.append(url)
        raise OSError("network is unreachable")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)
    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", refuse)
    return asked


def test_digits_are_scaled_named_and_split() -> None:
    splits = open_images(config("digits"), seed=0)
    assert (len(splits.train), len(splits.validation), splits.test) == (1618, 179, None)
    assert splits.label_map.names == tuple("0123456789")
    assert np.bincount(splits.validation.labels).min() >= 17
    assert sorted(splits.indices["train"] + splits.indices["validation"]) == list(range(1797))
    values, labels = load_digits(return_X_y=True)
    index = splits.indices["validation"][5]
    picture = splits.validation.read(5)
    assert picture.mode == "L"
    expected = np.rint(np.asarray(values)[index].reshape(8, 8) * 255 / 16)
    assert (np.asarray(picture) == expected).all()
    assert splits.validation.labels[5] == np.asarray(labels)[index]
    assert splits.validation.names[5] == f"{index:05d}"


def test_seed_moves_the_split_but_not_the_fingerprint() -> None:
    first, same, other = (open_images(config("digits"), seed) for seed in (0, 0, 1))
    assert first.indices == same.indices
    assert first.indices != other.indices
    assert first.fingerprint == same.fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("source", "folder", "label"),
    [("mnist", "MNIST", "3 - three"), ("fashion-mnist", "FashionMNIST", "Dress"), ("kmnist", "KMNIST", "tsu")],
)
def test_sets_like_mnist_are_read_and_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, folder: str, label: str
) -> None:
    asked = forbid_network(monkeypatch)
    write_mnist_like(tmp_path, folder)
    splits = open_images(config(source, tmp_path, validation_fraction=0.5), seed=0)
    assert asked == []
    assert (len(splits.train), len(splits.validation)) == (30, 30)
    assert np.bincount(splits.validation.labels).tolist() == [3] * 10
    assert splits.label_map.names[3] == label
    for images, indices in ((splits.train, splits.indices["train"]), (splits.validation, splits.indices["validation"])):
        assert images.names[2] == f"train/{indices[2]:05d}"
        assert (np.asarray(images.read(2)) == TRAIN[indices[2]]).all()
        assert images.labels[2] == indices[2] % 10
    assert splits.test is not None
    assert splits.indices["test"] == list(range(20))
    assert (np.asarray(splits.test.read(7)) == TEST[7]).all()
    assert splits.unreadable == {}


def test_root_defaults_to_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist_like(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert len(open_images(config("fashion-mnist"), seed=0).train) == 50


def test_fingerprint_follows_the_pixels_and_not_the_place(tmp_path: Path) -> None:
    raw = write_mnist_like(tmp_path / "a")
    write_mnist_like(tmp_path / "b")
    prints = [open_images(config("fashion-mnist", tmp_path / place), seed=0).fingerprint for place in "ab"]
    changed = TEST.copy()
    changed[3, 3, 3] ^= 1
    write_idx(raw / "t10k-images-idx3-ubyte", changed)
    prints.append(open_images(config("fashion-mnist", tmp_path / "a"), seed=0).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    kind = torchvision.datasets.CIFAR10
    pixels = RNG.integers(0, 256, (20, 3 * 32 * 32), dtype=np.uint8)

    def write(name: str, value: object) -> str:
        data = pickle.dumps(value)
        (folder / name).write_bytes(data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    batch = {"data": pixels, "labels": [index % 10 for index in range(20)]}
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", write("data_batch_1", batch)]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", write("test_batch", batch)]])
    names = {"label_names": [f"class {index}" for index in range(10)]}
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": write("batches.meta", names)})
    return pixels.reshape(20, 3, 32, 32).transpose(0, 2, 3, 1)


def test_pixels_and_names_of_cifar_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = forbid_network(monkeypatch)
    pixels = write_cifar10(tmp_path, monkeypatch)
    splits = open_images(config("cifar10", tmp_path, validation_fraction=0.5), seed=0)
    assert asked == []
    assert splits.label_map.names[4] == "class 4"
    picture = splits.train.read(3)
    assert picture.mode == "RGB"
    assert (np.asarray(picture) == pixels[splits.indices["train"][3]]).all()


@pytest.mark.parametrize(("source", "held"), [("kmnist", "KMNIST/raw"), ("cifar100", "cifar-100-python")])
def test_missing_files_name_folder_and_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, held: str
) -> None:
    asked = forbid_network(monkeypatch)
    with pytest.raises(DataError, match=rf"{source} cannot be opened in '.*{held}': .*--data\.download.*--data\.root"):
        open_images(config(source, tmp_path, download=False), seed=0)
    assert asked == []


@pytest.mark.parametrize("source", ["kmnist", "cifar100"])
def test_error_of_a_failed_download_names_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    asked = forbid_network(monkeypatch)
    with pytest.raises(DataError, match=r"network is unreachable.*Check the network.*--data\.root"):
        open_images(config(source, tmp_path), seed=0)
    assert asked


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    raw = write_mnist_like(tmp_path)
    images = raw / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:1000])
    with pytest.raises(DataError, match="fashion-mnist cannot be opened"):
        open_images(config("fashion-mnist", tmp_path), seed=0)


def test_different_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    raw = write_mnist_like(tmp_path)
    write_idx(raw / "train-labels-idx1-ubyte", np.zeros(59, dtype=np.uint8))
    with pytest.raises(DataError, match="60 images should have 60 labels below 10, found 59 labels"):
        open_images(config("fashion-mnist", tmp_path), seed=0)
