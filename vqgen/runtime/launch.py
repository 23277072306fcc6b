"""Joins the processes of a launch to share a request; one process needs no launcher and loads no Accelerate."""

import os

from vqgen.runtime.collective import Processes
from vqgen.runtime.compute import Compute


def join_processes(device: str, dtype: str) -> Processes:
    """Joins the processes that a launcher started; without a launcher there is one.

    Raises:
        ConfigError: There is no such device or number format, or not all processes joined.
    """
    compute = Compute.resolve(device, dtype)
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return Processes(0, 1, compute.device)
    # here, because Accelerate takes a second to load and most requests run in one process
    from vqgen.runtime.processes import make_accelerator

    accelerator = make_accelerator(compute)
    return Processes(accelerator.process_index, accelerator.num_processes, accelerator.device)
