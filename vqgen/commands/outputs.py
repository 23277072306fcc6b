"""The rule for outputs, the same in every command: results of two calls never mix.

- A file that exists is replaced only with --overwrite.
- A folder that is one result (samples, reconstructions, decoded pictures, a code store) should be new or empty. With
  --overwrite the samples or the store of an earlier call are removed, and files of the same name are replaced. All
  other files stay, and the last line of the command counts them.
- A command that turns each file into one of the same name (compress, decompress) adds to a folder. The last line
  counts the files that were there before.
- Pictures are not written into a folder that the same command reads: the next call would take them for inputs.

All of this is checked before the work, not after minutes of it.
"""

import errno
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_each
from vqgen.storage.names import comparable, shown

_OPEN_FILES = ((os.sep, "dev"), (os.sep, "proc"))
"""Beginnings of paths that stand for open files and devices, such as /dev/stdout."""

Writer = Callable[[Path], object]
"""A function that writes the content of a file to a path."""


def check_files(paths: Iterable[str | Path | None], overwrite: bool) -> None:
    """Refuses to replace files, unless the user asked for it.

    Args:
        paths: The files that will be written; None for a file that nobody asked for.
        overwrite: True if the user asked to replace files.

    Raises:
        ConfigError: A file exists, is a folder, has a name that is too long, or lies below a file or in a folder that
            cannot be written.
    """
    files = [Path(path) for path in paths if path is not None]
    for file in files:
        _check_name(file)
        if os.path.isdir(file):
            raise ConfigError(f"{shown(str(file))}: should be a file, found a folder; choose another name")
        _check_place(file.parent)
    _refuse_existing(files, overwrite)


def check_not_read(folder: Path, inputs: Iterable[str]) -> None:
    """Refuses to write pictures into a folder that is searched for pictures.

    Args:
        folder: The folder of the outputs.
        inputs: The files and folders that the command reads.

    Raises:
        ConfigError: The folder is one of the inputs, or lies in one.
    """
    real = folder.resolve()
    for path in map(Path, inputs):
        if path.is_dir() and real.is_relative_to(path.resolve()):
            raise ConfigError(
                f"-o {shown(str(folder))}: should lie outside of {shown(str(path))}, or the next call would read its "
                "own outputs; choose another -o"
            )


