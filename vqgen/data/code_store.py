"""The code store: the codes of a data set on disk, in shards that are read when they are needed.

    manifest.json              what made it, label map, splits, counts; written last, so a store that has one is whole
    train-00000.safetensors    level -> (n, h, w) uint8 or uint16; labels (n,) int64; names as UTF-8 lines

A shard holds a fixed range of a split's images, so any number of processes writes the same files.

Legend: `n` images of a shard, `b` batch, `h w` grid of a level.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vqgen.codes import Codes
from vqgen.data.label_map import LabelMap
from vqgen.errors import DataError
from vqgen.storage.files import atomic_path, sha256_of_file, write_json

SHARD_SIZE = 1024
"""Images per shard."""

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardContent:
    """The images of one shard.

    Attributes:
        codes: Their codes.
        labels: `(n,)` int64, -1 without a label.
        names: Their names in the source.
    """

    codes: Codes
    labels: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class StoreInfo:
    """What a store knows of itself, beside its shards.

    Attributes:
        vqvae_hash: SHA-256 of the VQ-VAE that made the codes.
        codebook_size: Entries of each codebook.
        label_map: Names of the labels.
        counts: Split -> number of images.
        indices: Split -> indices of its images in the source.
    """

    vqvae_hash: str
    codebook_size: int
    label_map: LabelMap
    counts: dict[str, int]
    indices: dict[str, list[int]]


def write_store(
    folder: Path,
    info: StoreInfo,
    encode: Callable[[str, range], ShardContent],
    *,
    rank: int = 0,
    world_size: int = 1,
    on_shard: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes this process's share of the shards, each in a thread while the next one is encoded.

    Shards that are there already and whole are kept.

    Args:
        folder: The store's folder.
        info: What the store is; its counts say which shards there are.
        encode: Computes the shard of a split's images in a range.
        rank: This process, in [0, world_size).
        world_size: Processes that write together.
        on_shard: Called with the number of images whenever a shard is encoded, or was there.

    Raises:
        DataError: A file cannot be written, because the disk is full for instance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        write: Future[None] | None = None
        for number, (split, shard, span) in enumerate(_shards(info.counts)):
            if number % world_size != rank:
                continue
            if not _is_whole(_shard_path(folder, split, shard), len(span)):
                content = encode(split, span)
                if write is not None:
                    write.result()  # memory holds two shards, no more
                write = writer.submit(write_shard, folder, split, shard, content, info.codebook_size)
            on_shard(len(span))
        if write is not None:
            write.result()


def write_shard(folder: Path, split: str, shard: int, content: ShardContent, codebook_size: int) -> None:
    """Writes one shard, all or nothing; each but a split's last has `SHARD_SIZE` images.

    Raises:
        DataError: The file cannot be written, because the disk is full for instance.
    """
    path = _shard_path(folder, split, shard)
    dtype = torch.uint8 if codebook_size <= 256 else torch.uint16
    tensors = {level: grid.to(dtype).cpu().contiguous() for level, grid in content.codes.grids.items()}
    tensors["labels"] = content.labels.cpu()
    names = "\n".join(json.dumps(name) for name in content.names).encode()
    tensors["names"] = torch.frombuffer(bytearray(names), dtype=torch.uint8)
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata={"levels": ",".join(content.codes.levels)})
        except SafetensorError as error:
            raise DataError(f"{path}: could not be written: {error}") from error


def finish_store(folder: Path, info: StoreInfo) -> str:
    """Writes the manifest, when all shards are there, and returns its SHA-256; call it in one process.

    Raises:
        DataError: A shard is missing.
    """
    shards = {}
    for split, shard, _ in _shards(info.counts):
        path = _shard_path(folder, split, shard)
        if not path.is_file():
            raise DataError(f"{path}: should have been written, but is missing; extract the codes again")
        shards[path.name] = sha256_of_file(path)
    manifest = {
        "format_version": _FORMAT_VERSION,
        "vqvae": info.vqvae_hash,
        "codebook_size": info.codebook_size,
        "labels": list(info.label_map.names),
        "counts": info.counts,
        "shard_size": SHARD_SIZE,
        "sha256": shards,
        "indices": info.indices,
    }
    write_json(folder / "manifest.json", manifest)
    return sha256_of_file(folder / "manifest.json")


class CodeStore:
    """A code store opened for reading. Opening reads the manifest; shards are read when they are first used.

    Args:
        folder: The store's folder.
        vqvae_hash: The VQ-VAE that the codes are to be used with; None accepts any.

    Raises:
        DataError: There is no whole store in `folder`, or another VQ-VAE made it.
    """

    def __init__(self, folder: Path, vqvae_hash: str | None = None) -> None:
        self.folder = folder
        manifest = _read_manifest(folder)
        try:
            self.info = StoreInfo(
                vqvae_hash=manifest["vqvae"],
                codebook_size=manifest["codebook_size"],
                label_map=LabelMap(tuple(manifest["labels"])),
                counts=manifest["counts"],
                indices=manifest["indices"],
            )
            self._shard_size: int = manifest["shard_size"]
            self._hashes: dict[str, str] = manifest["sha256"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(_no_manifest(folder / "manifest.json", error)) from error
        self._shards: dict[Path, ShardContent] = {}
        if vqvae_hash is not None and vqvae_hash != self.info.vqvae_hash:
            raise DataError(
                f"code store {folder}: was made by another VQ-VAE ({self.info.vqvae_hash}) "
                f"than the one to be used ({vqvae_hash}); encode the images again with this one"
            )

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.info.counts)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that make up the store, in its folder."""
        return ("manifest.json", *self._hashes)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """Names of the levels, coarse to fine."""
        split = next(name for name, count in self.info.counts.items() if count)
        return self._read(split, 0).codes.levels

    def batch(self, split: str, indices: Sequence[int]) -> tuple[Codes, Tensor]:
        """Codes and labels `(b,)` of the images at `indices` of a split."""
        places = np.asarray(indices, dtype=np.int64)
        shards, rows = places // self._shard_size, places % self._shard_size
        parts, order = [], []
        for shard in np.unique(shards):
            where = np.flatnonzero(shards == shard)
            content = self._read(split, int(shard))
            chosen = torch.from_numpy(rows[where])
            parts.append((content.codes[chosen], content.labels[chosen]))
            order.append(where)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
        return _widen(Codes.cat([codes for codes, _ in parts])[back]), torch.cat([labels for _, labels in parts])[back]

    def contents(self, split: str) -> Iterator[ShardContent]:
        """The shards of a split, in order."""
        for shard in range(-(-self.info.counts[split] // self._shard_size)):
            content = self._read(split, shard)
            yield ShardContent(_widen(content.codes), content.labels, content.names)

    def histogram(self, split: str) -> dict[str, Tensor]:
        """Level -> how often each code occurs in a split, `(codebook_size,)` int64."""
        counts: dict[str, Tensor] = {}
        for content in self.contents(split):
            for level, grid in content.codes.grids.items():
                counts[level] = counts.get(level, 0) + torch.bincount(grid.flatten(), minlength=self.info.codebook_size)
        return counts

    def _read(self, split: str, shard: int) -> ShardContent:
        path = _shard_path(self.folder, split, shard)
        if path not in self._shards:
            content = _read_shard(path)
            if sha256_of_file(path) != self._hashes.get(path.name):
                raise DataError(f"code store shard {path}: is not the one that the manifest names; encode again")
            self._shards[path] = content
        return self._shards[path]


def _shards(counts: dict[str, int]) -> Iterator[tuple[str, int, range]]:
    """Split, number and range of images of every shard of a store."""
    for split, count in counts.items():
        for shard, begin in enumerate(range(0, count, SHARD_SIZE)):
            yield split, shard, range(begin, min(begin + SHARD_SIZE, count))


def _shard_path(folder: Path, split: str, shard: int) -> Path:
    return folder / f"{split}-{shard:05d}.safetensors"


def _read_shard(path: Path) -> ShardContent:
    try:
        with safe_open(path, framework="pt") as file:
            levels = (file.metadata() or {})["levels"].split(",")
            grids = {level: _as_indexable(file.get_tensor(level)) for level in levels}
            names = bytes(file.get_tensor("names").numpy()).decode().split("\n")
            return ShardContent(Codes(grids), file.get_tensor("labels"), tuple(json.loads(name) for name in names))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"code store shard {path}: is missing, damaged or cut short ({error}); encode again") from error


def _as_indexable(grid: Tensor) -> Tensor:
    """The same memory in a type that torch can index: it has few operations on uint16."""
    return grid.view(torch.int16) if grid.dtype == torch.uint16 else grid


def _widen(codes: Codes) -> Codes:
    """Stored codes as int64; negative int16 stand for the upper half of uint16."""
    return Codes({level: grid.to(torch.int64) & 0xFFFF for level, grid in codes.grids.items()})


def _is_whole(path: Path, count: int) -> bool:
    try:
        return len(_read_shard(path).names) == count
    except DataError:
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format_version"]
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: holds no whole code store (manifest.json is missing); make one with vqgen encode"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(_no_manifest(path, error)) from error
    if version != _FORMAT_VERSION:
        raise DataError(
            f"{path}: should have format_version {_FORMAT_VERSION}, found {version}; use the vqgen that wrote it"
        )
    return manifest


def _no_manifest(path: Path, error: Exception) -> str:
    reason = f"lacks {error}" if isinstance(error, KeyError) else error
    return f"{path}: is no manifest of a code store ({reason}); encode the images again"
