"""The processes of a launch, joined through Hugging Face Accelerate. The only module of the room that imports it."""

import os
from datetime import timedelta
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import distributed

from vqgen.errors import ConfigError
from vqgen.runtime.compute import Compute

_HOW = "start on CPUs with `torchrun --nproc_per_node N -m vqgen`, on GPUs with `accelerate launch -m vqgen`"

_LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

_MEETING_SECONDS = 60.0

_MIXED_PRECISION = {"float32": "no", "float64": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(compute: Compute, folder: Path | None = None, *, tracker: str = "none") -> Accelerator:
    """Joins the processes that the launcher started.

    Raises:
        ConfigError: The launcher promised another number of processes, or they did not come; or the tracker is not
            installed.
    """
    if tracker == "tensorboard":
        _require_tensorboard()
    promised = _promised_processes()
    on_their_own = "TORCHELASTIC_RUN_ID" not in os.environ and not distributed.is_initialized()
    if promised > 1 and compute.device.type == "cpu" and on_their_own:
        _meet(promised)
    accelerator = Accelerator(
        cpu=compute.device.type == "cpu",
        mixed_precision=_MIXED_PRECISION[compute.dtype],
        log_with=None if tracker == "none" else tracker,
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # all processes move codebooks alike
    )
    if accelerator.num_processes != promised:
        raise ConfigError(
            f"WORLD_SIZE: the launcher promised {promised} processes, found {accelerator.num_processes} joined; {_HOW}"
        )
    return accelerator


def _promised_processes() -> int:
    """How many processes the launcher says there are; without a launcher one.

    Raises:
        ConfigError: What the launcher says is not complete: joining would wait for ever.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"WORLD_SIZE: should be a number of processes, found {text!r}; {_HOW}")
    missing = [name for name in _LAUNCHER_VARIABLES if name not in os.environ]
    if int(text) > 1 and missing:
        raise ConfigError(
            f"WORLD_SIZE: promises {text} processes, but {', '.join(missing)} is not set, so no launcher made them; "
            f"unset WORLD_SIZE for one process, or {_HOW}"
        )
    return int(text)


def _meet(promised: int) -> None:
    """Joins processes that were started by hand, and does not wait for half an hour for those that never come."""
    host, port, rank = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], os.environ["RANK"]
    patience = timedelta(seconds=_MEETING_SECONDS)
    try:
        store = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]  # documented, if not exported
            host, int(port), promised, is_master=int(rank) == 0, timeout=patience
        )
    except (distributed.DistError, ValueError) as error:
        raise ConfigError(
            f"WORLD_SIZE: promises {promised} processes, but they did not meet at {host}:{port} "
            f"within {_MEETING_SECONDS:.0f} s; {_HOW}"
        ) from error
    store.set_timeout(timedelta(minutes=30))  # from here on as torch has it
    distributed.init_process_group("gloo", store=store, rank=int(rank), world_size=promised)


def _require_tensorboard() -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise ConfigError("tracker: tensorboard is not installed; `pip install 'vqgen[tensorboard]'`") from error
