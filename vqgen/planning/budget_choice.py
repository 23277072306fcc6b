"""The choice of a recipe that ends within a budget of time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vqgen.config import AnyRecipe
from vqgen.errors import ConfigError
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import Rates
from vqgen.planning.budget_scaling import with_intervals
from vqgen.planning.budget_tiers import Candidate
from vqgen.planning.budget_times import ONE_BY_ONE, Places, StageTime, stage_times, wall_seconds

MARGIN = 0.06
"""Share of a budget that is not planned: measurements of a second or two are that uncertain."""

_NEAR = 1.3
"""A candidate whose estimated time is at most this much above the time that is left is measured: it may fit."""

_OF_UNMEASURED = 1.2
"""Factor of estimated times when there is no time to measure."""

_MEASURING_SHARE = 0.1
"""Share of the time that is left when measuring begins, after which nothing new is measured."""

_LEAST_LIMIT = 1.0
"""Seconds of the smallest limit of a training."""


@dataclass(frozen=True)
class Tried:
    """A candidate that was looked at.

    Attributes:
        name: Its name.
        least_seconds: Time of a run with the fewest steps that the candidate is worth.
        is_measured: True if its speeds were measured; False if they were estimated from those of another one.
    """

    name: str
    least_seconds: float
    is_measured: bool


@dataclass(frozen=True)
class BudgetChoice:
    """A recipe that was chosen, and the reasons.

    Attributes:
        name: Name of the candidate.
        share: Share of the candidate's steps.
        recipe: The recipe.
        times: The times of the parts of its run.
        seconds: The time of its run.
        tried: The next larger candidate, the chosen one and all smaller ones, from large to small.
        too_large: A line about the next larger candidate, if it needs more memory than is free; or "".
    """

    name: str
    share: float
    recipe: AnyRecipe
    times: tuple[StageTime, ...]
    seconds: float
    tried: tuple[Tried, ...]
    too_large: str = ""


@dataclass
class Chooser:
    """The search for the largest candidate that fits.

    The largest candidate whose least number of steps fits is the best: beyond that number more is gained by size than
    by steps. Its steps then fill the time. Times are estimated first. Those of the candidates near the limit are
    measured, and the estimates of all others follow the measurements.

    Attributes:
        candidates: From large to small.
        pictures: The pictures of the run.
        left: Returns the seconds that are left for the run, without the margin. It falls while this class measures.
        estimate: Estimates the rates of a recipe; their transforms of pictures are not used.
        measure: Measures the rates of a recipe.
        cores: Cores that the run may use.
        places: The room for stages that run side by side.
    """

    candidates: Sequence[Candidate]
    pictures: Pictures
    left: Callable[[], float]
    estimate: Callable[[AnyRecipe], Rates]
    measure: Callable[[AnyRecipe], Rates]
    cores: int
    places: Places = ONE_BY_ONE
    _estimated: dict[int, Rates] = field(default_factory=dict)
    _measured: dict[int, Rates] = field(default_factory=dict)
    _factor: float = 1.0

    def choose(self) -> BudgetChoice:
        """Returns the largest candidate that fits, with the steps that fill the time.

        Raises:
            TooShortError: Not even the smallest candidate fits, with the fewest possible steps.
        """
        stop = self.left() * (1 - _MEASURING_SHARE)
        while (index := self._next_to_measure()) is not None:
            if self._measured and self.left() < stop:
                self._factor = _OF_UNMEASURED
                break
            self._measured[index] = self.measure(self.candidates[index].with_share(1.0))
        index = self._largest_fitting()
        share = self._share(index)
        candidate = self.candidates[index]
        times = tuple(self._times(index, share))
        step_seconds = {time.stage: time.step_seconds for time in times if time.steps is not None}
        recipe = candidate.keep(with_intervals(candidate.with_share(share), step_seconds))
        seconds = wall_seconds(times, self.places)
        tried = tuple(
            Tried(other.name, self._least_seconds(number), number in self._measured)
            for number, other in enumerate(self.candidates)
            if number >= index - 1  # beside the chosen one and those below, the first that does not fit
        )
        return BudgetChoice(candidate.name, share, recipe, times, seconds, tried)

    def _next_to_measure(self) -> int | None:
        """Returns the best candidate, or the one above it if it is near; None if both are measured."""
        best = self._largest_fitting()
        near = [best]
        if best > 0 and self._least_seconds(best - 1) <= _NEAR * self.left():
            near.append(best - 1)
        return next((index for index in near if index not in self._measured), None)

    def _largest_fitting(self) -> int:
        # Upwards from the smallest: a larger candidate takes longer, so those above the first misfit are not looked at.
        left = self.left()
        best = len(self.candidates) - 1
        while best > 0 and self._least_seconds(best - 1) <= left:
            best -= 1
        return best

    def _least_seconds(self, index: int) -> float:
        return self._seconds(index, self.candidates[index].least_share)

    def _seconds(self, index: int, share: float) -> float:
        return wall_seconds(self._times(index, share), self.places)

    def _times(self, index: int, share: float) -> list[StageTime]:
        recipe = self.candidates[index].with_share(share)
        return stage_times(recipe, self.pictures, self._rates(index), self.cores)

    def _rates(self, index: int) -> Rates:
        """Returns the measured rates of a candidate, or the estimated ones, corrected by the nearest measurement."""
        if index in self._measured:
            return self._measured[index]
        estimated = self._estimate(index)
        if not self._measured:
            return estimated
        nearest = min(self._measured, key=lambda other: abs(other - index))
        measured = self._measured[nearest]
        corrected = estimated.times(measured.over(self._estimate(nearest)))
        return corrected.slower(self._factor, centre=measured.centre, random=measured.random)

    def _estimate(self, index: int) -> Rates:
        if index not in self._estimated:
            self._estimated[index] = self.estimate(self.candidates[index].with_share(1.0))
        return self._estimated[index]

    def _share(self, index: int) -> float:
        """Returns the share of a candidate's steps that fills the time that is left."""
        left = self.left()
        candidate = self.candidates[index]
        if self._seconds(index, candidate.largest_share) <= left:
            return candidate.largest_share
        if self._seconds(index, 0.0) > left:
            raise TooShortError(self._seconds(index, 0.0))
        low = 0.0
        high = candidate.largest_share
        for _ in range(12):  # the time grows with the share; a thousandth of it is close enough
            middle = (low + high) / 2
            low, high = (middle, high) if self._seconds(index, middle) <= left else (low, middle)
        return low


