"""Write the tables of benchmarks/README.md from data/results/speed-*.csv.

python benchmarks/readme.py
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.system.files import write_text

README = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).parents[1] / "data" / "results"


def model(results: Path) -> str:
    """Give a table for each device that was measured; runs stand side by side."""
    text = []
    for path in sorted(results.glob("speed-c*.csv")):  # cpu, cuda
        rows = pd.read_csv(path)
        about = rows.iloc[0]
        where = "one CPU core" if about.threads == 1 else f"{about.threads} CPU cores"
        if about.device != "cpu":
            where = about.device
        text.append(f"{where}, torch {about.torch}, {about.date}, {about.repeats} repeats a run\n")
        lines = []
        for key, runs in rows.groupby(["work", "variant", "options"], sort=False):
            cells = [*key, " · ".join(map(_spread, runs.itertuples()))]
            cells += [_joined(runs.times_plain, "×"), _joined(runs.share_of_bare, "")]
            lines.append([*cells, f"{runs.mars_hours.median():,.1f}"])
        heads = ["work", "what", "options", "seconds (quartiles), run by run"]
        heads += ["speed-up over plain", "share of bare", "hours for MARS"]
        text.append(_table(heads, lines))
    return "\n".join(text)


def loader(results: Path) -> str:
    """Give microseconds a frame and ratios; runs stand side by side."""
    rows = pd.read_csv(results / "speed-loader.csv")
    about = rows.iloc[0]
    lines = []
    for (work, variant), runs in rows.groupby(["work", "variant"], sort=False):
        spread = " · ".join(_spread(row, "micros") for row in runs.itertuples())
        rate = " · ".join(f"{1e6 / micros:,.0f}" for micros in runs.micros)
        lines.append([work, variant, spread, rate, _joined(runs.times_plain, "×")])
    return (
        f"one CPU core, {about.frames} frames of {about.height}×{about.width} ({about.images}), "
        f"{about.date}, {about.repeats} repeats a run\n\n"
    ) + _table(["to", "what", "µs a frame (quartiles)", "frames/s", "speed-up over plain"], lines)


def retrieval(results: Path) -> str:
    rows = pd.read_csv(results / "speed-retrieval.csv")
    about = rows.iloc[0]
    lines = []
    for work, runs in rows.groupby("work", sort=False):
        memory = _joined(runs.peak_gb, " GB")
        spread = " · ".join(map(_spread, runs.itertuples()))
        lines.append([work, spread, _joined(runs.times_ours, "×"), memory])
    heads = ["work", "seconds (quartiles), run by run", "time relative to ours", "peak memory"]
    return (
        f"{about.threads} CPU thread{'s' * bool(about.threads > 1)}, {about.queries:,} queries × "
        f"{about.gallery + about.queries:,} × {about.dim:,}, {about.date}, "
        f"{about.rounds} rounds a run\n\n"
    ) + _table(heads, lines)


def startup(results: Path) -> str:
    rows = pd.read_csv(results / "speed-startup.csv")
    lines = [
        [work, " · ".join(map(_spread, runs.itertuples())), _joined(runs.times_torch, "×")]
        for work, runs in rows.groupby("work", sort=False)
    ]
    heads = ["work", "CPU seconds (quartiles), run by run", "time relative to `import torch`"]
    return _table(heads, lines)


def browser(results: Path) -> str:
    rows = pd.read_csv(results / "speed-browser.csv")
    lines = [
        [row.control, _spread(row, "ms"), f"{row.first_ms:,.0f}", f"{row.first_clips}"]
        for row in rows.itertuples()
    ]
    heads = ["control", "ms a step (quartiles)", "the first, ms", "its clips through the network"]
    return f"one CPU core, {rows.date[0]}\n\n" + _table(heads, lines)


def scaling(results: Path) -> str:
    """Return the ends of each curve and the exponent between its last two sizes; 1 is linear."""
    lines = []
    rows = pd.read_csv(results / "speed-scaling.csv")
    for (work, grows), curve in rows.groupby(["work", "grows"], sort=False):
        ends = curve.tail(2)
        exponent = np.diff(np.log(ends.seconds))[0] / np.diff(np.log(ends["size"]))[0]
        first, last = curve.iloc[0], curve.iloc[-1]
        sizes = f"{first['size']:,} to {last['size']:,} {grows}"
        spent = f"{first.seconds:.3g} to {last.seconds:.3g} s"
        if work == "rendering":
            spent += f", {last['size'] / last.seconds:,.0f} frames/s"
        lines.append([work, sizes, spent, f"{exponent:.2f}"])
    return _table(["work", "from … to", "CPU time", "exponent"], lines)


TABLES: dict[str, Callable[[Path], str]] = {
    "model": model,
    "loader": loader,
    "retrieval": retrieval,
    "startup": startup,
    "browser": browser,
    "scaling": scaling,
}


def filled(text: str, results: Path = RESULTS) -> str:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` by the table NAME."""
    for name, table in TABLES.items():
        between = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        content = table(results)
        text = between.sub(lambda m, content=content: f"{m[1]}\n{content}\n{m[2]}", text)
    return text


def _spread(row: tuple, unit: str = "seconds") -> str:
    low, middle, high = (getattr(row, unit + end) for end in ("_q1", "", "_q3"))
    digits = ",.0f" if middle >= 100 else ".3g"
    return f"{middle:{digits}} ({low:{digits}}–{high:{digits}})"


def _joined(values: pd.Series, unit: str) -> str:
    return " · ".join(f"{value:.2f}{unit}" for value in values.dropna())


def _table(heads: list[str], lines: list[list[str]]) -> str:
    rows = [heads, ["---"] * len(heads), *lines]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


if __name__ == "__main__":
    write_text(README, filled(README.read_text(encoding="utf-8")))
