"""The start and the end of a request that several processes may share. A single process does without Accelerate."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vqgen.runtime.collective import Processes


def join_processes(device: str, dtype: str) -> "Processes":
    """Joins the processes that a launcher started. Without a launcher there is one process.

    Args:
        device: As in `Compute.resolve`.
        dtype: As in `Compute.resolve`.

    Raises:
        ConfigError: There is no such device or dtype, or not all processes joined.
    """
    # Imported here, because `group_left_at_end` is in use before torch, which takes seconds to load.
    from vqgen.runtime.collective import Processes
    from vqgen.runtime.compute import Compute

    compute = Compute.resolve(device, dtype)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Processes(0, 1, compute.device)
    # Imported here, because Accelerate takes a second to load and most requests run in one process.
    from vqgen.runtime.processes import make_accelerator

    accelerator = make_accelerator(compute)
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device)


@contextmanager
def group_left_at_end() -> Iterator[None]:
    """Leaves the group of processes that the block has joined. A group that was there before stays.

    A thread of a group that is still there when Python ends can abort the process, although its work is done.
    """
    was_joined = _is_joined()
    try:
        yield
    finally:
        if _is_joined() and not was_joined:
            sys.modules["torch.distributed"].destroy_process_group()


def _is_joined() -> bool:
    # A command that never loads torch has joined no group, and should not wait for the import.
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()
