"""The memory that a container or a batch system allows this process: limits of its Linux control groups.

Sources: kernel documentation, "Control Group v2" (memory.max, memory.current, memory.stat) and "Memory Resource
Controller" (version 1: memory.limit_in_bytes, memory.usage_in_bytes).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class _Files:
    """Names of the files of one version of control groups."""

    limit: str
    usage: str
    reclaimable: str


_V2 = _Files("memory.max", "memory.current", "inactive_file")
_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_in_group(mounts: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Computes what the control groups of this process leave it: the least over the groups around it.

    Cached file pages count as free where the kernel gives them up on demand, as they do in what the machine has free.

    Args:
        mounts: Where control groups are mounted.
        membership: The groups of the process, a line for each hierarchy: `number:controllers:path`.

    Returns:
        Bytes, at least 0; None where no group limits the memory.
    """
    free = [room for folder, files in _memory_folders(mounts, membership) if (room := _free(folder, files)) is not None]
    return min(free, default=None)


def _memory_folders(mounts: Path, membership: Path) -> Iterator[tuple[Path, _Files]]:
    """The folder of every group around this process, innermost first, in both versions."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, files = mounts, _V2
        elif "memory" in controllers.split(","):
            mount, files = mounts / "memory", _V1
        else:
            continue
        # in a container the path is often that of the host, and what is mounted is the container's own group
        group = mount / path.lstrip("/")
        while group != mount:
            yield group, files
            group = group.parent
        yield mount, files


def _free(folder: Path, files: _Files) -> int | None:
    """What one group leaves; None where it has no limit, or no such files."""
    try:
        limit = int((folder / files.limit).read_text())
        used = int((folder / files.usage).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):  # "max" is no number
        return None
    return max(0, limit - used + int(statistics.get(files.reclaimable, 0)))
