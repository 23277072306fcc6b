"""One bad file ends only itself: the loop of every command that works on many files.

A file that cannot be read, decoded, held in memory or written is one line on stderr, `NAME: cause; remedy`. The work
goes on with the next one, and the exit code is 1. Three things end the command:

- an option that no file can meet (`ConfigError`, `CheckpointError`): exit code 2;
- a full or read-only disk, because no later file could be written: exit code 2, and the line says what is written;
- the only file fails: its failure is the error of the command, exit code 2.

A file that is cut short may give a preview, if the user asked for it. This is a line on stderr and exit code 1, too.
"""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from vqgen.errors import BitstreamError, DataError
from vqgen.storage.names import counted, shown

T = TypeVar("T")
R = TypeVar("R")

_NO_MORE_WRITES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of one write that all later writes will have too."""

_REMEDIES = {
    errno.EISDIR: "a folder has the name of its output; rename the folder, or choose another -o",
    errno.ENOTEMPTY: "a folder has the name of its output; rename the folder, or choose another -o",
    errno.EEXIST: "a file has the name of the folder of its output; rename the file, or choose another -o",
    errno.ENOTDIR: "a file has the name of the folder of its output; rename the file, or choose another -o",
    errno.EACCES: "change the permissions, or choose another -o",
    errno.EPERM: "change the permissions, or choose another -o",
    errno.ENOENT: "check the link, or leave it out",
}
"""Error of the file system -> the remedy."""


class Tally:
    """Counts the files of a command that are done, and names those that failed.

    Args:
        total: Number of files.
        what: Name of a file in the singular, for messages.
        too_long: The remedy for a name that is too long with the suffix that is added.

    Attributes:
        total: Number of files.
        done: Number of files whose output is written.
        failed: Number of files that failed.
        previews: Number of files that are cut short, of which a preview is written.
    """

    def __init__(self, total: int, what: str = "image", too_long: str = "rename it") -> None:
        self.total = total
        self.done = 0
        self.failed = 0
        self.previews = 0
        self._what = what
        self._too_long = too_long

    def work(
        self, batch: Sequence[tuple[str, T]], act: Callable[[Sequence[tuple[str, T]]], Sequence[R | Exception]]
    ) -> list[tuple[str, R]]:
        """Works on some files together. If that fails, it works on each alone, so that only the bad one fails.

        Args:
            batch: Name and content of each file.
            act: Returns a result for each file, or the reason why it failed. It may be called again with a part.

        Returns:
            Name and result of each file that did not fail, in order.

        Raises:
            DataError: The disk is full, or the only file of the command failed.
        """
        try:
            results = act(batch)
        except Exception as error:
            if not is_of_one_file(error):
                raise
            if len(batch) > 1:
                return [done for item in batch for done in self.work([item], act)]
            results = [error]
        sound: list[tuple[str, R]] = []
        for (name, _), result in zip(batch, results, strict=True):
            if isinstance(result, Exception):
                self.fail(name, result)
            else:
                sound.append((name, result))
        return sound

    def read(self, files: Iterable[tuple[str, T]], read: Callable[[T], R]) -> Iterator[tuple[str, R]]:
        """Yields name and content of each file that can be read.

        Args:
            files: Name and place of each.
            read: Reads one.
        """
        for each in files:
            yield from self.work([each], lambda batch: [read(batch[0][1])])

    def write(
        self, batch: Sequence[tuple[str, T]], act: Callable[[Sequence[tuple[str, T]]], Sequence[R | Exception]]
    ) -> list[tuple[str, R]]:
        """Writes files; as `work`, and counts the files that are written."""

        def act_and_count(part: Sequence[tuple[str, T]]) -> Sequence[R | Exception]:
            results = act(part)
            # Before the failures are named: a full disk ends the command with the number of files that are written.
            self.done += sum(not isinstance(result, Exception) for result in results)
            return results

        return self.work(batch, act_and_count)

    def fail(self, name: str, error: Exception, count: int = 1) -> None:
        """Names a file that failed, and counts it.

        Args:
            name: The file.
            error: The reason.
            count: Number of files that failed with it.

        Raises:
            DataError: The disk is full, or the only file of the command failed.
        """
        self.failed += count
        text = failure_text(name, error)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            text += f" with its new suffix; {self._too_long}"
        if isinstance(error, OSError) and error.errno in _NO_MORE_WRITES:
            raise DataError(
                f"{text}; stopped. {self.done:,} of {self.total:,} {self._what}s are written and whole. Choose another "
                "-o, or make room and call again with --overwrite"
            ) from error
        if self.total == count == self.failed:
            raise (BitstreamError if isinstance(error, BitstreamError) else DataError)(text) from error
        print(f"vqgen: {text}", file=sys.stderr, flush=True)

    def preview(self, name: str, cause: str, count: int = 1) -> None:
        """Names a file that is cut short, and counts its previews.

        Args:
            name: The file.
            cause: The cut.
            count: Number of its pictures.
        """
        self.previews += count
        what = f"a preview of it that no checksum covers is written as its {self._what}"
        if count > 1:
            what = f"previews of them that no checksum covers are written as their {self._what}s"
        print(f"vqgen: {shown(f'{name}: {cause}')}; {what}", file=sys.stderr, flush=True)

    def check_any(self, of: str, act: str) -> None:
        """Checks that at least one file did not fail.

        Args:
            of: The place of the files, for the message.
            act: What could not be done with them, for the message.

        Raises:
            DataError: All failed.
        """
        if not self.done:
            raise DataError(f"{of}: none of the {counted(self.total, self._what)} could be {act}")

    def ending(self) -> str:
        """Returns the end of the last line of the command: the numbers of failures and previews; empty without them."""
        failed = f"; {self.failed:,} of {counted(self.total, self._what)} failed" if self.failed else ""
        what = "is a preview of a cut file" if self.previews == 1 else "are previews of cut files"
        return failed + (f"; {self.previews:,} of {counted(self.total, self._what)} {what}" if self.previews else "")

    @property
    def exit_code(self) -> int:
        """0 if no file failed or was cut short, or else 1."""
        return 1 if self.failed or self.previews else 0


def is_of_one_file(error: Exception) -> bool:
    """Returns True for an error that the next file need not have: damage, a wrong value, a write, too little memory."""
    return isinstance(error, DataError | BitstreamError | OSError) or _is_out_of_memory(error)


def failure_text(name: str, error: Exception) -> str:
    """Returns the line about a file that failed: its name, the cause and the remedy."""
    name = shown(name)
    if _is_out_of_memory(error):
        return f"{name}: there is not enough memory for it; scale it down or crop it, or close other programs"
    if isinstance(error, OSError):
        remedy = _REMEDIES.get(error.errno or 0)
        cause = os.strerror(error.errno) if error.errno else str(error)
        return f"{name}: {cause}" + (f"; {remedy}" if remedy else "")
    text = shown(str(error))
    # The readers of images name the file themselves, with its folder.
    is_named = re.search(rf"""(^|[/'"\\\\]){re.escape(name)}['":]""", text)
    return text if is_named else f"{name}: {text}"


def _is_out_of_memory(error: Exception) -> bool:
    from vqgen.runtime.memory_errors import is_out_of_memory

    return is_out_of_memory(error)
