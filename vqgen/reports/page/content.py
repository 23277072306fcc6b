"""The content of a page as plain data: sections of texts, tables, charts and pictures. Templates turn it into HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from vqgen.reports.page.charts import Chart
from vqgen.reports.page.pictures import Picture


@dataclass(frozen=True)
class Text:
    """Paragraphs.

    Attributes:
        paragraphs: Their texts.
        title: A small heading above them; empty for none.
    """

    kind: ClassVar[str] = "text"
    paragraphs: Sequence[str]
    title: str = ""


@dataclass(frozen=True)
class Command:
    """Words for a shell, which a reader copies.

    Attributes:
        text: The words.
    """

    kind: ClassVar[str] = "command"
    text: str


@dataclass(frozen=True)
class Table:
    """A table. It scrolls in its own box if it is wider than the screen.

    Attributes:
        headings: One for each column.
        rows: The cells, row by row.
        caption: A sentence below the table; empty for none.
        text_columns: Columns of text, counted from the left; numbers in the other columns are aligned to the right.
        summary: The line that opens the table, which is closed at first; empty for a table that is open.
    """

    kind: ClassVar[str] = "table"
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    text_columns: int = 1
    summary: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts beside each other, as many in a row as there is room for.

    Attributes:
        charts: The charts.
    """

    kind: ClassVar[str] = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True)
class PictureRow:
    """Pictures in a row of a gallery.

    Attributes:
        name: The text before them.
        pictures: The pictures; None for a place without a picture.
    """

    name: str
    pictures: Sequence[Picture | None]


@dataclass(frozen=True)
class Gallery:
    """Rows of pictures, column under column. It scrolls in its own box if it is wider than the screen.

    Attributes:
        rows: The rows.
        caption: Sentences below the pictures.
    """

    kind: ClassVar[str] = "gallery"
    rows: Sequence[PictureRow]
    caption: str


@dataclass(frozen=True)
class Fact:
    """A measurement at the head of the page.

    Attributes:
        name: Its name.
        values: Its values, one for each run.
        note: A few words about it.
    """

    name: str
    values: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """The most important measurements.

    Attributes:
        facts: The measurements.
        names: The names of the runs; empty on the page of a single run.
    """

    kind: ClassVar[str] = "facts"
    facts: Sequence[Fact]
    names: Sequence[str] = ()


@dataclass(frozen=True)
class StageLine:
    """The state of a stage.

    Attributes:
        name: Name of the stage.
        state: done, working or waiting.
        text: The state in words.
    """

    name: str
    state: str
    text: str


@dataclass(frozen=True)
class Stages:
    """The stages of a run, in their order.

    Attributes:
        run: Name of the run; empty on the page of a single run.
        lines: The stages.
    """

    kind: ClassVar[str] = "stages"
    run: str
    lines: Sequence[StageLine]


Block = Text | Command | Table | Charts | Gallery | Facts | Stages


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        title: Its heading.
        anchor: Its address in the page: lower-case letters and hyphens.
        blocks: Its content.
    """

    title: str
    anchor: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Its title.
        lead: A sentence below the title.
        sections: The sections. The table of contents lists them.
        footer: The last line.
        digest: A text by which a reader of the file recognises the state of the run.
        refresh: Seconds after which a browser loads the page again; None for never.
    """

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str
    digest: str = ""
    refresh: int | None = None