class TooShortError(ConfigError):
    """A budget in which nothing can be trained.

    Attributes:
        least_seconds: Time of the shortest run.
    """

    def __init__(self, least_seconds: float) -> None:
        super().__init__("--budget: is too short")
        self.least_seconds = least_seconds


def time_limits(
    times: Sequence[StageTime],
    left: float,
    used: Mapping[str, float],
    complete: Collection[str],
    places: Places = ONE_BY_ONE,
) -> dict[str, float]:
    """Shares the time that is left among the trainings that are not complete.

    Args:
        times: The planned times of the parts of a run.
        left: Seconds that are left for all of them.
        used: Stage -> seconds that its training has taken so far.
        complete: Stages that are complete.
        places: The room for stages that run side by side.

    Returns:
        Stage -> seconds of its training, with those that it has taken so far. The planned time if all is as planned:
        the margin is shared, too.
    """
    to_do = [time for time in times if time.stage not in complete]
    shortened = [_without(time, used.get(time.stage, 0.0)) for time in to_do]
    if not shortened:
        return {}
    factor = max(0.0, left) / wall_seconds(shortened, places)
    return {
        time.stage: max(_LEAST_LIMIT, used.get(time.stage, 0.0) + factor * time.training_seconds)
        for time in shortened
        if time.steps is not None
    }


def _without(time: StageTime, used: float) -> StageTime:
    done = min(used, time.training_seconds)
    return replace(time, seconds=time.seconds - done, training_seconds=time.training_seconds - done)
