"""The costs of a run, as text."""

from collections.abc import Mapping

from vqgen.planning.plans import RecipePlanner, StagePlan
from vqgen.reports.tables import format_table


def plan_text(planner: RecipePlanner, stages: list[StagePlan], shares: Mapping[str, float] | None = None) -> str:
    """Writes a table with a line for each stage, and notes on its assumptions.

    Args:
        planner: The planner.
        stages: Its plans.
        shares: Stage -> share of its work that is left, in [0, 1]; None for a plan without a run.
    """
    table = format_table([*_HEADINGS, *(_row(stage) for stage in stages)])
    notes = [*_notes(planner, stages), *_left(stages, shares or {})]
    return "\n".join(["", *(f"  {line}" for line in table.splitlines()), "", *(f"  {note}" for note in notes)])


_HEADINGS = [
    ("stage", "parameters", "FLOPs", "FLOPs", "FLOPs", "memory", "memory/image", "steps", "raw", "expected", "time"),
    ("", "", "an image", "a step", "in all", "training", "sampling", "a sample", "bpp", "bpp", "about"),
]


def _row(stage: StagePlan) -> tuple[str, ...]:
    return (
        stage.stage,
        "-" if stage.parameters is None else f"{stage.parameters:,}",
        scaled(stage.image_flops),
        scaled(stage.step_flops),
        scaled(stage.total_flops),
        scaled(stage.training_bytes, "B"),
        scaled(stage.sampling_bytes, "B"),
        "-" if stage.steps_per_sample is None else str(stage.steps_per_sample),
        _bpp(stage.raw_bpp),
        _bpp(stage.expected_bpp, bound=not stage.is_measured),
        duration(stage.seconds),
    )


def _notes(planner: RecipePlanner, stages: list[StagePlan]) -> list[str]:
    """Returns the assumptions behind the table: images, rates, device and time."""
    counts = planner.counts
    machine = planner.machine
    notes = []
    if counts is None:
        notes.append("images: not known, because data.root contains none; so no labels and no sums over images")
    else:
        notes.append(
            f"images: about {counts.train:,} to train on, {counts.validation:,} held out, {counts.test:,} to test"
        )
    if any(stage.expected_bpp is not None and not stage.is_measured for stage in stages):
        notes.append(
            "expected bpp: <= marks the raw bits, an upper bound; a complete prior in the run folder has measured it"
        )
    if machine is None:
        return notes
    notes.append(
        f"device: {planner.compute.device}, {planner.compute.dtype}, {scaled(machine.matmul_flops)}FLOP/s in a matrix "
        f"product, {scaled(machine.convolution_flops)}FLOP/s in a convolution, {scaled(machine.bandwidth)}B/s"
    )
    times = [stage.seconds for stage in stages if stage.seconds is not None]
    if len(times) == len(stages):  # a sum without some stages would mislead
        notes.append(f"time: about {duration(sum(times))} in one process, without early stops")
    return notes


def _left(stages: list[StagePlan], shares: Mapping[str, float]) -> list[str]:
    """Returns the time of the work that is left, if some is done and the times are known."""
    times = [(stage.seconds, shares.get(stage.stage, 1.0)) for stage in stages]
    known = [seconds * share for seconds, share in times if seconds is not None]
    if len(known) < len(times) or all(share == 1 for _, share in times):
        return []
    return [f"time: about {duration(sum(known))} of it is left"]


def scaled(value: int | float | None, unit: str = "") -> str:
    """Writes a number with three digits, a prefix and a unit, for example 41.2 GB."""
    if value is None:
        return "-"
    for power, prefix in ((18, "E"), (15, "P"), (12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 0.9995 * 10**power:  # three digits round such a number up to 1.00 of the next prefix
            return f"{value / 10**power:#.3g}".rstrip(".") + f" {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _bpp(value: float | None, *, bound: bool = False) -> str:
    """Writes bits per pixel; `bound` marks an upper bound."""
    return "-" if value is None else ("<= " if bound else "") + f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Writes a time in seconds, minutes or hours, with two or three digits."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes = seconds / 60
    # From 99.5 on, two digits would write the minutes as 1e+02.
    return f"{minutes:.2g} min" if minutes < 99.5 else f"{minutes / 60:.3g} h"
