"""What all stages of a run share: recipe, folder, processes, images."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list

from vqgen.compute import Compute
from vqgen.config import Recipe, TrainConfig
from vqgen.data import ImageSplits, open_images
from vqgen.errors import ConfigError, VQGenError
from vqgen.training import Session

Result = TypeVar("Result")

_MIXED_PRECISION = {"float32": "no", "float64": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(compute: Compute, folder: Path | None = None, *, tracker: str = "none") -> Accelerator:
    """Joins the processes that the launcher started.

    Raises:
        ConfigError: The launcher promised another number of processes, or the tracker is not installed.
    """
    if tracker == "tensorboard":
        _require_tensorboard()
    accelerator = Accelerator(
        cpu=compute.device.type == "cpu",
        mixed_precision=_MIXED_PRECISION[compute.dtype],
        log_with=None if tracker == "none" else tracker,
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # all processes move codebooks alike
    )
    promised = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != promised:
        raise ConfigError(
            f"WORLD_SIZE: the launcher promised {promised} processes, found {accelerator.num_processes} joined; "
            "start on CPUs with `torchrun --nproc_per_node N -m vqgen`, on GPUs with `accelerate launch -m vqgen`"
        )
    return accelerator


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

    recipe: Recipe
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
            warnings.warn(text, UserWarning, stacklevel=3)

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
