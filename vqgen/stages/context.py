"""What all stages of a run share: recipe, folder, processes, images."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import distributed

from vqgen.config import AnyRecipe, BaselineRecipe, Recipe, TrainConfig, require_codes
from vqgen.data import ImageSplits, open_images
from vqgen.errors import ConfigError, VQGenError, VQGenWarning
from vqgen.objective import Session
from vqgen.runtime.compute import Compute

Result = TypeVar("Result")

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


@dataclass
class RunContext:
    """One run.

    Attributes:
        recipe: The resolved recipe.
        folder: The run folder.
        compute: Device and number format.
        accelerator: The processes of the run.
        force: Go on where the gate before stage two would stop.
        redo: Move complete stages aside whose recipe changed, and make them again.
        quiet: Show no progress bars.
    """

    recipe: AnyRecipe
    folder: Path
    compute: Compute
    accelerator: Accelerator
    force: bool = False
    redo: bool = False
    quiet: bool = False

    @cached_property
    def images(self) -> ImageSplits:
        """The images, opened when they are first needed."""
        return open_images(self.recipe.data, self.recipe.seed)

    @property
    def recipe_with_codes(self) -> Recipe:
        """The recipe of a VQ-VAE and its priors; a baseline's raises a `ConfigError`."""
        return require_codes(self.recipe)

    @property
    def is_baseline(self) -> bool:
        """Whether the run is of a baseline."""
        return isinstance(self.recipe, BaselineRecipe)

    @property
    def first_stage(self) -> str:
        """The stage whose model makes a pipeline."""
        return "autoencoder" if self.is_baseline else "vqvae"

    @property
    def is_main(self) -> bool:
        """Whether this process writes and prints."""
        return self.accelerator.is_main_process

    @property
    def rank(self) -> int:
        """This process, in [0, world_size)."""
        return self.accelerator.process_index

    @property
    def world_size(self) -> int:
        """All processes."""
        return self.accelerator.num_processes

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.accelerator.device

    def session(self, stage: str) -> Session:
        """Where and as what `stage` trains."""
        return Session(
            stage=stage,
            seed=self.recipe.seed,
            accelerator=self.accelerator,
            folder=self.folder / stage,
            double=self.compute.dtype == "float64",
            quiet=self.quiet,
        )

    def check_batch(self, path: str, train: TrainConfig) -> None:
        """Refuses a batch that leaves a process without an image.

        Raises:
            ConfigError: There are more processes than images in a batch.
        """
        if train.batch_size < self.accelerator.num_processes:
            raise ConfigError(
                f"{path}.batch_size: should be at least the {self.accelerator.num_processes} processes, "
                f"found {train.batch_size}"
            )

    def say(self, text: str) -> None:
        """Prints in the main process."""
        if self.is_main:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Warns in the main process."""
        if self.is_main:
            warnings.warn(text, VQGenWarning, stacklevel=3)

    def on_main(self, act: Callable[[], Result]) -> Result:
        """Runs `act` in the main process; all processes receive its result, or raise its error."""
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = act()
            except (VQGenError, OSError) as error:
                outcome[1] = error
        if self.accelerator.num_processes > 1:
            broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]

    def in_all(self, act: Callable[[], object]) -> None:
        """Runs `act` in all processes and waits for all; if it fails in one, all raise that error."""
        failure: Exception | None = None
        try:
            act()
        except (VQGenError, OSError) as error:
            failure = error
        failures = gather_object([failure]) if self.accelerator.num_processes > 1 else [failure]
        for error in failures:
            if error is not None:
                raise error
