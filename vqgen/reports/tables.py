"""Tables of text, for the terminal."""

from collections.abc import Collection, Sequence


def format_table(rows: Sequence[Sequence[str]], left: int | Collection[int] = 1) -> str:
    """Aligns cells in columns, with two spaces between the columns.

    Args:
        rows: The cells, row by row; every row has the same number of cells.
        left: The columns that are aligned to the left: their number, counted from the first, or their indices. All
            other columns are aligned to the right.

    Returns:
        One line per row, without spaces at the ends of lines; empty text without rows.

    Raises:
        ValueError: The rows differ in their number of cells.
    """
    lefts = range(left) if isinstance(left, int) else left
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=True)
        aligned = [cell.ljust(width) if i in lefts else cell.rjust(width) for i, (cell, width) in enumerate(cells)]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)
