"""Tensors on disk: safetensors files with one text as metadata, never a pickle."""

import os
import tempfile
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
    """Writes tensors and one text to a safetensors file, atomically.

    Args:
        path: The file.
        tensors: Name -> tensor, on any device.
        metadata: The text.

    Raises:
        CheckpointError: The file cannot be written, for instance because the disk is full.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"vqgen": metadata})
        except SafetensorError as error:
            raise CheckpointError(f"{path}: could not be written: {error}") from error


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, Tensor], str]:
    """Reads a file of `save_tensors`.

    Args:
        path: The file.
        device: The device to load the tensors to.

    Returns:
        The tensors by name, and the text.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path, device) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, (file.metadata() or {}).get("vqgen", "")


def load_text(path: Path) -> str:
    """Reads the text of a file of `save_tensors`, and none of its tensors.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("vqgen", "")


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Reads the shapes of the tensors in a file of `save_tensors`, by name, and none of their numbers.

    Raises:
        CheckpointError: The file is missing, cut or damaged.
    """
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextmanager
def text_path(path: Path) -> Iterator[Path]:
    """Yields a path for libraries that open only files whose names are text: the path itself, or a link to the file.

    Args:
        path: A file, maybe below a folder whose name has bytes that are no UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="vqgen-") as folder:
            link = Path(folder) / f"link{path.suffix}"
            os.symlink(os.path.abspath(path), link)
            yield link
    else:
        yield path


@contextmanager
def _opened(path: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    """Opens a file, and turns every error of reading it into a `CheckpointError` with a remedy."""
    try:
        with text_path(path) as named, safe_open(named, framework="pt", device=str(device)) as file:
            yield file
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file") from error
    except (SafetensorError, OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: is damaged or cut short ({error}); restore it or make it again") from error
