"""The home folder and the cache of a user, who may have neither: a container often runs as a number without a name."""

import os
import tempfile
from pathlib import Path

from vqgen.errors import ConfigError
from vqgen.storage.refusals import warn_once


def has_home() -> bool:
    """Returns True if the system knows a home folder of this user, and the folder is there or can be made."""
    home = Path(os.path.expanduser("~"))
    if not home.is_absolute() or os.environ.get("HOME") == "":
        return False
    present = next(path for path in (home, *home.parents) if path.exists())
    return present == home or os.access(present, os.W_OK)


def provide_home() -> None:
    """Sets HOME to a private temporary folder, if the user has no home folder.

    Libraries that keep files at home would otherwise end the program, or make a folder named `~` in the present one.
    """
    if has_home():
        return
    folder = private_folder()
    os.environ["HOME"] = str(folder)
    warn_once("home", f"HOME: this user has no home folder, so files that are kept there go to {folder}")


def expanded(path: str | Path) -> Path:
    """Returns a path with `~` replaced by the home folder of the user.

    Raises:
        ConfigError: The user has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path}: '~' stands for a home folder, found none; write the path in full") from error


def cache_folder() -> Path:
    """Returns the folder for files that can be made again: `$XDG_CACHE_HOME/vqgen` or `~/.cache/vqgen`.

    A user without a home folder, or with one that cannot be written to, gets a private temporary folder.
    """
    name = os.environ.get("XDG_CACHE_HOME")
    if name or has_home():
        folder = (Path(name) if name else Path.home() / ".cache") / "vqgen"
        if _is_writable(folder):
            return folder
    return private_folder()


def private_folder() -> Path:
    """Returns a temporary folder that only this user can write to. It stays, so that the next process finds it.

    Other users may also make files in the temporary folder of the machine, so a folder that is not surely of this user
    is not taken: then there is one for this process alone.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"vqgen-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="vqgen-"))
    is_ours = not folder.is_symlink() and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
    # Windows has no such modes: there the temporary folder belongs to the user.
    is_private = os.name == "nt" or not status.st_mode & 0o077
    return folder if is_ours and is_private and os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="vqgen-"))


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
