"""Tables of text, for the terminal."""

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligns cells in columns, with two spaces between the columns.

    Args:
        rows: The cells, row by row; every row has the same number of cells.
        left: Number of first columns that are aligned to the left; the columns after them are aligned to the right.

    Returns:
        One line per row, without spaces at the ends of lines; empty text without rows.

    Raises:
        ValueError: The rows differ in their number of cells.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, strict=True)
        aligned = [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(cells)]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)
