"""How long the kit takes to start, against importing torch, which it needs.

    python benchmarks/startup.py [--repeats 9] [--out data/results/speed-startup.csv]

Fresh processes take turns; the clock is their own CPU time, so that a busy machine does not count.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd

from mmagga.system.files import write_csv

WORK = {
    "import torch": ["-c", "import torch"],
    "import mmagga": ["-c", "import mmagga"],
    "import mmagga.model": ["-c", "import mmagga.model"],
    "python -m mmagga --help": ["-m", "mmagga", "--help"],
    "python -m mmagga train --help": ["-m", "mmagga", "train", "--help"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """Run a fresh interpreter; give the CPU time of it and its children."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], check=False, stdout=subprocess.DEVNULL)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--runs", type=int, default=2, help="the whole table so many times")
    parser.add_argument("--out", type=Path, default=Path("data/results/speed-startup.csv"))
    options = parser.parse_args()
    rows = []
    for run in range(1, options.runs + 1):
        seconds: dict[str, list[float]] = {name: [] for name in WORK}
        for _ in range(options.repeats + 1):
            for name, arguments in WORK.items():
                seconds[name].append(cpu_seconds(arguments))
        torch = statistics.median(seconds["import torch"][1:])
        for name, (_, *values) in seconds.items():
            low, middle, high = statistics.quantiles(values, n=4)
            row = {"run": run, "work": name, "seconds": middle, "seconds_q1": low}
            rows.append(row | {"seconds_q3": high, "times_torch": middle / torch})
    table = pd.DataFrame(rows)
    write_csv(options.out, table, digits=4)
    print(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
