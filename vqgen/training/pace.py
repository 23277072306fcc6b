"""The pace of a training: the place of each step in the schedule, and a limit of time that shortens the schedule.

A shortened training does fewer steps and still passes through its whole schedule: the learning rate falls to its end,
and everything that begins at a share of the steps begins at that share of the fewer steps.
"""

import logging
import math
from dataclasses import dataclass

import torch

from vqgen.config import TrainConfig
from vqgen.runtime.collective import all_reduce_max
from vqgen.training.objective import Batches, PacedBatches, Session

_logger = logging.getLogger("vqgen.training")

LEAST_SHARE = 0.3
"""Smallest share of its steps that a training does, however slow the machine is. A VQ-VAE may pass its latents
unquantized in the first quarter of its steps: if it ended sooner, nothing could be made from it."""

_LEAST_CHANGE = 0.04
"""Smallest change of the length, as a share of the steps that are left: smaller ones are noise of the clock."""

_BEGINNING = 0.03
"""Share of the time in which nothing is decided: the first steps are slow."""


@dataclass(frozen=True)
class Pace:
    """The place of each step in a schedule. A new last step changes the places of later steps only.

    Attributes:
        total: Steps of the schedule.
        end: Steps of the training, at most `total`.
        since: Finished steps when `end` was decided.
        place: Place in the schedule at that time, in [0, total].
    """

    total: int
    end: int
    since: int = 0
    place: int | float = 0

    def at(self, step: int) -> int | float:
        """Returns the place in the schedule after `step` finished steps; `step` itself in a training of full length.

        Earlier steps had their places from an earlier pace: for them it is the place at which this one was decided.
        """
        if not self.is_shortened:
            return step
        if step >= self.end:
            return self.total
        if step <= self.since:
            return self.place
        return self.place + (step - self.since) * (self.total - self.place) / (self.end - self.since)

    def ending_at(self, end: int, step: int) -> "Pace":
        """Returns the pace of a training that ends after `end` steps, decided after `step` of them."""
        return Pace(self.total, end, step, self.at(step))

    @property
    def is_shortened(self) -> bool:
        """True if a last step was decided that is not the last one of the schedule, now or before."""
        return self.since > 0 or self.end < self.total


class TimeLimit:
    """The limit of a training's time: chooses the last step so that the training ends within it.

    It compares the time that is left with the speed of the latest steps. Validations are timed apart, because there are
    few of them.

    Args:
        seconds: Time of the whole training, over all sessions.
        validate_every: Steps between validations.
    """

    def __init__(self, seconds: float, validate_every: int) -> None:
        self.seconds = seconds
        self._validate_every = validate_every
        self._step_seconds: float | None = None
        self._validation_seconds = 0.0
        self._validating = 0.0
        self._mark: tuple[int, float] | None = None

    def start(self, step: int, elapsed: float) -> None:
        """Starts a session after `step` steps, which took `elapsed` seconds in earlier sessions."""
        self._mark = (step, elapsed)
        self._validating = 0.0

    def add_validation(self, seconds: float) -> None:
        """Notes the time of a validation."""
        self._validation_seconds = seconds
        self._validating += seconds

    def choose_end(self, pace: Pace, step: int, elapsed: float) -> int:
        """Returns the number of steps of the training, for its speed so far.

        Args:
            pace: The pace so far.
            step: Finished steps, at least 1.
            elapsed: Seconds of these steps over all sessions, with their validations.

        Returns:
            Steps in [step, pace.total]. The present number, unless another one differs much.
        """
        assert self._mark is not None, "start comes first"
        since, before = self._mark
        if step > since and elapsed > _BEGINNING * self.seconds:
            latest = max(0.0, elapsed - before - self._validating) / (step - since)
            # The mean of the old speed and the new one: a hiccup moves the end by half, and a new speed counts soon.
            self._step_seconds = latest if self._step_seconds is None else (self._step_seconds + latest) / 2
        if step > since:
            self.start(step, elapsed)
        if not self._step_seconds:  # the beginning, or a clock without a tick
            return pace.end
        # The last step is always validated, so one validation is set aside.
        left = self.seconds - elapsed - self._validation_seconds
        per_step = self._step_seconds + self._validation_seconds / self._validate_every
        possible = step + max(0, math.floor(left / per_step))
        end = min(pace.total, max(step, possible, math.ceil(LEAST_SHARE * pace.total)))
        is_noise = abs(end - pace.end) <= _LEAST_CHANGE * (pace.end - step) and end > step
        return pace.end if is_noise else end


StoredPace = tuple[int, int, int | float]
"""The part of a `Pace` that a saved state has: its end, and the step and place at which that was decided."""


class Pacer:
    """The pace of a running training: of full length, unless the training has a limit of time and would exceed it.

    Args:
        total: Steps of the schedule.
        config: The limit, and the steps between validations and between checks.
        session: The processes, which have to agree on the end, and the stage.
        batches: The training data. `PacedBatches` are told of a new pace.

    Attributes:
        pace: The pace so far.
    """

    def __init__(self, total: int, config: TrainConfig, session: Session, batches: Batches) -> None:
        self.pace = Pace(total, total)
        self._limit = TimeLimit(config.max_seconds, config.validate_every) if config.max_seconds else None
        self._check_every = config.log_every
        self._session = session
        self._batches = batches

    def start(self, step: int, elapsed: float, stored: StoredPace | None) -> None:
        """Starts a session after `step` steps, which took `elapsed` seconds, with the pace of the saved state."""
        if stored is not None:
            self._set(Pace(self.pace.total, *stored))
        if self._limit is not None:
            self._limit.start(step, elapsed)

    def add_validation(self, seconds: float) -> None:
        """Notes the time of a validation."""
        if self._limit is not None:
            self._limit.add_validation(seconds)

    def keep(self, step: int, elapsed: float) -> StoredPace | None:
        """Shortens the training if it would exceed its time, or lengthens a shortened one again.

        Args:
            step: Finished steps, at least 1.
            elapsed: Seconds of these steps over all sessions, with their validations.

        Returns:
            The pace to save with the state; None for a training of full length.
        """
        # Every `log_every` steps, because processes have to agree on the end.
        if self._limit is not None and step % self._check_every == 0:
            end = self._agreed(self._limit.choose_end(self.pace, step, elapsed))
            if end != self.pace.end:
                self._tell(end, self._limit.seconds)
                self._set(self.pace.ending_at(end, step))
        return (self.pace.end, self.pace.since, self.pace.place) if self.pace.is_shortened else None

    def _agreed(self, end: int) -> int:
        """Returns the end that the main process chose, in all processes."""
        accelerator = self._session.accelerator
        if accelerator.num_processes == 1:
            return end
        of_main = end if accelerator.is_main_process else 0
        return int(all_reduce_max(torch.tensor(of_main, device=accelerator.device)))

    def _set(self, pace: Pace) -> None:
        self.pace = pace
        if isinstance(self._batches, PacedBatches):
            self._batches.follow(pace.at)

    def _tell(self, end: int, seconds: float) -> None:
        if not self.pace.is_shortened and self._session.accelerator.is_main_process:
            text = "%s: is slower than planned; it will end after about %d of %d steps, within its %.0f s"
            _logger.warning(text, self._session.stage, end, self.pace.total, seconds)
