"""A battery on disk: every figure beside the CSV file that its numbers are in."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from mmagga.attention.battery.run import Battery
from mmagga.attention.battery.verdict import verdicts
from mmagga.figures import forest_figure, harm_figure, robustness_figure, save
from mmagga.system.files import write_csv


def write(found: Battery, folder: Path, name: str) -> list[Path]:
    """Write battery, verdicts, swaps and curves as CSV, forest plot, harm and curves as PNG.

    `name` says in the figures' titles what was measured: the run and its data.
    """
    tables = {
        "battery": found.table,
        "verdicts": verdicts(found.table),
        "swaps": found.swaps,
        "curves": found.curves,
    }
    written = [
        write_table(table, folder / f"{stem}.csv")
        for stem, table in tables.items()
        if len(table.columns)
    ]
    shown = f"{name}: {found.clips} clips of {found.persons} persons"
    written.append(_draw(forest_figure(found.table, title=shown), folder / "battery.png"))
    if found.table["measure"].str.startswith("harm (").any():
        written.append(_draw(harm_figure(found.table, title=shown), folder / "harm.png"))
    if len(found.curves):
        figure = robustness_figure(found.curves, title=shown)
        written.append(_draw(figure, folder / "curves.png"))
    return written


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Write a table with six significant digits, the same bytes on every system."""
    write_csv(path, table, digits=6)
    return path


def _draw(figure: plt.Figure, path: Path) -> Path:
    save(figure, path)
    plt.close(figure)
    return path
