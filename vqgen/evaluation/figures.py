"""What a judgement says: figures with all that is needed to compute them again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Int64
from torch import Tensor

from vqgen.errors import DataError


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        group: What it is about, such as reconstruction.
        name: Its name.
        value: Its value.
        floor: What the same metric gives on two halves of the real images, where noise alone is at work: the distance
            between the halves, or the difference between their figures. None where the halves are too small.
        space: The space it was computed in, such as pixels.
        counts: What was counted, name -> number of images.
    """

    group: str
    name: str
    value: float
    floor: float | None = None
    space: str = "pixels"
    counts: Mapping[str, int] = field(default_factory=dict)


def figures_with_floor(
    group: str,
    space: str,
    counts: Mapping[str, int],
    whole: Mapping[str, float],
    floor: Callable[[], Mapping[str, float]],
) -> list[Figure]:
    """Puts the noise floor beside each figure.

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
    return [Figure(group, name, value, floors.get(name), space, counts) for name, value in whole.items()]


def difference(
    compute: Callable[[Int64[Tensor, " half"]], Mapping[str, float]], halves: tuple[Tensor, Tensor]
) -> dict[str, float]:
    """How far the figures of two halves are apart.

    Args:
        compute: Indices of images -> figures.
        halves: Indices of the two halves.

    Raises:
        DataError: A half is empty.
    """
    if not len(halves[0]):
        raise DataError("halves: should have images, found none")
    one, other = (compute(half) for half in halves)
    return {name: abs(value - other[name]) for name, value in one.items() if name in other}


def figures_table(figures: Sequence[Figure]) -> str:
    """A table with a line for each figure."""
    rows = [("", "figure", "value", "floor", "space", "images")]
    for place, figure in enumerate(figures):
        first = place == 0 or figures[place - 1].group != figure.group
        counts = ", ".join(f"{count:,} {name}" for name, count in figure.counts.items())
        floor = "-" if figure.floor is None else f"{figure.floor:.4g}"
        rows.append((figure.group if first else "", figure.name, f"{figure.value:.4g}", floor, figure.space, counts))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for group, name, value, floor, space, counts in rows:
        cells = [group.ljust(widths[0]), name.ljust(widths[1]), value.rjust(widths[2]), floor.rjust(widths[3])]
        lines.append("  ".join([*cells, space.ljust(widths[4]), counts]).rstrip())
    return "\n".join(lines)
