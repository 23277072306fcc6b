"""A metric with all that is needed to compute it again, its noise floor, and the table of metrics.

A small set of images is judged as far as it can be: a metric that cannot be computed is left out, with the reason.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Int64
from torch import Tensor

from vqgen.errors import DataError
from vqgen.evaluation.enough import TooFewImages


@dataclass(frozen=True)
class Metric:
    """A measured value with its noise floor and its origin.

    Attributes:
        group: Name of its group, such as reconstruction.
        name: Name of the metric.
        value: The measured value.
        floor: The same metric of two halves of the real images, which differ by noise alone: the distance between the
            halves, or the difference between their metrics. None if the halves are too small.
        space: The space it was computed in, such as pixels.
        counts: Name of a set of images -> number of images in it.
    """

    group: str
    name: str
    value: float
    floor: float | None = None
    space: str = "pixels"
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """The metrics of some groups, and the metrics that could not be computed.

    Attributes:
        metrics: The metrics.
        left_out: Name of a metric or of a group -> the reason.
    """

    metrics: Sequence[Metric] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Metric]:
        return iter(self.metrics)

    def __len__(self) -> int:
        return len(self.metrics)

    def __add__(self, other: "Findings") -> "Findings":
        return Findings([*self.metrics, *other.metrics], {**self.left_out, **other.left_out})


@dataclass(frozen=True)
class Computed:
    """The values of some metrics, and the metrics that could not be computed.

    Attributes:
        values: Name -> value.
        left_out: Name -> the reason.
    """

    values: Mapping[str, float]
    left_out: Mapping[str, str] = field(default_factory=dict)


def compute_each(computations: Mapping[str, Callable[[], float | Mapping[str, float]]]) -> Computed:
    """Computes metrics one by one. A set that is too small for one of them leaves out this one alone.

    Args:
        computations: Name of a metric -> a function that returns its value, or the values of several metrics by name.
            The key then has all their names, separated by commas.
    """
    values: dict[str, float] = {}
    left_out: dict[str, str] = {}
    for name, compute in computations.items():
        try:
            found = compute()
        except TooFewImages as error:
            left_out |= dict.fromkeys(name.split(", "), error.reason)
        else:
            values |= dict(found) if isinstance(found, Mapping) else {name: found}
    return Computed(values, left_out)


def metrics_with_floor(
    group: str,
    space: str,
    counts: Mapping[str, int],
    whole: Computed | Mapping[str, float],
    floor: Callable[[], Mapping[str, float]],
) -> Findings:
    """Makes metrics of values, each with its noise floor.

    Args:
        group: Name of their group.
        space: The space they were computed in.
        counts: Name of a set of images -> number of images in it.
        whole: Name -> value. A value that is not a finite number is left out.
        floor: Returns name -> value for two halves of the real images. If it finds too few images, the metrics have
            no floor.
    """
    try:
        floors = floor()
    except DataError:
        # The metric of all images is still valid: half of them may be too few for a covariance, for instance.
        floors = {}
    found = whole if isinstance(whole, Computed) else Computed(whole)
    metrics = [
        Metric(group, name, value, _finite(floors.get(name)), space, counts)
        for name, value in found.values.items()
        if math.isfinite(value)
    ]
    # JSON has no such numbers, and a mean with one of them would be one too.
    odd = {name: f"it is {value} for these images" for name, value in found.values.items() if not math.isfinite(value)}
    return Findings(metrics, {**found.left_out, **odd})


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def difference(
    compute: Callable[[Int64[Tensor, " half"]], Mapping[str, float]],
    halves: tuple[Int64[Tensor, " half"], Int64[Tensor, " half"]],
) -> dict[str, float]:
    """Computes the absolute differences between the metrics of two halves: the noise floor of metrics of one set.

    Args:
        compute: A function of indices of images that returns metrics by name.
        halves: Indices of the two halves.

    Raises:
        DataError: A half is empty.
    """
    if not len(halves[0]):
        raise DataError("halves: should have images, found none")
    one, other = (compute(half) for half in halves)
    # Some metrics need a minimum of images, so one half may have a metric that the other lacks.
    return {name: abs(value - other[name]) for name, value in one.items() if name in other}


def metric_rows(metrics: Sequence[Metric]) -> list[tuple[str, ...]]:
    """Returns the rows of a table with a line for each metric, headings first; a group is named in its first line."""
    rows = [("", "metric", "value", "floor", "space", "images")]
    for place, metric in enumerate(metrics):
        is_first = place == 0 or metrics[place - 1].group != metric.group
        counts = ", ".join(f"{count:,} {name}" for name, count in metric.counts.items())
        floor = "-" if metric.floor is None else f"{metric.floor:.4g}"
        group = metric.group if is_first else ""
        rows.append((group, metric.name, f"{metric.value:.4g}", floor, metric.space, counts))
    return rows
