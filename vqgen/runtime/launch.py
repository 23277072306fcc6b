"""The start of a request that several processes may share. A single process does without Accelerate."""

import os

from vqgen.runtime.collective import Processes
from vqgen.runtime.compute import Compute


def join_processes(device: str, dtype: str) -> Processes:
    """Joins the processes that a launcher started. Without a launcher there is one process.

    Args:
        device: As in `Compute.resolve`.
        dtype: As in `Compute.resolve`.

    Raises:
        ConfigError: There is no such device or dtype, or not all processes joined.
    """
    compute = Compute.resolve(device, dtype)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Processes(0, 1, compute.device)
    # Imported here, because Accelerate takes a second to load and most requests run in one process.
    from vqgen.runtime.processes import make_accelerator

    accelerator = make_accelerator(compute)
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device)
