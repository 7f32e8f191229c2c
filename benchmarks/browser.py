"""How long the attention browser takes for a step of each of its controls.

    python benchmarks/browser.py RUN [--root FOLDER] [--repeats 15]

A step is what the kernel does from the change of a control until the new pictures are PNG: what
Jupyter adds to send and show them is not in it. Each control goes to and fro between two values.
The first visit may need the network; the table's "again" is the later ones, which need none. The
clock is the process's own CPU time on one thread, so that a busy machine does not count.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch

from mmagga.browser import AttentionBrowser
from mmagga.data import load_tracklets
from mmagga.runs import Run
from mmagga.system.files import write_csv


def steps(browser: AttentionBrowser) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name each control and give a step of it to and fro."""

    def swing(control: object, *values: object) -> Callable[[], None]:
        states = [*values]

        def step() -> None:
            states.reverse()
            control.value = states[0]

        return step

    clicks = [browser.hits[1], browser.hits[0]]

    def click() -> None:
        clicks.reverse()
        clicks[0].click()

    yield "query", swing(browser.query, 1, 2)
    yield "click on the rank list", click
    yield "frame, Play", swing(browser.frame, 1, 2)
    yield "granularity", swing(browser.part, "all", "p1")
    yield "map: contribution", swing(browser.kind, "weight", "contribution")
    yield "opacity", swing(browser.opacity, 1.0, 0.5)
    yield "temperature", swing(browser.temperature, 1.0, 0.5)
    yield "weights: uniform", swing(browser.swap, "gga", "uniform")
    yield "brush: cover with a box", swing(browser.occluder, "", "box")
    yield "map: Grad-CAM", swing(browser.kind, "weight", "gradcam")
    yield "map: occlusion", swing(browser.kind, "weight", "occlusion")


def measure(browser: AttentionBrowser, repeats: int) -> Iterator[dict]:
    """Time the first step of each control, and the later ones."""
    for name, step in steps(browser):
        seconds, forwards = [], []
        for _ in range(2 * repeats + 2):
            before, start = browser.state.forwards, time.process_time()
            step()
            seconds.append(time.process_time() - start)
            forwards.append(browser.state.forwards - before)
            if browser.trace:
                raise RuntimeError(browser.trace)
        first, again = max(seconds[:2]), seconds[2:]
        assert not any(forwards[2:]), f"{name}: a second visit went through the network"
        low, middle, high = statistics.quantiles(again, n=4)
        row = {"control": name, "ms": 1e3 * middle, "ms_q1": 1e3 * low, "ms_q3": 1e3 * high}
        yield row | {"first_ms": 1e3 * first, "first_clips": max(forwards[:2])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--root", type=Path, help="data folder, if it has moved since training")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("data/results/speed-browser.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    config = Run(options.run).load_config()
    tracklets = load_tracklets(config.dataset, options.root or config.root, config.split)
    browser = AttentionBrowser(options.run, tracklets)
    print(f"opened in {time.process_time() - start:.1f} s of CPU time")
    rows = pd.DataFrame(measure(browser, options.repeats))
    table = rows.assign(repeats=options.repeats, date=datetime.date.today().isoformat())
    print(table.to_string(index=False, float_format="{:.3g}".format))
    write_csv(options.out, table, digits=4)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
