"""Tables and paragraphs of the page as HTML. Every text is escaped."""

from collections.abc import Sequence

from vqgen.app.uploads import escape


def html_table(caption: str, rows: Sequence[Sequence[str]]) -> str:
    """Returns a table that scrolls in its own box if it is wider than the screen.

    Args:
        caption: The sentence above it.
        rows: The heading, then the rows; the first cell of each is its name.
    """
    head, *body = rows
    heading = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in body
    )
    return (
        f'<div class="vq-table" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heading}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def paragraphs(*texts: str) -> str:
    """Returns a paragraph for each text."""
    return "".join(f"<p>{escape(text)}</p>" for text in texts)
