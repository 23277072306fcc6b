"""What a judgement says: metrics with all that is needed to compute them again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Int64
from torch import Tensor

from vqgen.errors import DataError


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        group: What it is about, such as reconstruction.
        name: Its name.
        value: Its value.
        floor: What the same metric gives on two halves of the real images, where noise alone is at work: the distance
            between the halves, or the difference between their metrics. None where the halves are too small.
        space: The space it was computed in, such as pixels.
        counts: What was counted, name -> number of images.
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
    """Puts the noise floor beside each metric.

    Args:
        group: What they are about.
        space: The space they were computed in.
        counts: What was counted.
        whole: Name -> value.
        floor: Name -> value on two halves of the real images; too few images for it leave the floors empty.
    """
    try:
        floors = floor()
    except DataError:
        floors = {}
    return [Metric(group, name, value, floors.get(name), space, counts) for name, value in whole.items()]


def difference(
    compute: Callable[[Int64[Tensor, " half"]], Mapping[str, float]], halves: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """How far the metrics of two halves are apart.

    Args:
        compute: Indices of images -> metrics.
        halves: Indices of the two halves.

    Raises:
        DataError: A half is empty.
    """
    if not len(halves[0]):
        raise DataError("halves: should have images, found none")
    one, other = (compute(half) for half in halves)
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
