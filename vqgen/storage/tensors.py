"""Tensors on disk: safetensors files with one text beside the tensors, never a pickle."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vqgen.errors import CheckpointError
from vqgen.storage.files import atomic_path


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: str = "") -> None:
    """Writes tensors and one text to a safetensors file, all or nothing.

    Raises:
        CheckpointError: The file cannot be written, because the disk is full for instance.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"vqgen": metadata})
        except SafetensorError as error:
            raise CheckpointError(f"{path}: could not be written: {error}") from error


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], str]:
    """Reads what `save_tensors` wrote.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path, device) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, (file.metadata() or {}).get("vqgen", "")


def load_text(path: Path) -> str:
    """Reads the text that `save_tensors` wrote, and no tensor.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("vqgen", "")


@contextmanager
def _opened(path: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is damaged or cut short ({error}); restore it or make it again") from error
