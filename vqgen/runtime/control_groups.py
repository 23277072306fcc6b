"""The Linux control groups around this process: a container or a batch system limits memory and cores by them.

Sources: kernel documentation, "Control Group v2" and "Control Groups version 1".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Version = Literal[1, 2]

MOUNTS = Path("/sys/fs/cgroup")
"""The folder that control groups are mounted in."""

MEMBERSHIP = Path("/proc/self/cgroup")
"""The groups of the process, one line per hierarchy: `number:controllers:path`."""


def groups_of(controller: str, mounts: Path = MOUNTS, membership: Path = MEMBERSHIP) -> Iterator[tuple[Path, Version]]:
    """Yields the folder of every group around this process, innermost first, with the version of its files.

    Args:
        controller: memory or cpu.
        mounts: As `MOUNTS`.
        membership: As `MEMBERSHIP`.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 has one hierarchy, whose line names no controller. Version 1 has a hierarchy per controller.
        version: Version = 2 if controllers == "" else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        mount = mounts if version == 2 else mounts / controller
        # In a container, the path is often a path of the host, and the container's own group is the mounted folder.
        # So folders that do not exist are tried, too, and the mounted folder comes last.
        group = mount / path.lstrip("/")
        while group != mount:
            yield group, version
            group = group.parent
        yield mount, version