class OutputFolder:
    """A folder that a command writes files into.

    Args:
        path: The folder; it is made by the first file.
        suffix: The suffix that is appended to names.
        overwrite: True if the user asked to replace files.
        is_data: False marks a new folder, so that no search for images takes its pictures for data.

    Attributes:
        path: The folder.

    Raises:
        ConfigError: A file stands in the place of the folder or of one of its parents, or it cannot be written.
    """

    def __init__(
        self, path: str | Path, suffix: str = ".png", *, overwrite: bool = False, is_data: bool = True
    ) -> None:
        self.path = Path(path)
        self._suffix = suffix
        self._overwrite = overwrite
        self._is_data = is_data
        self._claimed: dict[str, Path] = {}
        _check_place(self.path)
        self._older = set(_files_in(self.path))

    def check_empty(self) -> None:
        """Refuses a folder that has files, unless the user asked to replace files.

        Raises:
            ConfigError: The folder has files.
        """
        if self._older and not self._overwrite:
            first = shown(min(self._older).relative_to(self.path).as_posix())
            more = f" and {len(self._older) - 1:,} more" if len(self._older) > 1 else ""
            raise ConfigError(
                f"-o {shown(str(self.path))}: should be a new or empty folder, found {first}{more}; --overwrite "
                "replaces the results of an earlier call, or choose another -o"
            )

    def check_names(self, names: Iterable[str]) -> None:
        """Refuses to replace files, unless the user asked for it.

        Args:
            names: Names of the outputs. A name that cannot be written is left for `write` to report.

        Raises:
            ConfigError: A file exists.
        """
        targets = []
        for name in names:
            with suppress(DataError):
                targets.append(self.target(name))
        _refuse_existing(targets, self._overwrite)

    def target(self, name: str) -> Path:
        """Returns the file of an output.

        Args:
            name: Its name: a path relative to the folder.

        Raises:
            DataError: The name leads out of the folder, or no file can have it.
        """
        # Without this check, an archive or a store of a stranger could replace any file of the user.
        path = Path(name)
        if path.is_absolute() or path.drive or ".." in path.parts or "\0" in name or not path.name:
            raise DataError("its name leads out of the output folder; not written")
        return self.path / f"{path.as_posix()}{self._suffix}"

    def write(self, files: Sequence[tuple[str, Writer]]) -> list[Path | Exception]:
        """Writes files, each whole or not at all.

        Args:
            files: Name and writer of each.

        Returns:
            For each its path, or the reason why it could not be written.
        """
        results: list[Path | Exception] = []
        writers: dict[Path, Writer] = {}
        for name, writer in files:
            try:
                target = self._claim(name)
            except DataError as error:
                results.append(error)
                continue
            writers[target] = writer
            results.append(target)
        if writers and not self._is_data:
            self._mark()
        errors = write_each(writers)
        self._older.difference_update(target for target in writers if target not in errors)
        return [errors.get(result, result) if isinstance(result, Path) else result for result in results]

    def remove_samples(self) -> None:
        """Removes the pictures that the samples.json of an earlier call lists, and that file. All others stay."""
        listing = self.path / "samples.json"
        listed: list[str] = []
        with suppress(OSError, CheckpointError, KeyError, TypeError):
            listed = [str(image["file"]) for image in read_json(listing)["images"]]
        if not listed:
            return  # not a list of samples
        own = {self.path / name for name in [*listed, "grid.png", "samples.json"]}
        # Only files that lie in the folder: a list of a stranger may name others.
        for path in own & self._older:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder of the label has other files
                path.parent.rmdir()
        self._older -= own

    def beside(self, written: Iterable[Path] = ()) -> str:
        """Returns the end of the last line: the number of older files that are still in the folder, if there are some.

        Args:
            written: Files that this call has written without `write`.
        """
        count = len(self._older.difference(written))
        return f"; {count:,} older file{' is' if count == 1 else 's are'} there too" if count else ""

    def _mark(self) -> None:
        from vqgen.data.no_data import mark_output

        mark_output(self.path)
        self._is_data = True

    def _claim(self, name: str) -> Path:
        """Returns the file of an output that no other output of this call has.

        Raises:
            DataError: As `target`, or another output has the same file.
        """
        target = self.target(name)
        # Names that differ only in case or in their Unicode form are one file on some systems.
        earlier = self._claimed.setdefault(comparable(str(target)).casefold(), target)
        if earlier is not target and (earlier == target or _is_one_file(earlier, target)):
            raise DataError(
                f"another output of this call is written to {shown(str(earlier))}; not written. Rename one of the two"
            )
        return target


def _files_in(folder: Path) -> Iterable[Path]:
    """Yields the files in a folder and below it, without those that are hidden or that systems put there."""
    from vqgen.data.no_data import is_hidden, is_of_system

    def counts(name: str) -> bool:
        return not is_hidden(name) and not is_of_system(name)

    for place, folders, names in os.walk(folder):
        folders[:] = filter(counts, folders)
        yield from (Path(place, name) for name in names if counts(name))


def _check_place(folder: Path) -> None:
    """Refuses a folder that cannot be made, or into which nothing can be written.

    Raises:
        ConfigError: A file stands in the place of the folder or of one of its parents, or it cannot be written.
    """
    _check_name(folder)
    place = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), None)
    if place is None:
        return
    if not place.is_dir():
        raise ConfigError(f"-o: should be a folder, and {shown(str(place))} is a file; choose another -o")
    if not os.access(place, os.W_OK | os.X_OK):
        # Some network systems answer wrongly, so only a failed attempt counts.
        try:
            tempfile.TemporaryFile(dir=place).close()
        except OSError as error:
            raise ConfigError(
                f"-o {shown(str(place))}: cannot be written ({error.strerror}); choose another -o"
            ) from error


def _check_name(path: Path) -> None:
    """Refuses a name that no file can have.

    Raises:
        ConfigError: The system takes only shorter names.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ConfigError(f"{shown(str(path))}: {error.strerror}; choose a shorter name") from error


def _refuse_existing(targets: Sequence[Path], overwrite: bool) -> None:
    existing = [] if overwrite else [path for path in targets if _holds_content(path)]
    if existing:
        more = f", and {len(existing) - 1:,} more" if len(existing) > 1 else ""
        raise ConfigError(f"{shown(str(existing[0]))}: exists{more}; --overwrite replaces, or choose another name")


def _holds_content(path: Path) -> bool:
    """Returns True for a file that a write would replace, a link to a file too. Devices and pipes lose nothing."""
    # Not `exists`, which raises for a name that is too long. A folder in the place of a file ends only that file.
    return os.path.lexists(path) and (path.is_file() or path.is_symlink()) and path.parts[:2] not in _OPEN_FILES


def _is_one_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist
        return False
