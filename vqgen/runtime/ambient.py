"""Environment variables that belong to other programs: what vqgen makes of them. This module imports no torch.

WORLD_SIZE, RANK, ...     of a launcher: followed if WORLD_SIZE promises several processes, else without effect
ACCELERATE_*, FSDP_*      of `accelerate config`: without effect, because the recipe and the options say the same
                          things; a setting that asks for something else is named, with the option to use
MPLBACKEND                of a notebook: without effect, because plots are drawn into memory
PYTHONWARNINGS            of a developer: without effect on the commands
"""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vqgen.errors import VQGenWarning

_LAUNCHERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK",
    "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE",
)  # fmt: skip
"""Variables of torchrun, Accelerate and MPI from which Accelerate reads that there are several processes."""

_PREFIXES = ("ACCELERATE_", "FSDP_", "PARALLELISM_CONFIG_", "MEGATRON_LM_")
"""Beginnings of the variables that set up Accelerate."""

_HARMLESS = {"ACCELERATE_DEBUG_MODE", "ACCELERATE_LOG_LEVEL", "ACCELERATE_DISABLE_RICH", "ACCELERATE_ENABLE_RICH"}
"""Variables of Accelerate that change messages only."""

_OFF = frozenset({"", "0", "no", "n", "false", "f", "off"})

_ON = frozenset({"1", "yes", "y", "true", "t", "on"})


def launched_processes() -> int:
    """Returns the number of processes that a launcher promises; 1 without a launcher."""
    text = os.environ.get("WORLD_SIZE", "")
    return int(text) if text.isdecimal() and int(text) > 1 else 1


def launched_rank() -> int:
    """Returns the number of this process among those of a launcher, from 0; 0 without a launcher."""
    text = os.environ.get("RANK", "")
    return int(text) if launched_processes() > 1 and text.isdecimal() else 0


def launched_here() -> int:
    """Returns the number of processes of a launcher on this machine, at least 1."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(text)) if launched_processes() > 1 and text.isdecimal() else 1


def is_launched() -> bool:
    """Returns True if a launcher started this process, maybe alone. A launcher sets both of these variables."""
    return {"RANK", "WORLD_SIZE"} <= os.environ.keys()


@contextmanager
def without_foreign_settings(device: str, precision: str) -> Iterator[None]:
    """Hides the settings of Accelerate in the block, and those of a launcher that promises no other process.

    Args:
        device: The kind of device of the computation: cpu, cuda or mps.
        precision: Its precision in Accelerate's words: no, bf16 or fp16.

    A setting that asks for something else than this run does is named in a warning of the first process.
    """
    hidden = [name for name in os.environ if name.startswith(_PREFIXES) and name not in _HARMLESS]
    if launched_processes() == 1:
        hidden += [name for name in _LAUNCHERS if name in os.environ]
    before = {name: os.environ.pop(name) for name in hidden}
    if launched_rank() == 0:
        for text in unfollowed_settings(before, device, precision):
            warnings.warn(text, VQGenWarning, stacklevel=4)
    try:
        yield
    finally:
        os.environ.update(before)


def unfollowed_settings(variables: Mapping[str, str], device: str, precision: str) -> list[str]:
    """Returns a text for each setting of Accelerate that asks for something else than the run does.

    Args:
        variables: Environment variables.
        device: As in `without_foreign_settings`.
        precision: As in `without_foreign_settings`.
    """
    on_cpu = _OFF | _ON if device == "cpu" else _OFF
    known = {
        "ACCELERATE_MIXED_PRECISION": ({"", "no", precision}, "use --dtype bfloat16 or float16"),
        "ACCELERATE_TORCH_DEVICE": ({"", device}, "use --device"),
        "ACCELERATE_USE_CPU": (on_cpu, "use --device cpu"),
        "ACCELERATE_DYNAMO_BACKEND": ({"", "no"}, "use --vqvae.train.compile true"),
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ({"", "1"}, "use --vqvae.train.micro-batches"),
        "ACCELERATE_GRADIENT_CLIPPING": ({"", "none"}, "use --vqvae.train.gradient-clip"),
        "ACCELERATE_USE_FSDP": (_OFF, "every process holds the whole model"),
        "ACCELERATE_USE_DEEPSPEED": (_OFF, "every process holds the whole model"),
        "ACCELERATE_USE_MEGATRON_LM": (_OFF, "every process holds the whole model"),
        "ACCELERATE_USE_PARALLELISM_CONFIG": (_OFF, "every process holds the whole model"),
    }
    return [
        f"{name}={variables[name]}: has no effect on vqgen; {remedy}"
        for name, (quiet, remedy) in known.items()
        if name in variables and variables[name].strip().lower().split(":")[0] not in quiet
    ]


@contextmanager
def without_display_settings() -> Iterator[None]:
    """Hides the settings of Matplotlib and tqdm in the block.

    The backend that a notebook wants for its plots may be unknown here, and a bar may have a setting that is no number:
    both libraries then fail when they are imported, which is after the training of a stage.
    """
    names = [name for name in os.environ if name == "MPLBACKEND" or name.startswith("TQDM_")]
    before = {name: os.environ.pop(name) for name in names}
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        del os.environ["MPLBACKEND"]
        os.environ.update(before)


def show_only_own_warnings() -> None:
    """Sets the filters of warnings for a command: every one of vqgen, and no error from PYTHONWARNINGS or -W."""
    if sys.warnoptions:
        warnings.simplefilter("ignore")
    warnings.simplefilter("always", VQGenWarning)
