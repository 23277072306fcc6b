"""The cores that this process may use."""

import os
from pathlib import Path

from vqgen.runtime.control_groups import MEMBERSHIP, MOUNTS, Version, groups_of


def available_cores(mounts: Path = MOUNTS, membership: Path = MEMBERSHIP) -> int:
    """Counts the cores that this process may use: its affinity, and the limits of its Linux control groups.

    Args:
        mounts: The folder that control groups are mounted in.
        membership: The file of the groups of the process.

    Returns:
        At least 1.

    Source: kernel documentation: cpu.max holds microseconds of work per period, and the period; version 1 has a file
    for each.
    """
    # Not every system has sched_getaffinity, the count that respects a limit on this process.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [_quota(folder, version) for folder, version in groups_of("cpu", mounts, membership)]
    return max(1, min([cores, *(quota for quota in quotas if quota is not None)]))


def _quota(folder: Path, version: Version) -> int | None:
    """Returns the whole number of cores of a group's limit; None if it has no limit or does not exist."""
    try:
        if version == 2:
            work, period = (folder / "cpu.max").read_text().split()
        else:
            work, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        # A group without a limit has the word "max" for it, or -1.
        return int(work) // int(period) if int(work) > 0 else None
    except (OSError, ValueError):
        return None
