"""The attention battery on several networks, pooled: tables, per-clip values and verdicts.

    python benchmarks/attention_study.py --device cuda --root data/world \
        --arm occluders RUN RUN RUN --arm clear RUN RUN RUN --taught RUN --out data/results

An arm is a way of training: its runs are the full network with different seeds, and are shown the
query tracklets of its data. Runs are only read. On a rendered world every query is filmed once more
with something before it and without it, so that the world's own occluders do not matter: it may be
the one with occluders or its twin (`python -m mmagga render --without occluder`), whose gallery is
unoccluded too. `--taught RUN` adds the arm "taught": the same network whose scoring layers learn
from masks to ignore occluders, the positive control. `--shuffled RUN …` is an arm like others, of
runs on shuffled labels. `--work FOLDER` finds the whole networks of the study of benchmarks/gpu.py
by itself: those in runs/ on world, those in runs-clear/ on world-clear, and a taught one of either.
Results are written after every run; a run that fails is reported, and the others go on.

attention.csv           Battery.table of each arm, its networks pooled: persons and networks drawn
                        again; sd is the spread of the networks
attention_runs.csv      the same of every run
attention_verdicts.csv  what is to be said, of every arm (run "pooled") and of every run
attention_clips.csv.gz  one value a clip and run, of what the words come from
attention_swaps.csv, attention_cascade.csv, attention_curves.csv
                        mAP by swap, layers undone one after the other, mAP over occluded area
"""

import argparse
import dataclasses
import json
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mmagga.attention.battery.clips import FILMED
from mmagga.attention.battery.controls import cascade, taught_to_ignore
from mmagga.attention.battery.parts_seen import PartMaterial, part_material
from mmagga.attention.battery.run import (
    OCCLUDERS,
    PARTS,
    Material,
    battery,
    kept,
    summary,
)
from mmagga.attention.battery.verdict import verdicts
from mmagga.config import Config, ModelConfig
from mmagga.data import load_tracklets
from mmagga.data.tracklets import Tracklets
from mmagga.model.build import untrained_like
from mmagga.retrieval.uncertainty import FINE_DRAWS
from mmagga.runs import Run, list_runs
from mmagga.system.device import resolve_device, settings
from mmagga.system.files import write_csv

TAUGHT = "taught"


class Subject(NamedTuple):
    """A network to examine."""

    arm: str
    folder: Path
    dataset: str
    """"" for the one that the run was trained on."""
    root: Path

    @property
    def name(self) -> str:
        """What result tables call it."""
        return self.folder.name


