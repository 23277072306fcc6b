"""The state that all stages of a run share: recipe, folder, processes and images."""

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import nn

from vqgen.config import AnyRecipe, BaselineRecipe, Recipe, TrainConfig, require_codes
from vqgen.config.data import ValueRange
from vqgen.config.overrides import recipe_fields
from vqgen.data import ImageBatches, ImageSplits, open_images, read_exclusions, training_batches, write_exclusions
from vqgen.errors import ConfigError, VQGenWarning
from vqgen.pipeline.locating import locate_pipeline
from vqgen.runtime.ambient import is_launched
from vqgen.runtime.collective import in_all, on_main
from vqgen.runtime.compute import Compute
from vqgen.runtime.randomness import derive_seed
from vqgen.runtime.trackers import TrackedRun, end_trackers, start_tracker
from vqgen.stages.continuation import Continuation
from vqgen.stages.image_identity import renew_fingerprints
from vqgen.storage.names import shown_lines
from vqgen.training.objective import Session
from vqgen.training.schedule import training_order

Result = TypeVar("Result")


@dataclass
class RunContext:
    """A run, as one process sees it.

    Attributes:
        recipe: The resolved recipe.
        folder: The run folder.
        compute: Device and dtype.
        accelerator: The processes of the run.
        force: Trains priors on collapsed codes, too.
        redo: Moves stages aside whose recipe or inputs changed, and makes them again.
        quiet: Shows no progress bars.
        parallel_stages: Most stages at a time; None takes as many as the machine has room for.
        continued: Stage -> its continuation, for the stages that get more steps now. The recipe has their new length.
        completing: Called around the completion of each stage. Stages that run side by side complete one by one.
    """

    recipe: AnyRecipe
    folder: Path
    compute: Compute
    accelerator: Accelerator
    force: bool = False
    redo: bool = False
    quiet: bool = False
    parallel_stages: int | None = None
    continued: Mapping[str, Continuation] = field(default_factory=dict)
    completing: Callable[[], AbstractContextManager[object]] = nullcontext

    _has_trained = False  # no field: the processes of stages side by side do not take it over

    @cached_property
    def images(self) -> ImageSplits:
        """The images, opened at their first use."""
        images = open_images(self.recipe.data, self.recipe.seed, exclusions=read_exclusions(self.folder))

        def keep() -> None:
            write_exclusions(self.folder, images.unreadable)
            renew_fingerprints(self.folder, images)

        self.on_main(keep)
        return images

    @cached_property
    def init_folder(self) -> Path:
        """The pipeline folder of the recipe's `init_from`, found at its first use; without one a `CheckpointError`."""
        return locate_pipeline(self.recipe.init_from or "")

    @property
    def measured_range(self) -> ValueRange | None:
        """The range that the opened images were measured to have; None if no stage of this session opened them."""
        opened = vars(self).get("images")
        return None if opened is None else opened.measured_range

    @property
    def recipe_with_codes(self) -> Recipe:
        """The recipe of a VQ-VAE and its priors. The recipe of a baseline raises a `ConfigError`."""
        return require_codes(self.recipe)

    @property
    def is_baseline(self) -> bool:
        """True if the run trains a baseline."""
        return isinstance(self.recipe, BaselineRecipe)

    @property
    def first_stage(self) -> str:
        """The stage whose model makes a pipeline."""
        return self.recipe.generator_stages[0]

    @property
    def is_main(self) -> bool:
        """True if this process writes and prints."""
        return self.accelerator.is_main_process

    @property
    def rank(self) -> int:
        """The number of this process, in [0, world_size)."""
        return self.accelerator.process_index

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return self.accelerator.num_processes

    @property
    def is_launched(self) -> bool:
        """True if a launcher started this process, maybe with others. The processes of a launcher share each stage."""
        return self.world_size > 1 or is_launched()

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.accelerator.device

    @contextmanager
    def tracked(self, stage: str | None = None) -> Iterator[None]:
        """Starts the tracker, if the run has one. At the end of the block the processes leave their group.

        Args:
            stage: The only stage of this process; None for a process that runs all.

        Raises:
            ConfigError: The tracker cannot start.
        """
        try:
            if (kind := tracker_of(self.recipe)) != "none":
                run = _tracked_run(self, stage)
                place = self.on_main(lambda: start_tracker(self.accelerator, kind, run))
                if stage is None:
                    self.say(f"tracker {kind}: {place}")
            yield
        finally:
            # Also after an error or a signal: the processes have to leave their group, and the tracker has to write.
            end_trackers(self.accelerator)
            self.accelerator.end_training()

    def session(
        self, stage: str, continued_from: int | None = None, start: Callable[[nn.Module], object] | None = None
    ) -> Session:
        """Returns the processes, seed and folder of the training of `stage`.

        Args:
            stage: Name of the stage.
            continued_from: Finished steps of a training that had ended and goes on; None for any other training.
            start: Gives the model its first weights; None for random ones.
        """
        self._has_trained = True
        return Session(
            stage=stage,
            seed=self.recipe.seed,
            accelerator=self.accelerator,
            folder=self.folder / stage,
            double=self.compute.dtype == "float64",
            quiet=self.quiet,
            continued_from=continued_from,
            start=start,
        )

    def release_memory(self) -> None:
        """Frees the weights, moments and data of the trainings so far, which Accelerate would keep for ever."""
        if self._has_trained:
            self._has_trained = False
            self.accelerator.free_memory()
            # Once more: Accelerate collects before it lets go. A model and its wrapped `forward` refer to each other.
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def image_batches(self, stage: str, train: TrainConfig, *, augment: bool) -> ImageBatches:
        """Returns the batches of training images that this process sees in the training of `stage`."""
        images = self.images.train
        seed = derive_seed(self.recipe.seed, stage)
        order = training_order(train, len(images), seed, self.world_size)
        data = self.recipe.data
        return training_batches(
            images, data, order, augment=augment, rank=self.rank, world_size=self.world_size, seed=seed
        )

    def check_batch(self, path: str, train: TrainConfig) -> None:
        """Refuses a batch that leaves a process without an image.

        Args:
            path: Path of `train` in the recipe, for the error.
            train: Settings of a training.

        Raises:
            ConfigError: There are more processes than images in a batch.
        """
        if train.batch_size < self.world_size:
            raise ConfigError(
                f"{path}.batch_size: should be at least the {self.world_size} processes, found {train.batch_size}"
            )

    def say(self, text: str) -> None:
        """Prints in the main process."""
        if self.is_main:
            print(shown_lines(text), flush=True)

    def warn(self, text: str) -> None:
        """Warns in the main process."""
        if self.is_main:
            warnings.warn(text, VQGenWarning, stacklevel=3)

    def on_main(self, act: Callable[[], Result]) -> Result:
        """Runs `act` in the main process. All processes receive its result, or raise its error, whatever it is."""
        return on_main(act)

    def in_all(self, act: Callable[[], object]) -> None:
        """Runs `act` in all processes and waits for all of them. If it fails in some, all raise the first error."""
        in_all(act)


def _tracked_run(context: RunContext, stage: str | None) -> TrackedRun:
    """Returns a run, or one of its stages, as its tracker names it."""
    fields = {
        field.option.removeprefix("--"): field.value for field in recipe_fields(context.recipe) if not field.new_name
    }
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}
    name = context.folder.name if stage is None else f"{context.folder.name} {stage}"
    return TrackedRun(context.recipe.name, name, context.folder, context.recipe.stage_names, plain)


def tracker_of(recipe: AnyRecipe) -> str:
    """Returns the tracker of a run: the first one that any of its trainings names."""
    return next((train.tracker for train in recipe.trainings if train.tracker != "none"), "none")
