"""The code store: the codes of a data set on disk, in shards that are read when they are needed.

    manifest.json              VQ-VAE, label map, splits, counts, hashes; written last, it marks a complete store
    train-00000.safetensors    a shard, see `code_shards`

A shard holds a fixed range of a split's images, so any number of processes writes the same files.

Legend: `b` batch, `h w` grid of a level.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqgen.arguments import as_index, as_items, as_path, as_text, found_text
from vqgen.codes import Codes
from vqgen.data.code_shards import ShardContent, is_complete_shard, read_shard, shard_path, widen, write_shard
from vqgen.data.label_map import LabelMap
from vqgen.errors import DataError
from vqgen.storage.documents import read_json
from vqgen.storage.files import sha256_of_file, write_json
from vqgen.storage.names import key_on_disk, listed, stays_inside

SHARD_SIZE = 1024
"""Images per shard."""

_FORMAT_VERSION = 1


@dataclass(frozen=True)
class StoreInfo:
    """The description of a store: everything in its manifest but the shards.

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
    """Writes this process's share of the shards. A thread writes a shard while the next one is encoded.

    Complete shards from an earlier call are not written again.

    Args:
        folder: The store's folder.
        info: The description of the store; its counts define the shards.
        encode: Computes the shard of a range of a split's images.
        rank: This process, in [0, world_size).
        world_size: Processes that write together.
        on_shard: Called with the number of images of each shard that is encoded or already there.

    Raises:
        DataError: A file cannot be written, for instance because the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        write: Future[None] | None = None
        for number, (split, shard, span) in enumerate(_shards(info.counts)):
            if number % world_size != rank:
                continue
            if not is_complete_shard(shard_path(folder, split, shard), len(span)):
                content = encode(split, span)
                if write is not None:
                    write.result()  # so that memory holds two shards at most
                write = writer.submit(write_shard, folder, split, shard, content, info.codebook_size)
            on_shard(len(span))
        if write is not None:
            write.result()


def finish_store(folder: Path, info: StoreInfo) -> str:
    """Writes the manifest of a store with all its shards. Only one process should call it.

    Returns:
        The manifest's SHA-256.

    Raises:
        DataError: A shard is missing.
    """
    shards = {}
    for split, shard, _ in _shards(info.counts):
        path = shard_path(folder, split, shard)
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
    # The manifest contains the shards' hashes, so its own hash stands for the whole store.
    return sha256_of_file(folder / "manifest.json")


class CodeStore:
    """A code store opened for reading. Opening it reads the manifest; a shard is read at its first use and cached.

    Args:
        folder: The store's folder.
        vqvae_hash: SHA-256 of the VQ-VAE that will use the codes; None accepts the codes of any VQ-VAE.

    Raises:
        DataError: `folder` contains no complete store, or the store of another VQ-VAE.
    """

    def __init__(self, folder: Path, vqvae_hash: str | None = None) -> None:
        folder = as_path("folder", folder, "the folder of a code store")
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
            # The store's own size: `SHARD_SIZE` may differ in another version of this program.
            self._shard_size: int = manifest["shard_size"]
            self._hashes: dict[str, str] = manifest["sha256"]
            _check_names(self.info.counts)
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(_bad_manifest(folder / "manifest.json", error)) from error
        self._shards: dict[Path, ShardContent] = {}
        if vqvae_hash is not None and as_text("vqvae_hash", vqvae_hash, "a SHA-256") != self.info.vqvae_hash:
            raise DataError(
                f"code store {folder}: should hold codes of the VQ-VAE {vqvae_hash}, found codes of another VQ-VAE "
                f"({self.info.vqvae_hash}); encode the images again"
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
        # The manifest does not list them; all shards have the same.
        split = next(name for name, count in self.info.counts.items() if count)
        return self._read(split, 0).codes.levels

    def batch(self, split: str, indices: Sequence[int]) -> tuple[Codes, Tensor]:
        """Returns the codes and the labels `(b,)` of the images at `indices` of a split, in that order.

        Raises:
            DataError: There is no such split or image, or a shard is missing or damaged.
        """
        count = self._count(split)
        items = as_items("indices", indices, "whole numbers, in an order")
        places = np.array([as_index("indices", each, error=DataError) for each in items], dtype=np.int64)
        if not len(places) or not 0 <= places.min() <= places.max() < count:
            found = f"{places.min()} to {places.max()}" if len(places) else "none"
            raise DataError(f"indices: should be from 0 to {count - 1}, the images of split {split!r}, found {found}")
        shards = places // self._shard_size
        rows = places % self._shard_size
        parts = []
        origins = []
        for shard in np.unique(shards):
            origin = np.flatnonzero(shards == shard)
            content = self._read(split, int(shard))
            chosen = torch.from_numpy(rows[origin])
            parts.append((content.codes[chosen], content.labels[chosen]))
            origins.append(origin)
        # The parts are grouped by shard: a permutation of `indices`. argsort inverts it, which restores the order.
        back = torch.from_numpy(np.argsort(np.concatenate(origins), kind="stable"))
        codes = widen(Codes.cat([codes for codes, _ in parts])[back])
        return codes, torch.cat([labels for _, labels in parts])[back]

    def contents(self, split: str) -> Iterator[ShardContent]:
        """Yields the shards of a split, in order, with int64 codes.

        Raises:
            DataError: A shard is missing or damaged. The shards before it have been yielded.
        """
        for shard, _ in self.shards(split):
            yield self.content(split, shard)

    def shards(self, split: str) -> Iterator[tuple[int, int]]:
        """Yields number and number of images of each shard of a split, by the manifest."""
        count = self._count(split)
        for shard, begin in enumerate(range(0, count, self._shard_size)):
            yield shard, min(self._shard_size, count - begin)

    def content(self, split: str, shard: int) -> ShardContent:
        """Returns one shard, with int64 codes.

        Raises:
            DataError: It is missing or damaged.
        """
        content = self._read(split, shard)
        return ShardContent(widen(content.codes), content.labels, content.names)

    def histogram(self, split: str) -> dict[str, Tensor]:
        """Counts the occurrences of each code in a split: level -> `(codebook_size,)` int64."""
        counts: dict[str, Tensor] = {}
        for content in self.contents(split):
            for level, grid in content.codes.grids.items():
                counts[level] = counts.get(level, 0) + torch.bincount(grid.flatten(), minlength=self.info.codebook_size)
        return counts

    def _count(self, split: str) -> int:
        """Returns the number of images of a split; raises a `DataError` if there is no such split."""
        if not isinstance(split, str) or split not in self.info.counts:
            raise DataError(f"split: should be one of {', '.join(self.splits)}, found {found_text(split)}")
        return self.info.counts[split]

    def _read(self, split: str, shard: int) -> ShardContent:
        path = shard_path(self.folder, split, shard)
        if path not in self._shards:
            content = read_shard(path)
            # A readable shard may still belong to another store, or differ in a bit of its codes.
            if sha256_of_file(path) != self._hashes.get(path.name):
                raise DataError(f"code store shard {path}: is not the one that the manifest lists; encode again")
            self._shards[path] = content
        return self._shards[path]


def _shards(counts: dict[str, int]) -> Iterator[tuple[str, int, range]]:
    """Yields the split, the number and the range of images of each shard of a store."""
    for split, count in counts.items():
        for shard, begin in enumerate(range(0, count, SHARD_SIZE)):
            yield split, shard, range(begin, min(begin + SHARD_SIZE, count))


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        raise DataError(
            f"{folder}: should contain a complete code store, found no manifest.json; make one with vqgen encode"
        )
    manifest = read_json(path, error=DataError, remedy="encode the images again")
    try:
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(_bad_manifest(path, error)) from error
    if version != _FORMAT_VERSION:
        raise DataError(
            f"{path}: should have format_version {_FORMAT_VERSION}, found {version}; use the vqgen that wrote it"
        )
    return manifest


def _check_names(splits: Collection[str]) -> None:
    """Refuses a split whose name leads out of the folder: shards, and what is made of them, are named after it."""
    wrong = [name for name in splits if not stays_inside(name) or PurePath(name).name != name]
    if wrong:
        raise DataError(f"a split should have the name of a file, found {wrong[0]!r}")
    if len(set(map(key_on_disk, splits))) < len(splits):
        raise DataError(f"splits should have names that differ on every file system, found {listed([*splits])}")


def _bad_manifest(path: Path, error: Exception) -> str:
    reason = f"lacks {error}" if isinstance(error, KeyError) else error
    return f"{path}: is not the manifest of a code store ({reason}); encode the images again"
