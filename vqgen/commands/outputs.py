"""Checks of output files that run before minutes of work, not after them."""

from collections.abc import Sequence
from pathlib import Path

from vqgen.errors import ConfigError


def check_targets(folder: Path, targets: Sequence[Path], overwrite: bool) -> None:
    """Refuses to replace files, unless the user asked for it.

    Args:
        folder: The folder of the files.
        targets: The files.
        overwrite: True if the user asked to replace files.

    Raises:
        ConfigError: A file exists, or a file stands in the place of the folder or of one of its parents.
    """
    if file := next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None):
        raise ConfigError(f"-o: should be a folder, and {file} is a file; choose another -o")
    existing = [path for path in targets if path.exists()]
    if existing and not overwrite:
        more = f", and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise ConfigError(f"{existing[0]}: exists{more}; --overwrite replaces, or choose another -o")
