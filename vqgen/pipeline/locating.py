"""The search for the pipeline folder of a CHECKPOINT: a run folder, a pipeline folder, or a repository on the Hub.

checkpoints/digits        a run folder, or a pipeline folder, of this machine
hf:user/name              the newest commit of a repository on the Hub
hf:user/name@revision     a branch, a tag or a commit of it
user/name                 the same as hf:user/name if there is no such folder; a warning says so
"""

import difflib
import re
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from vqgen.arguments import as_path
from vqgen.errors import CheckpointError, VQGenWarning
from vqgen.pipeline.folder import files_of, read_document
from vqgen.pipeline.hub import download

_EXPLICIT = "hf:"

_REPOSITORY = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")

_USUAL_FOLDERS = ("checkpoints", "checkpoints/pretrained")
"""Folders that runs are made in."""

_MOST_LISTED = 1000
"""Entries of a folder that are compared with a mistyped name."""


def locate_pipeline(name_or_path: str | Path) -> Path:
    """Finds the pipeline folder of a CHECKPOINT.

    Args:
        name_or_path: A run folder (its `pipeline/`), a pipeline folder, or the name of a repository on the Hub:
            `hf:user/name`, `hf:user/name@revision`, or `user/name` if there is no such folder.

    Raises:
        CheckpointError: There is no pipeline. The message lists what the folder contains instead, or similar names.
        ConfigError: The value is no path.
    """
    as_path("checkpoint", name_or_path, "a folder, or the name of a repository on the Hub")
    name = str(name_or_path)  # with a "./" at its beginning, which a path loses
    if name.startswith(_EXPLICIT):
        return _download(name)
    path = Path(name_or_path)
    for folder in (path / "pipeline", path):
        if (folder / "pipeline.json").is_file():
            return folder
    if path.is_dir():
        raise CheckpointError(_without_pipeline(path))
    if not _may_be_repository(path, name):
        hint = _nearest(path)
        if _REPOSITORY.fullmatch(name) and not path.exists():
            hint += f", and {_EXPLICIT}{name} names a repository on the Hub"
        raise CheckpointError(
            f"checkpoint {name!r}: there is no such folder{hint}; `vqgen run RECIPE` makes one in checkpoints/"
        )
    warnings.warn(
        f"checkpoint {name!r}: looked up on the Hub, because there is no such folder{_nearest(path)}; "
        f"{_EXPLICIT}{name} asks for it without this warning, and {_EXPLICIT}{name}@REVISION for one version",
        VQGenWarning,
        stacklevel=2,
    )
    return _download(_EXPLICIT + name)


def _download(name: str) -> Path:
    found = _REPOSITORY.fullmatch(name.removeprefix(_EXPLICIT))
    if found is None:
        raise CheckpointError(
            f"checkpoint {name!r}: should be {_EXPLICIT}USER/NAME or {_EXPLICIT}USER/NAME@REVISION; correct the name"
        )
    return download(found["name"], found["revision"], lambda folder: files_of(read_document(folder)))


def _without_pipeline(path: Path) -> str:
    found = sorted(entry.name for entry in path.iterdir())[:6]
    hint = (
        "its first stage is not finished; `vqgen run` goes on"
        if (path / "recipe.toml").is_file()
        else "give a run folder"
    )
    return f"checkpoint {path}: holds no pipeline, found {', '.join(found) or 'nothing'}; {hint}"


def _may_be_repository(path: Path, name: str) -> bool:
    """Returns True for `user/name`, unless it looks like a path: a mistyped path should not ask the network."""
    is_path = name.startswith((".", "/", "~", "checkpoints/")) or path.exists() or path.parent.is_dir()
    return not is_path and "@" not in name and _REPOSITORY.fullmatch(name) is not None


def _nearest(path: Path) -> str:
    """Returns the part of a message that names the local checkpoints with similar names, if there are some."""
    by_name: dict[str, str] = {}
    for folder in [path.parent, *map(Path, _USUAL_FOLDERS)]:
        for found in _checkpoints_in(folder):
            by_name.setdefault(found.name, str(found))
    nearest = difflib.get_close_matches(path.name, by_name, n=3, cutoff=0.6)
    return f" (the nearest: {', '.join(by_name[name] for name in nearest)})" if nearest else ""


def _checkpoints_in(folder: Path) -> Iterator[Path]:
    try:
        for entry in islice(folder.iterdir(), _MOST_LISTED):
            if any((entry / name).is_file() for name in ("pipeline.json", "recipe.toml", "pipeline/pipeline.json")):
                yield entry
    except OSError:  # there is no such folder, or it cannot be read
        return
