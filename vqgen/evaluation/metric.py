"""A metric with all that is needed to compute it again, its noise floor, and the table of metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Int64
from torch import Tensor

from vqgen.errors import DataError


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


def metrics_with_floor(
    group: str,
    space: str,
    counts: Mapping[str, int],
    whole: Mapping[str, float],
    floor: Callable[[], Mapping[str, float]],
) -> list[Metric]:
    """Makes metrics of values, each with its noise floor.

    Args:
        group: Name of their group.
        space: The space they were computed in.
        counts: Name of a set of images -> number of images in it.
        whole: Name -> value.
        floor: Returns name -> value for two halves of the real images. If it finds too few images, the metrics have
            no floor.
    """
    try:
        floors = floor()
    except DataError:
        # The metric of all images is still valid: half of them may be too few for a covariance, for instance.
        floors = {}
    return [Metric(group, name, value, floors.get(name), space, counts) for name, value in whole.items()]


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
