"""The memory that a container or a batch system allows this process, from the limits of its Linux control groups.

Sources: kernel documentation, "Control Group v2" (memory.max, memory.current, memory.stat) and "Memory Resource
Controller" (version 1: memory.limit_in_bytes, memory.usage_in_bytes).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Files:
    """The file names of one version of control groups."""

    limit: str
    usage: str
    reclaimable: str


_NO_LIMIT = 2**62
"""Version 1 writes the largest number of whole pages in a signed 64-bit integer for a group without a limit."""

_V2 = _Files("memory.max", "memory.current", "inactive_file")
_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_in_group(mounts: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Computes the free memory in the control groups of this process: the minimum over the groups around it.

    Cached file pages that the kernel gives up on demand count as free. The free memory of the machine counts them, too.

    Args:
        mounts: The folder that control groups are mounted in.
        membership: The groups of the process, one line per hierarchy: `number:controllers:path`.

    Returns:
        Bytes, at least 0, or None if no group limits the memory.
    """
    free = [room for folder, files in _memory_folders(mounts, membership) if (room := _free(folder, files)) is not None]
    return min(free, default=None)


def _memory_folders(mounts: Path, membership: Path) -> Iterator[tuple[Path, _Files]]:
    """Yields the folder of every group around this process, innermost first, in both versions."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy, whose line names no controller. Version 1 has a hierarchy per controller.
        if controllers == "":
            mount = mounts
            files = _V2
        elif "memory" in controllers.split(","):
            mount = mounts / "memory"
            files = _V1
        else:
            continue
        # In a container, the path is often a path of the host, and the container's own group is the mounted folder.
        # So folders that do not exist are tried, too, and the mounted folder comes last.
        group = mount / path.lstrip("/")
        while group != mount:
            yield group, files
            group = group.parent
        yield mount, files


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
