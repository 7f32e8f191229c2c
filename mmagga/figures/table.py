"""One table, three forms: HTML for a notebook, Markdown for a page, LaTeX for a paper.

Every text is escaped in each of them: labels come from files and from people.
"""

import html
from dataclasses import dataclass
from zlib import crc32

import pandas as pd

from mmagga.figures.style import BLUE, GREEN, RED

# The places of a column: by colour, as papers do, and by type, for the colour-blind and for print.
_HTML = {"first": f"color: {RED}", "second": f"color: {BLUE}", "third": f"color: {GREEN}"}
_TAGS = {"first": "<b>{}</b>", "second": "<u>{}</u>", "third": "<i>{}</i>", "bold": "<b>{}</b>"}
_LATEX = {
    "first": "color: {first}; textbf: --rwrap",
    "second": "color: {second}; underline: --rwrap",
    "third": "color: {third}; textit: --rwrap",
    "bold": "textbf: --rwrap",
}
_MARKDOWN = {"first": "**{}**", "second": "<ins>{}</ins>", "third": "*{}*", "bold": "**{}**"}

_SYMBOLS = {
    "±": r"$\pm$", "−": "$-$", "–": "--", "Δ": r"$\Delta$", "✓": r"$\checkmark$", "τ": r"$\tau$",
    "×": r"$\times$", "λ": r"$\lambda$",
}  # fmt: skip
_LATEX_ESCAPES = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)


@dataclass(frozen=True)
class Table:
    """Text in rows and columns, with what stands above and below it."""

    cells: pd.DataFrame
    """Strings. Columns may have two levels; the index is not shown."""
    marks: pd.DataFrame
    """Of the same shape: "first", "second", "third", "bold", or nothing."""
    caption: str
    notes: tuple[str, ...] = ()
    rules: tuple[int, ...] = ()
    """A rule stands before each of these rows."""
    texts: int = 1
    """Columns from the left that are words and stand to the left; the others are numbers."""

    def html(self) -> str:
        """Return a `Styler`'s HTML."""
        rule = [{"selector": "td", "props": "border-top: 1px solid"}]
        tagged = {
            i: [
                _TAGS.get(mark, "{}").format(html.escape(text))
                for text, mark in zip(self.cells.iloc[:, i], self.marks.iloc[:, i], strict=True)
            ]
            for i in range(self.cells.shape[1])
        }
        cells = pd.DataFrame(tagged, self.cells.index).set_axis(self.cells.columns, axis=1)
        styler = (
            self._styler(cells, _HTML)
            .format_index(escape="html", axis=1)
            .set_caption(html.escape(self.caption))
            .set_table_styles([{"selector": "caption", "props": "text-align: left"}])
            .set_table_styles(dict.fromkeys(self.rules, rule), axis=1, overwrite=False)
            .set_properties(subset=self.cells.columns[: self.texts], **{"text-align": "left"})
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        # A name of its own, and the same every time.
        table = styler.set_uuid(f"{crc32(self.caption.encode()):08x}").to_html()
        # The class keeps Jupyter from reading dollars as formulas.
        return f'<div class="tex2jax_ignore mathjax_ignore">{table}{notes}</div>'

    _repr_html_ = html

    def markdown(self) -> str:
        """Return a pipe table, its caption above and its notes below."""
        columns = [" ".join(filter(None, _levels(column))) for column in self.cells.columns]
        rows = [
            [
                _MARKDOWN.get(mark, "{}").format(_markdown(text))
                for text, mark in zip(*pair, strict=True)
            ]
            for pair in zip(self.cells.to_numpy(), self.marks.to_numpy(), strict=True)
        ]
        ruler = ["---"] * self.texts + ["--:"] * (len(columns) - self.texts)
        lines = [[*map(_markdown, columns)], ruler, *rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([_markdown(self.caption), table, *map(_markdown, self.notes)]) + "\n"

    def latex(self) -> str:
        """Return a table environment; it needs booktabs, xcolor, amssymb, graphicx, T1 fonts."""
        numbers = len(self.cells.columns) - self.texts
        styler = self._styler(self.cells, _LATEX).format(escape="latex")
        tabular = styler.format_index(escape="latex", axis=1).to_latex(
            hrules=True, column_format="l" * self.texts + "r" * numbers, multicol_align="c"
        )
        # After \\\\ a bracket or a star would be read as its argument.
        lines = [("{}" + s if s[:1] in ("[", "*") else s) for s in tabular.rstrip().splitlines()]
        body = lines.index(r"\midrule") + 1
        for row in sorted(self.rules, reverse=True):
            lines.insert(body + row, r"\midrule")
        colours = [
            f"\\definecolor{{{name}}}{{HTML}}{{{colour[1:]}}}"
            for name, colour in (("first", RED), ("second", BLUE), ("third", GREEN))
        ]
        notes = [rf"\par\smallskip\raggedright {_latex(note)}" for note in self.notes]
        text = "\n".join(
            [r"\begin{table}[t]", r"\centering\footnotesize", *colours,
             rf"\caption{{{_latex(self.caption)}}}",
             r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", *lines, "}",
             *notes, r"\end{table}"]
        )  # fmt: skip
        for symbol, command in _SYMBOLS.items():
            text = text.replace(symbol, command)
        return text + "\n"

    def _styler(self, cells: pd.DataFrame, styles: dict[str, str]) -> "pd.io.formats.style.Styler":
        marks = self.marks.map(lambda mark: styles.get(mark, ""))
        return cells.style.hide(axis="index").apply(lambda _: marks, axis=None)


def _levels(column: str | tuple[str, ...]) -> tuple[str, ...]:
    return column if isinstance(column, tuple) else (column,)


def _markdown(text: str) -> str:
    text = html.escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{c}" if c in r"\`*_[]|$~#" else c for c in text)


def _latex(text: str) -> str:
    return text.translate(_LATEX_ESCAPES).replace("--", "-{}-")
