"""The processes of a launch, joined by Hugging Face Accelerate. No other module of this package imports it."""

import os
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import distributed

from vqgen.errors import ConfigError
from vqgen.runtime.ambient import without_foreign_settings
from vqgen.runtime.compute import Compute
from vqgen.runtime.trackers import require_tracker

_START = "start on CPUs with `torchrun --nproc_per_node N -m vqgen`, on GPUs with `accelerate launch -m vqgen`"

_LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_MEETING_SECONDS = 60.0
"""Time that processes started by hand wait for each other."""

_WAITING = timedelta(days=1)
"""Time that processes wait for one of them, which downloads, reads a million pictures or saves. By default NCCL gives
up after ten minutes, gloo after thirty. A process that has ended is not waited for: its launcher ends the others."""

_MIXED_PRECISION = {"float32": "no", "float64": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(compute: Compute, folder: Path | None = None, *, tracker: str = "none") -> Accelerator:
    """Joins the processes that the launcher started.

    Args:
        compute: The device and the dtype.
        folder: The folder that the tracker writes to.
        tracker: tensorboard, wandb, mlflow or none.

    Raises:
        ConfigError: The launcher promised another number of processes, they did not meet, or the tracker is not
            installed.
    """
    if tracker != "none":
        require_tracker(tracker)
    promised = _promised_processes()
    if promised > 1:
        # This module keeps the group that exists at its import as a default argument. Imported later, by torchmetrics
        # or torch._dynamo, it would hold the group, and the group its threads, beyond `destroy_process_group`. Such a
        # thread aborts the process if it frees a tensor while Python ends.
        import torch.distributed.nn.functional  # noqa: F401
    # torchrun joins its processes itself. Processes started by hand may wait for one that never comes, so their wait
    # has to be short.
    is_by_hand = "TORCHELASTIC_RUN_ID" not in os.environ and not distributed.is_initialized()
    if promised > 1 and compute.device.type == "cpu" and is_by_hand:
        _meet(promised)
    precision = _MIXED_PRECISION[compute.dtype]
    with without_foreign_settings(compute.device.type, precision):
        accelerator = Accelerator(
            cpu=compute.device.type == "cpu",
            mixed_precision=precision,
            log_with=None if tracker == "none" else tracker,
            project_dir=folder,
            # Codebooks are buffers, and every process moves them by the same sums: a broadcast would be in vain.
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False),
                InitProcessGroupKwargs(timeout=_WAITING),
            ],
        )
    if accelerator.num_processes != promised:
        raise ConfigError(
            f"WORLD_SIZE: the launcher promised {promised} processes, "
            f"found {accelerator.num_processes} joined; {_START}"
        )
    return accelerator


def _promised_processes() -> int:
    """Reads the number of processes from the launcher's variables. Without a launcher it is one.

    Raises:
        ConfigError: The variables are not complete, so that joining would wait for ever.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"WORLD_SIZE: should be a number of processes, at least 1, found {text!r}; {_START}")
    missing = [name for name in _LAUNCHER_VARIABLES if name not in os.environ]
    if int(text) > 1 and missing:
        raise ConfigError(
            f"WORLD_SIZE: promises {text} processes, but {', '.join(missing)} is not set, so no launcher started them; "
            f"unset WORLD_SIZE for one process, or {_START}"
        )
    return int(text)


def _meet(promised: int) -> None:
    """Joins processes that were started by hand, and waits a minute for them instead of torch's half an hour.

    Raises:
        ConfigError: A process did not come.
    """
    host = os.environ["MASTER_ADDR"]
    port = os.environ["MASTER_PORT"]
    rank = os.environ["RANK"]
    patience = timedelta(seconds=_MEETING_SECONDS)
    try:
        store = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]  # documented, if not exported
            host, int(port), promised, is_master=int(rank) == 0, timeout=patience
        )
    except (distributed.DistError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE: promises {promised} processes, but they did not meet at {host}:{port} "
            f"within {_MEETING_SECONDS:.0f} s; {_START}"
        ) from error
    store.set_timeout(_WAITING)
    distributed.init_process_group("gloo", timeout=_WAITING, store=store, rank=int(rank), world_size=promised)
