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
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from vqgen.errors import CheckpointError, ConfigError, DataError
from vqgen.storage.documents import read_json
from vqgen.storage.files import write_each
from vqgen.storage.names import key_on_disk, shown, stays_inside

_OPEN_FILES = ((os.sep, "dev"), (os.sep, "proc"))
"""Beginnings of paths that stand for open files and devices, such as /dev/stdout."""

_MOST_COUNTED = 10_000
"""Older files that are counted, at most: the folder may be the home of the user."""

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
        whole: True for a folder that is one result, which should be new or empty. False for outputs that may lie beside
            other files.
        overwrite: True if the user asked to replace files.
        is_data: False marks a new folder, so that no search for images takes its pictures for data.

    Attributes:
        path: The folder.

    Raises:
        ConfigError: A file stands in the place of the folder or of one of its parents, it cannot be written, or it
            should be empty and has files.
    """

    def __init__(
        self,
        path: str | Path,
        suffix: str = ".png",
        *,
        whole: bool = False,
        overwrite: bool = False,
        is_data: bool = True,
    ) -> None:
        self.path = Path(path)
        self._suffix = suffix
        self._overwrite = overwrite
        self._is_data = is_data
        self._written: dict[str, Path] = {}
        _check_place(self.path)
        # Beside outputs of single files only files of their kind are of interest.
        self._older = set(islice(_files_in(self.path, "" if whole else suffix), _MOST_COUNTED))
        if whole and self._older and not overwrite:
            first = shown(min(self._older).relative_to(self.path).as_posix())
            raise ConfigError(
                f"-o {shown(str(self.path))}: should be a new or empty folder, found {first}{_more(self._older)}; "
                "--overwrite replaces the results of an earlier call, or choose another -o"
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
        if not stays_inside(name):
            raise DataError("its name leads out of the output folder; not written")
        return self.path / f"{Path(name).as_posix()}{self._suffix}"

    def write(self, files: Sequence[tuple[str, Writer]]) -> list[Path | Exception]:
        """Writes files, each whole or not at all.

        Args:
            files: Name and writer of each.

        Returns:
            For each its path, or the reason why it could not be written.
        """
        if not self._is_data:
            self._mark()
        results: dict[int, Path | Exception] = {}
        now: dict[str, tuple[int, Path]] = {}
        later: list[int] = []
        for number, (name, _) in enumerate(files):
            try:
                target = self.target(name)
                self._check_free(target)
            except DataError as error:
                results[number] = error
                continue
            if now.setdefault(key_on_disk(str(target)), (number, target)) != (number, target):
                later.append(number)  # whether it is the same file shows when the first one is written
        errors = write_each({target: files[number][1] for number, target in now.values()})
        for key, (number, target) in now.items():
            results[number] = errors.get(target, target)
            if target not in errors:
                self._written[key] = target
                self._older.discard(target)
        if later:
            results |= zip(later, self.write([files[number] for number in later]), strict=True)
        return [results[number] for number in range(len(files))]

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
        least = "at least " if len(self._older) == _MOST_COUNTED else ""
        return f"; {least}{count:,} older file{' is' if count == 1 else 's are'} there too" if count else ""

    def _mark(self) -> None:
        from vqgen.data.no_data import mark_output

        mark_output(self.path)
        self._is_data = True

    def _check_free(self, target: Path) -> None:
        """Refuses a file that this call has written.

        Raises:
            DataError: Another output has the same file.
        """
        earlier = self._written.get(key_on_disk(str(target)))
        if earlier is not None and (earlier == target or _is_one_file(earlier, target)):
            raise DataError(
                f"another output of this call is written to {shown(str(earlier))}; not written. Rename one of the two"
            )


def _files_in(folder: Path, suffix: str) -> Iterable[Path]:
    """Yields the files of a suffix in a folder and below it, but for hidden ones and those that systems put there."""
    from vqgen.data.no_data import is_hidden, is_of_system

    def counts(name: str) -> bool:
        return not is_hidden(name) and not is_of_system(name)

    for place, folders, names in os.walk(folder):
        folders[:] = filter(counts, folders)
        yield from (Path(place, name) for name in names if name.endswith(suffix) and counts(name))


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
        raise ConfigError(
            f"{shown(str(existing[0]))}: exists{_more(existing)}; --overwrite replaces, or choose another name"
        )


def _more(files: Collection[Path]) -> str:
    """Returns the number of files beside the one that a message names; empty if there is only that one."""
    return f", and {len(files) - 1:,} more" if len(files) > 1 else ""


def _holds_content(path: Path) -> bool:
    """Returns True for a file that a write would replace, a link to a file too. Devices and pipes lose nothing."""
    # Not `exists`, which raises for a name that is too long. A folder in the place of a file ends only that file.
    return os.path.lexists(path) and (path.is_file() or path.is_symlink()) and path.parts[:2] not in _OPEN_FILES


def _is_one_file(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist
        return False
