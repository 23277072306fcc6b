"""The memory that a container or a batch system allows this process, from the limits of its Linux control groups.

Sources: kernel documentation, "Control Group v2" (memory.max, memory.current, memory.stat) and "Memory Resource
Controller" (version 1: memory.limit_in_bytes, memory.usage_in_bytes).
"""

from dataclasses import dataclass
from pathlib import Path

from vqgen.runtime.control_groups import MEMBERSHIP, MOUNTS, Version, groups_of


@dataclass(frozen=True)
class _Files:
    """The file names of one version of control groups."""

    limit: str
    usage: str
    reclaimable: str


_NO_LIMIT = 2**62
"""Version 1 writes the largest number of whole pages in a signed 64-bit integer for a group without a limit."""

_FILES: dict[Version, _Files] = {
    2: _Files("memory.max", "memory.current", "inactive_file"),
    1: _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Version of the control groups -> their files."""


def free_in_group(mounts: Path = MOUNTS, membership: Path = MEMBERSHIP) -> int | None:
    """Computes the free memory in the control groups of this process: the minimum over the groups around it.

    Cached file pages that the kernel gives up on demand count as free. The free memory of the machine counts them, too.

    Args:
        mounts: The folder that control groups are mounted in.
        membership: The file of the groups of the process.

    Returns:
        Bytes, at least 0, or None if no group limits the memory.
    """
    rooms = [_free(folder, _FILES[version]) for folder, version in groups_of("memory", mounts, membership)]
    return min((room for room in rooms if room is not None), default=None)


def _free(folder: Path, files: _Files) -> int | None:
    """Returns the free bytes of one group, or None if it has no limit or does not exist."""
    try:
        limit = int((folder / files.limit).read_text())
        used = int((folder / files.usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # a group without a limit has the word "max" for it
        return None
    if limit >= _NO_LIMIT:
        return None
    return max(0, limit - used + int(statistics.get(files.reclaimable, 0)))