class Study:
    """What all networks share, and what was found so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = resolve_device(args.device)
        self.material: dict[tuple, tuple[Tracklets, Material, PartMaterial]] = {}
        self.found: dict[str, list[pd.DataFrame]] = {}
        self.pooled: dict[str, pd.DataFrame] = {}

    def shown(self, config: Config) -> tuple[Tracklets, Material, PartMaterial]:
        """Return the data set, the clips to show, and those of parts taken away; drawn once."""
        key = (config.dataset, str(config.root), config.split, config.frames, config.height,
               config.width)  # fmt: skip
        if key not in self.material:
            start = time.monotonic()
            tracklets = load_tracklets(config.dataset, config.root, config.split)
            material = Material.draw(tracklets, config, limit=self.args.clips)
            parts = part_material(material.queries, self.args.parts_clips)
            self.material[key] = tracklets, material, parts
            seconds = round(time.monotonic() - start)
            print(json.dumps({"data": str(config.root), "clips": len(material.queries),
                              "seconds": seconds}), flush=True)  # fmt: skip
        return self.material[key]

    def examine(self, subject: Subject) -> None:
        """Run the battery on one network and add what it finds."""
        start, args = time.monotonic(), self.args
        run = Run(subject.folder)
        config = run.load_config()
        dataset = subject.dataset or config.dataset
        config = dataclasses.replace(config, dataset=dataset, root=subject.root, packed=None)
        if args.batch:
            config = dataclasses.replace(config, eval_batch=args.batch)
        tracklets, material, parts = self.shown(config)
        with settings(config.hardware, self.device):
            model = run.load_model(self.device)
            untrained = untrained_like(model, config)
            if subject.arm == TAUGHT:
                model = taught_to_ignore(model, tracklets, config)
            found = battery(
                model, untrained, tracklets, config,
                erasure_limit=args.erasure, pixels_limit=args.pixels, curves=args.curves,
                occluders=args.occluders, draws=args.draws, parts=args.parts, material=material,
                name=f"{subject.arm}/{subject.name}", part_clips=parts,
            )  # fmt: skip
            about = {"arm": subject.arm, "run": subject.name, "seed": config.seed}
            self._add("cascade", self._cascade(model, material, config), about)
        self._add("runs", found.table, about)
        self._add("verdicts", verdicts(found.table), about)
        self._add("swaps", found.swaps, about)
        self._add("curves", found.curves, about)
        self.found.setdefault("values", []).append(found.values.assign(arm=subject.arm))
        if args.figures:
            from mmagga.report.battery import write  # the tables alone need no matplotlib

            title = f"{subject.arm}, {subject.name}"
            write(found, args.figures / subject.arm / subject.name, title)
        seconds = round(time.monotonic() - start)
        counts = {"clips": found.clips, "persons": found.persons, "seconds": seconds}
        print(json.dumps(about | counts), flush=True)

    def _cascade(self, model: object, material: Material, config: Config) -> pd.DataFrame:
        limit = self.args.cascade
        if not limit:
            return pd.DataFrame()
        queries = material.queries.some(limit)
        occluder = FILMED if queries.filmed is not None else "object"
        return cascade(model, queries, config, occluder)

    def _add(self, name: str, table: pd.DataFrame, about: dict) -> None:
        if len(table):
            table = table.drop(columns=[c for c in ("arm", "run", "seed") if c in table])
            frame = pd.DataFrame(about, index=table.index).join(table)
            self.found.setdefault(name, []).append(frame)

    def write(self, *changed: str) -> None:
        """Pool the networks of the arms that `changed` and write all tables."""
        args = self.args
        stem = f"attention_{args.name}" if args.name else "attention"
        for arm in changed:
            some = pd.concat([v for v in self.found["values"] if v["arm"].iloc[0] == arm])
            self.pooled[arm] = summary(some, draws=args.draws)
        tables = [table.assign(arm=arm) for arm, table in self.pooled.items()]
        words = [
            verdicts(table).assign(arm=arm, run="pooled") for arm, table in self.pooled.items()
        ]
        pooled = pd.concat(tables, ignore_index=True)
        write_csv(args.out / f"{stem}.csv", pooled[["arm", *pooled.columns.drop("arm")]], digits=6)
        every = pd.concat([*words, *self.found.get("verdicts", [])], ignore_index=True)
        first = ["arm", "run"]
        every = every[[*first, *every.columns.drop([*first, "seed"], errors="ignore")]]
        write_csv(args.out / f"{stem}_verdicts.csv", every, digits=6)
        for name in ("runs", "swaps", "curves", "cascade"):
            if name in self.found:
                table = pd.concat(self.found[name], ignore_index=True)
                write_csv(args.out / f"{stem}_{name}.csv", table, digits=6)
        clips = pd.concat([kept(values) for values in self.found["values"]], ignore_index=True)
        clips.to_csv(args.out / f"{stem}_clips.csv.gz", index=False, float_format="%.5g",
                     lineterminator="\n", compression={"method": "gzip", "mtime": 0})  # fmt: skip


def parse() -> tuple[list[Subject], argparse.Namespace]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arm", nargs="+", action="append", default=[], metavar="NAME RUN")
    parser.add_argument("--taught", nargs="+", default=[], metavar="RUN",
                        help="runs to teach to ignore occluders")  # fmt: skip
    parser.add_argument("--shuffled", nargs="+", default=[], metavar="RUN",
                        help="runs that were trained on shuffled labels")  # fmt: skip
    parser.add_argument("--root", action="append", default=[], metavar="[DATASET=]FOLDER",
                        help="data of the arms; one for all, or one for each")  # fmt: skip
    parser.add_argument("--work", type=Path, help="folder of benchmarks/gpu.py, instead of arms")
    parser.add_argument("--name", help="of the data, for the files' names")
    parser.add_argument("--out", type=Path, default=Path("data/results"))
    parser.add_argument("--figures", type=Path, help="also write every run's figures below here")
    parser.add_argument("--clips", type=int, help="queries, all by default")
    parser.add_argument("--batch", type=int, help="clips a forward pass, the run's by default")
    parser.add_argument("--erasure", type=int, default=100, help="queries whose tokens are erased")
    parser.add_argument("--pixels", type=int, default=8, help="queries whose pixels are deleted")
    parser.add_argument("--parts-clips", type=int, default=60,
                        help="queries whose parts are rendered away; 0 for none")  # fmt: skip
    parser.add_argument("--cascade", type=int, default=100,
                        help="queries to undo layers on; 0 for none")  # fmt: skip
    parser.add_argument("--occluders", nargs="+", default=list(OCCLUDERS))
    parser.add_argument("--curves", nargs="+", default=["object"])
    parser.add_argument("--parts", nargs="+", default=["swaps", "erasure"],
                        choices=PARTS)  # fmt: skip
    parser.add_argument("--draws", type=int, default=FINE_DRAWS)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    if args.work:
        subjects = whole_networks(args.work)
        if not subjects:
            parser.error(f"no finished MMA-GGA run in {args.work}/runs or {args.work}/runs-clear")
        return subjects, args
    arms = [*args.arm, *([["shuffled", *args.shuffled]] if args.shuffled else []),
            *([[TAUGHT, *args.taught]] if args.taught else [])]  # fmt: skip
    if not arms:
        parser.error("give at least one --arm NAME RUN, or --work")
    if len(args.root) not in (1, len(arms)):
        parser.error(f"{len(arms)} arms, but {len(args.root)} roots: give one, or one for each")
    roots = args.root if len(args.root) == len(arms) else args.root * len(arms)
    subjects = []
    for (name, *runs), root in zip(arms, roots):
        dataset, _, folder = root.rpartition("=")
        subjects += [Subject(name, Path(run), dataset, Path(folder)) for run in runs]
    return subjects, args


def whole_networks(work: Path) -> list[Subject]:
    """Find the finished runs of the whole network, with the data that they were trained on.

    All are shown the same clips, those of the world without occluders where it is there: queries
    are filmed anew, and its gallery is unoccluded.
    """
    shown = next((work / name for name in ("world-clear", "world") if (work / name).is_dir()), work)
    subjects = []
    for arm, folder, data in (("occluders", "runs", "world"),
                              ("clear", "runs-clear", "world-clear")):  # fmt: skip
        runs = [run for run in list_runs(work / folder) if _is_whole(run, work / data)]
        subjects += [Subject(arm, run.folder, "", shown) for run in runs]
    taught = {subject.arm: subject._replace(arm=TAUGHT) for subject in reversed(subjects)}
    return [*subjects, *taught.values()]


def _is_whole(run: Run, root: Path) -> bool:
    """Whether a run is finished, on this data, and of the network with all that the paper has."""
    if not (run.folder / "metrics.json").is_file():
        return False
    config, paper = run.load_config(), ModelConfig()
    model = config.model
    return (
        Path(config.root).resolve() == root.resolve()
        and (model.name, model.pooling, model.mma) == ("mmagga", "gga", "learned")
        and set(model.granularities) == set(paper.granularities)
        and model.temperature == paper.temperature
    )


def main() -> None:
    """Examine all networks, print the verdicts, write the tables."""
    subjects, args = parse()
    study, failed = Study(args), []
    args.out.mkdir(parents=True, exist_ok=True)
    for subject in subjects:
        try:
            study.examine(subject)
        except Exception:  # the other networks' results are worth keeping, whatever it was
            traceback.print_exc()
            failed.append(f"{subject.arm}/{subject.name}")
            continue
        study.write(subject.arm)
    if "verdicts" in study.found:
        stem = f"attention_{args.name}" if args.name else "attention"
        words = pd.read_csv(args.out / f"{stem}_verdicts.csv")
        shown = words[(words["run"] == "pooled") & words["occluder"].isin(["none", "all"])]
        print(shown.drop(columns="run").astype(object).fillna("").to_string(index=False))
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
