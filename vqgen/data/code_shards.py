"""The files of a code store: each shard holds the codes, labels and names of a range of images.

    train-00000.safetensors    level -> (n, h, w) uint8 or uint16; labels (n,) int64; names as UTF-8 lines

Legend: `n` images of a shard, `h w` grid of a level.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vqgen.codes import Codes
from vqgen.errors import DataError
from vqgen.storage.documents import parse_json
from vqgen.storage.files import atomic_path
from vqgen.storage.tensors import text_path


@dataclass(frozen=True)
class ShardContent:
    """The content of one shard.

    Attributes:
        codes: The codes of its images.
        labels: `(n,)` int64, -1 for an image without a label.
        names: The names of its images in the source.
    """

    codes: Codes
    labels: Tensor
    names: tuple[str, ...]


def shard_path(folder: Path, split: str, shard: int) -> Path:
    """Returns the path of shard number `shard` of a split."""
    return folder / f"{split}-{shard:05d}.safetensors"


def write_shard(folder: Path, split: str, shard: int, content: ShardContent, codebook_size: int) -> None:
    """Writes one shard, all or nothing. Each shard but the last of a split should have `SHARD_SIZE` images.

    Raises:
        DataError: The file cannot be written, for instance because the disk is full.
    """
    path = shard_path(folder, split, shard)
    # A code of at most 256 entries fits a byte; int64 would take eight times the space.
    dtype = torch.uint8 if codebook_size <= 256 else torch.uint16
    tensors = {level: grid.to(dtype).cpu().contiguous() for level, grid in content.codes.grids.items()}
    tensors["labels"] = content.labels.cpu()
    # A name may hold a line break: JSON escapes it, so that a line is a name.
    names = "\n".join(json.dumps(name) for name in content.names).encode()
    tensors["names"] = torch.frombuffer(bytearray(names), dtype=torch.uint8)
    with atomic_path(path) as temporary:
        try:
            # A safetensors file does not keep the order of its tensors, but levels run from coarse to fine.
            save_file(tensors, temporary, metadata={"levels": ",".join(content.codes.levels)})
        except SafetensorError as error:
            raise DataError(f"{path}: could not be written: {error}") from error


def read_shard(path: Path) -> ShardContent:
    """Reads one shard; its codes stay as narrow as they are stored until `widen` makes them int64.

    Raises:
        DataError: The file is missing, damaged or cut short.
    """
    try:
        with text_path(path) as named, safe_open(named, framework="pt") as file:
            levels = (file.metadata() or {})["levels"].split(",")
            grids = {level: _as_indexable(file.get_tensor(level)) for level in levels}
            names = bytes(file.get_tensor("names").numpy()).decode().split("\n")
            parsed = tuple(parse_json(name, path, error=DataError, remedy="encode again") for name in names)
            return ShardContent(Codes(grids), file.get_tensor("labels"), parsed)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise DataError(f"code store shard {path}: is missing, damaged or cut short ({error}); encode again") from error


def widen(codes: Codes) -> Codes:
    """Returns codes from `read_shard` as int64."""
    # int16 shows the upper half of uint16 as negative numbers. In int64 their last 16 bits are the code again; codes
    # that were read as uint8 pass unchanged.
    return Codes({level: grid.to(torch.int64) & 0xFFFF for level, grid in codes.grids.items()})


def is_complete_shard(path: Path, count: int) -> bool:
    """Returns True if a file is a readable shard of `count` images."""
    try:
        return len(read_shard(path).names) == count
    except DataError:
        return False


def _as_indexable(grid: Tensor) -> Tensor:
    """Views a grid in a dtype that torch can index, without a copy."""
    # torch has few operations on uint16. To widen here would keep a cached shard in four times the memory.
    return grid.view(torch.int16) if grid.dtype == torch.uint16 else grid
