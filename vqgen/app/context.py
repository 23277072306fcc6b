"""The things that all tabs of the page share: the models, the limits, and the folder of files for download."""

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.pipeline import VQGenPipeline
from vqgen.pipeline.locating import locate_pipeline
from vqgen.storage.names import shown

MODEL_QUEUE = "model"
"""The queue of all events that use a model: `concurrency_id`, so that one request at a time has the processor."""

_SECONDS_OF_A_FILE = 3600
"""Seconds after which a file for download is removed."""


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for.

    Attributes:
        upload_bytes: Bytes of an uploaded file.
        pixels: Pixels of an uploaded picture.
        images: Pictures of a request.
        queue: Requests that wait, of all users together.

    Raises:
        ConfigError: A limit is below 1.
    """

    upload_bytes: int = 20 * 10**6
    pixels: int = 16 * 2**20
    images: int = 100
    queue: int = 100

    def __post_init__(self) -> None:
        options = {"upload_bytes": "--max-upload", "pixels": "--max-pixels", "images": "--max-images"}
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"{options.get(name, '--queue')}: should be at least 1, found {value}")


class AppContext:
    """The models of the page, opened at their first use, with a lock each; the limits; a folder for downloads.

    A context manager: its end removes the files that the page has made.

    Args:
        checkpoints: The models to offer: run folders, pipeline folders or names of repositories on the Hub.
        limits: The most that one request may ask for.
        runs: The root of the run folders that the page shows.
        device: As in `VQGenPipeline.from_pretrained`.
        dtype: As in `VQGenPipeline.from_pretrained`.

    Attributes:
        models: Name -> CHECKPOINT as it was given.
        limits: As given.
        checkpoints: The root of the run folders.
        closing: Set when the server ends; long work then stops.

    Raises:
        CheckpointError: There is no such checkpoint.
    """

    def __init__(
        self,
        checkpoints: Sequence[str | Path],
        limits: Limits | None = None,
        runs: str | Path = "checkpoints",
        *,
        device: str = "auto",
        dtype: str = "float32",
    ) -> None:
        self.models = _named(checkpoints)
        self.limits = Limits() if limits is None else limits
        self.checkpoints = Path(runs)
        self._compute = (device, dtype)
        self._opened: dict[str, VQGenPipeline] = {}
        self._opening = threading.Lock()
        self._locks = {name: threading.Lock() for name in self.models}
        self.closing = threading.Event()
        self._folder = tempfile.TemporaryDirectory(prefix="vqgen-app-")

    def __enter__(self) -> "AppContext":
        """Returns the context itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the work that is running, and removes the files of the page."""
        self.closing.set()
        self._folder.cleanup()

    @property
    def names(self) -> list[str]:
        """The names of the models, in the order of the command line."""
        return list(self.models)

    @property
    def folder(self) -> Path:
        """The folder of uploaded files and of files for download. It is removed at the end."""
        return Path(self._folder.name)

    def path_of(self, name: str) -> str:
        """Returns the CHECKPOINT of a model as one would type it here: without the path of the current folder."""
        given = self.models[name]
        if isinstance(given, Path) and given.is_relative_to(Path.cwd()):
            return str(given.relative_to(Path.cwd()))
        return str(given)

    @property
    def uploads(self) -> Path:
        """The folder of uploaded files: a client may name no other file of this machine."""
        return self.folder / "gradio"

    def open(self, name: str) -> VQGenPipeline:
        """Returns a model; the first call reads it.

        Raises:
            ConfigError: The page has no model of this name.
            CheckpointError: It is damaged, or has no codes.
        """
        if not isinstance(name, str) or name not in self.models:
            raise ConfigError(f"model: should be one of {', '.join(map(shown, self.models))}, found {shown(str(name))}")
        with self._opening:
            if name not in self._opened:
                device, dtype = self._compute
                self._opened[name] = VQGenPipeline.from_pretrained(self.models[name], device=device, dtype=dtype)
            return self._opened[name]

    @contextmanager
    def use(self, name: str) -> Iterator[VQGenPipeline]:
        """Yields a model that nobody else uses meanwhile; errors as in `open`.

        A generator must not yield inside: its steps run in several threads, and a client may never ask for the next.
        """
        pipe = self.open(name)
        with self._locks[name]:
            yield pipe

    def new_path(self, file_name: str) -> Path:
        """Returns the path of a new file for download, in a folder of its own. Files of an hour ago are removed.

        Raises:
            DataError: The page has ended, and with it the folder of its files.
        """
        # Gradio serves its own copies, so that nobody misses an old one.
        for old in self.folder.glob("file-*"):
            with suppress(OSError):
                if old.stat().st_mtime < time.time() - _SECONDS_OF_A_FILE:
                    shutil.rmtree(old, ignore_errors=True)
        try:
            return Path(tempfile.mkdtemp(prefix="file-", dir=self.folder)) / file_name
        except FileNotFoundError as error:
            if not self.closing.is_set():
                raise
            # A request that was still at work. It has nobody left to answer.
            raise DataError("page: has ended; start `vqgen app` and ask again") from error


def shipped_models() -> list[Path]:
    """Returns the models that ship: those of the checkout, and none in an installation from a wheel."""
    folder = Path(str(files("vqgen"))).parent / "checkpoints" / "pretrained"
    return sorted(path.parent for path in folder.glob("*/pipeline.json"))


def _named(checkpoints: Sequence[str | Path]) -> dict[str, str | Path]:
    """Returns checkpoints by the names that the page shows: the last part of the path, numbered if it is there twice.

    Raises:
        CheckpointError: There is no such checkpoint, or none is given.
    """
    named: dict[str, str | Path] = {}
    for checkpoint in checkpoints:
        if not str(checkpoint).startswith("hf:"):
            locate_pipeline(checkpoint)
        # Resolved, so that "." and a link have a name too.
        base = str(checkpoint) if str(checkpoint).startswith("hf:") else Path(checkpoint).resolve().name
        name = base
        number = 2
        while name in named:
            name = f"{base} ({number})"
            number += 1
        named[name] = checkpoint
    if not named:
        raise CheckpointError(
            "CHECKPOINT: should be given, because no model ships with this installation; `vqgen run digits` makes "
            "checkpoints/digits"
        )
    return named
