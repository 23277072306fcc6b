"""The time of each stage of a run, and of the run as a whole, from the rates of its pieces.

`wall_seconds` alone knows which stages run side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vqgen.config import AnyRecipe, Recipe
from vqgen.data.squares import CACHE_LIMIT
from vqgen.planning.budget_pictures import Pictures
from vqgen.planning.budget_rates import Rates, images_of, sampled_images, steps_of, training_sections
from vqgen.training.schedule import contrasted_steps

FORWARD_SHARE = 0.4
"""Time of a forward pass of an image, as a share of a training step of that image: a third of the operations, and the
sums of a validation."""

PREPARATION = "preparation"
"""Name of the part of a run that is no stage: the check that every picture can be read."""

_OVERHEADS = {PREPARATION: 1.0, "codes": 1.0, "samples": 2.0}
"""Part of a run -> seconds beside its work: files, plots, the pipeline folder."""

_OVERHEAD_OF_TRAINING = 2.0

_OF_STEP = 0.003
"""Seconds of a training step beside its model: its batch, its seeds, its line of the log."""

_OF_CODES = 1e-4
"""Seconds to collect the codes of an image for a batch."""

_OF_PROCESS = 3.0
"""Seconds to start a process for a stage that runs beside others."""

LEAST_GAIN = 10.0
"""Seconds that running side by side has to save: each process of a stage takes about two to start."""

_OVERLAP = 0.9
"""Share of the shorter of two works that a second core takes over, when it reads pictures beside the training."""


@dataclass(frozen=True)
class Places:
    """The room for stages that run side by side.

    Attributes:
        cores: Cores for all of them together; each takes one for every thread.
        most: Stages at a time.
    """

    cores: int = 1
    most: int = 1


ONE_BY_ONE = Places()


@dataclass(frozen=True)
class StageTime:
    """The time of a part of a run.

    Attributes:
        stage: Name of the stage, or `PREPARATION`.
        seconds: Its time.
        steps: Steps of its training; None for a stage without one.
        step_seconds: Time of a step, with the reading of its batch; 0 for a stage without steps.
        training_seconds: The part of `seconds` that a limit of time can shorten: steps and validations.
        threads: Threads of torch.
    """

    stage: str
    seconds: float
    steps: int | None = None
    step_seconds: float = 0.0
    training_seconds: float = 0.0
    threads: int = 1


def stage_times(recipe: AnyRecipe, pictures: Pictures, rates: Rates, cores: int) -> list[StageTime]:
    """Returns the times of the preparation and of each stage, in the order of the run.

    Args:
        recipe: The recipe.
        pictures: The pictures of the run.
        rates: The speeds of its pieces.
        cores: Cores that the run may use.
    """
    counts = pictures.counts
    trainings = dict(training_sections(recipe))
    times = [_part(PREPARATION, counts.total * pictures.read_seconds / cores)]
    for stage in recipe.stage_names:
        if stage in trainings:
            times.append(_training(recipe, stage, pictures, rates, cores))
        elif stage == "codes":
            times.append(_part(stage, _extraction(recipe, pictures, rates, cores)))
        else:
            times.append(_part(stage, sampled_images(recipe, counts.classes) * rates.sample))
    return times


def wall_seconds(times: Sequence[StageTime], places: Places = ONE_BY_ONE) -> float:
    """Returns the time of a run, from the times of its parts.

    Args:
        times: The parts.
        places: The room for the priors and the classifier, which need only the codes and may run side by side.
    """
    beside = [time for time in times if time.stage.startswith("prior-") or time.stage == "classifier"]
    alone = sum(time.seconds for time in times if time not in beside)
    in_turn = sum(time.seconds for time in beside)
    if places.most == 1 or in_turn - max((time.seconds for time in beside), default=0.0) < LEAST_GAIN:
        return alone + in_turn
    return alone + _side_by_side_seconds(beside, places)


def _side_by_side_seconds(times: Sequence[StageTime], places: Places) -> float:
    """Returns the end of stages that begin, the longest first, as soon as there is room for them."""
    waiting = sorted(times, key=lambda time: -time.seconds)
    running: list[tuple[float, int]] = []  # end and threads of each
    now = 0.0
    while waiting:
        free = places.cores - sum(threads for _, threads in running)
        # A stage with more threads than there are cores runs alone.
        fitting = [time for time in waiting if time.threads <= free or not running]
        if fitting and len(running) < places.most:
            waiting.remove(fitting[0])
            running.append((now + fitting[0].seconds + _OF_PROCESS, fitting[0].threads))
        else:
            now = min(end for end, _ in running)
            running = [(end, threads) for end, threads in running if end > now]
    return max(end for end, _ in running)


def _part(stage: str, seconds: float) -> StageTime:
    return StageTime(stage, seconds + _OVERHEADS[stage])


def _training(recipe: AnyRecipe, stage: str, pictures: Pictures, rates: Rates, cores: int) -> StageTime:
    train = dict(training_sections(recipe))[stage]
    steps = steps_of(train, images_of(recipe, stage, pictures))
    step_seconds = rates.steps[stage] + _OF_STEP
    forward = FORWARD_SHARE * step_seconds / train.batch_size
    validations = -(-steps // train.validate_every) * pictures.counts.validation
    first_reading = 0.0
    evaluation = 0.0
    if stage.startswith("prior-"):
        assert isinstance(recipe, Recipe)
        section = recipe.priors[[f"prior-{level}" for level in recipe.levels].index(stage)]
        collecting = _OF_CODES * train.batch_size
        step_seconds = overlapped(step_seconds, collecting, cores - rates.threads.get(stage, 1))
        step_seconds *= 1 + contrasted_steps(section, steps) / steps  # such a step has two passes
        evaluation = pictures.counts.train * forward  # the nats of the training images, at the end
    else:
        section = recipe.stage_section(stage)
        assert section is not None
        reading, first_reading = _reading(recipe, pictures, rates, augment=getattr(section[1], "augment", False))
        step_seconds = overlapped(step_seconds, reading * train.batch_size, cores - rates.threads.get(stage, 1))
        forward += pictures.read_seconds + rates.centre
    shortened = steps * step_seconds + validations * forward + first_reading
    seconds = shortened + evaluation + _OVERHEAD_OF_TRAINING
    return StageTime(stage, seconds, steps, step_seconds, shortened, rates.threads.get(stage, 1))


def _reading(recipe: AnyRecipe, pictures: Pictures, rates: Rates, *, augment: bool) -> tuple[float, float]:
    """Returns the seconds to make an image ready in every step, and those to make all of them ready once."""
    data = recipe.data
    is_random = augment and data.is_augmented
    if is_random and data.crops_at_random:
        return pictures.read_seconds + rates.random, 0.0
    varied = rates.random if is_random else 0.0
    once = pictures.read_seconds + rates.centre
    count = pictures.counts.train
    is_cached = count * data.channels * data.image_size**2 <= CACHE_LIMIT
    return (varied, count * once) if is_cached else (varied + once, 0.0)


def _extraction(recipe: AnyRecipe, pictures: Pictures, rates: Rates, cores: int) -> float:
    counts = pictures.counts
    data = recipe.data
    copies = data.augmented_copies * counts.train
    plain = counts.total + (counts.train if data.mirrored_copies else 0)
    of_copy = rates.random + (pictures.read_seconds if data.crops_at_random else 0.0)
    reading = plain * (pictures.read_seconds + rates.centre) + copies * of_copy
    return overlapped((plain + copies) * rates.encode, reading, cores - rates.threads.get("codes", 1))


def overlapped(work: float, other: float, free_cores: int) -> float:
    """Returns the time of two works. A free core, if there is one, takes over most of the shorter."""
    return work + other - (_OVERLAP * min(work, other) if free_cores > 0 else 0.0)
