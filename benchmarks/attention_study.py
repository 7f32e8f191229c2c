"""The attention battery on several runs: data/results/attention.csv and a verdict for each arm.

    python benchmarks/attention_study.py \
        --arm occluders RUN RUN RUN --arm clear RUN RUN RUN --root data/synthetic-study \
        [--clips 228] [--out data/results]
    python benchmarks/attention_study.py --arm photographs RUN --root prid2011=FOLDER --name real

The runs of the first two arms are the rows MMA-GGA of

    python -m mmagga ablate modules --base study
    python -m mmagga ablate modules --base study --root data/synthetic-study-clear \
        --runs runs-clear --out runs-clear

on the rendered presets study and study-clear; those of the third benchmarks/yardsticks.py makes.

An arm is a way of training: all its runs are the full network, with different seeds, and are
examined on the query tracklets of its data, under pasted occluders and, where the data has masks,
under filmed ones. Runs are only read. With --name real the files are attention_real.csv, ….

attention.csv         a row for each arm, measure, branch and occluder: the mean over the seeds, the
                      spread of the seeds (sd), the lowest and highest end of their intervals, and
                      in how many of them the claim was supported, or too small to matter
attention_runs.csv    the battery's table of every run
attention_verdicts.csv  what each run's battery says of every branch
attention_swaps.csv, attention_curves.csv  mAP of every run, swap, occluder and point of a curve
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mmagga.attention.battery.run import OCCLUDERS, PARTS, Battery, battery
from mmagga.attention.battery.verdict import SUPPORTED, TOO_SMALL, verdicts
from mmagga.data import load_tracklets
from mmagga.model.build import untrained_like
from mmagga.report.battery import write, write_table
from mmagga.retrieval.uncertainty import FINE_DRAWS
from mmagga.runs import Run
from mmagga.system.device import resolve_device

KEYS = ["arm", "measure", "branch", "occluder"]


class Arm(NamedTuple):
    """Runs that differ in their seed alone, and the data to examine them on."""

    name: str
    runs: list[Path]
    dataset: str
    """"" for the one that the run was trained on."""
    root: Path


def examine(run: Run, arm: Arm, args: argparse.Namespace) -> Battery:
    """Run the battery on one run's network."""
    dataset = arm.dataset or run.load_config().dataset
    config = dataclasses.replace(run.load_config(), dataset=dataset, root=arm.root)
    model = run.load_model(resolve_device(args.device))
    return battery(
        model,
        untrained_like(model, config),
        load_tracklets(dataset, arm.root, config.split),
        config,
        tracklets_limit=args.clips,
        pixels_limit=args.pixels,
        curves=args.curves,
        occluders=args.occluders,
        draws=args.draws,
        parts=args.parts,
    )


def summary(tables: pd.DataFrame) -> pd.DataFrame:
    """Average the runs of each arm."""
    groups = tables.groupby(KEYS, sort=False)
    words, by = tables["verdict"], [tables[key] for key in KEYS]
    return pd.DataFrame(
        {
            "seeds": groups.size(),
            "value": groups["value"].mean(),
            "seed_sd": groups["value"].std(),
            "low": groups["low"].min(),
            "high": groups["high"].max(),
            "clips": groups["clips"].mean(),
            "random": groups["random"].first(),
            "attainable": groups["attainable"].mean(),
            "untrained": groups["untrained"].mean(),
            "random_layers": groups["random_layers"].mean(),
            "threshold": groups["threshold"].first(),
            "supported": (words == SUPPORTED).groupby(by, sort=False).sum(),
            "too_small": (words == TOO_SMALL).groupby(by, sort=False).sum(),
        }
    ).reset_index()


def count_verdicts(found: pd.DataFrame) -> pd.DataFrame:
    """Count the words of each arm, branch and question over its runs."""
    long = found.melt(
        ["arm", "run", "branch", "occluder"], ["reacts", "matters"], "question", "word"
    )
    long = long[long["word"] != ""]
    return long.groupby(["arm", "question", "branch", "occluder"], sort=False)["word"].agg(
        lambda words: ", ".join(f"{word}: {n}" for word, n in words.value_counts().items())
    )


def parse() -> tuple[list[Arm], argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", nargs="+", action="append", required=True, metavar="NAME RUN")
    parser.add_argument("--root", action="append", required=True, metavar="[DATASET=]FOLDER",
                        help="data of the arms; one for all, or one for each")  # fmt: skip
    parser.add_argument("--name", help="of the data, for the files' names")
    parser.add_argument("--out", type=Path, default=Path("data/results"))
    parser.add_argument("--figures", type=Path, help="also write every run's figures below here")
    parser.add_argument("--clips", type=int, help="queries, all by default")
    parser.add_argument("--pixels", type=int, default=8, help="queries of A10")
    parser.add_argument("--occluders", nargs="+", default=list(OCCLUDERS))
    parser.add_argument("--curves", nargs="+", default=["object", "person"])
    parser.add_argument("--parts", nargs="+", default=list(PARTS))
    parser.add_argument("--draws", type=int, default=FINE_DRAWS)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    roots = args.root * len(args.arm) if len(args.root) == 1 else args.root
    if len(roots) != len(args.arm):
        parser.error(f"{len(args.arm)} arms, but {len(roots)} roots: give one, or one for each")
    arms = []
    for (name, *runs), root in zip(args.arm, roots):
        dataset, _, folder = root.rpartition("=")
        arms.append(Arm(name, [Path(run) for run in runs], dataset, Path(folder)))
    return arms, args


def main() -> None:
    """Examine all runs, print the verdicts, write the tables."""
    arms, args = parse()
    found: dict[str, list[pd.DataFrame]] = {"runs": [], "verdicts": [], "swaps": [], "curves": []}
    for arm in arms:
        for folder in arm.runs:
            start = time.monotonic()
            run = Run(folder)
            one = examine(run, arm, args)
            key = {"arm": arm.name, "run": folder.name, "seed": run.load_config().seed}
            tables = {
                "runs": one.table,
                "verdicts": verdicts(one.table),
                "swaps": one.swaps,
                "curves": one.curves,
            }
            for name, table in tables.items():
                found[name].append(pd.DataFrame(key, index=table.index).join(table))
            if args.figures:
                write(one, args.figures / arm.name / folder.name, f"{arm.name}, {folder.name}")
            record = key | {"clips": one.clips, "persons": one.persons}
            print(json.dumps(record | {"seconds": round(time.monotonic() - start)}), flush=True)
    joined = {name: pd.concat(tables, ignore_index=True) for name, tables in found.items()}
    stem = f"attention_{args.name}" if args.name else "attention"
    write_table(summary(joined["runs"]), args.out / f"{stem}.csv")
    for name, table in joined.items():
        if len(table):
            write_table(table, args.out / f"{stem}_{name}.csv")
    print(count_verdicts(joined["verdicts"]).to_string())


if __name__ == "__main__":
    main()
