"""The page: sections in, HTML out. No script, and nothing from elsewhere.

The template escapes every text; the only HTML that it takes as it is are `Table.html`, which
escapes its own, and the pictures, which are bytes in base64.
"""

from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from mmagga.figures import save
from mmagga.figures.table import Table

_PIXELS, _DOTS, _FAINT_DOTS = 88, 130, 95
"""For an inch of a figure: pixels of the page, and dots of a PNG of 256 and of all colours."""
_WIDE = 700
"""Pixels from which a picture is not shrunk to a phone's width but moves below the finger."""


class Number(NamedTuple):
    """A measure, large."""

    name: str
    value: str
    interval: str


class Picture(NamedTuple):
    """A PNG with the words that belong to it."""

    source: str
    """A data URI."""
    alt: str
    caption: str
    width: int | None = None
    """Pixels on the page; its own by default."""

    @classmethod
    def of(cls, figure: Figure, alt: str, caption: str, *, faint: bool = False) -> "Picture":
        """Draw a figure and close it; `faint` as in `figures.save`."""
        with TemporaryDirectory() as folder:
            dots = _FAINT_DOTS if faint else _DOTS
            path = save(figure, Path(folder) / "figure.png", dpi=dots, faint=faint)
            data = path.read_bytes()
        plt.close(figure)
        return cls(_uri(data), alt, caption, round(_PIXELS * figure.get_figwidth()))

    @classmethod
    def read(cls, path: Path, alt: str, caption: str) -> "Picture":
        """Take a PNG file as it is."""
        return cls(_uri(path.read_bytes()), alt, caption)

    @property
    def wide(self) -> bool:
        """Whether it has too much detail for a phone's width."""
        return self.width is None or self.width > _WIDE


class Section(NamedTuple):
    """A heading and what stands below it, in this order."""

    title: str
    text: str = ""
    missing: tuple[str, ...] = ()
    """What should stand here, and why it does not."""
    numbers: tuple[Number, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    plain: str = ""
    """Lines as they are, in a type of one width."""
    columns: bool = False
    """Put the tables, which are narrow then, into columns like those of a newspaper."""


def render(title: str, subtitle: str, sections: list[Section]) -> str:
    """Make the page."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder, encoding="utf-8"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["table"] = lambda table: Markup(table.html())
    template = environment.get_template("page.html")
    return plain(template.render(title=title, subtitle=subtitle, sections=sections)) + "\n"


def plain(text: str) -> str:
    """Write bytes of a file's name that are no text, such as a lone 0xff, with a backslash."""
    return text.encode("utf-8", "backslashreplace").decode()


def table(cells: pd.DataFrame, caption: str, *notes: str, texts: int = 1) -> Table:
    """Make a table without marks."""
    return Table(cells, cells.map(lambda _: ""), caption, notes, texts=texts)


def _uri(data: bytes) -> str:
    return f"data:image/png;base64,{b64encode(data).decode()}"
