"""How a run was made: configuration, log, matrices, longer measurements, where all is from."""

import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmagga import __version__, figures
from mmagga.attention.battery.verdict import NOT_MEASURED
from mmagga.cli.flags import PRESETS, command
from mmagga.config import Config, config_hash, to_dict
from mmagga.data.files.index import fingerprints
from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError
from mmagga.figures.table import Table
from mmagga.model.head import MMA
from mmagga.report.page import Picture, Section, table
from mmagga.report.results import Tested
from mmagga.runs.opened import OpenedRun
from mmagga.runs.run import Run, environment
from mmagga.runs.status import status
from mmagga.studies.tables import NONE, ledger_table
from mmagga.system.files import read_csv

_STANDING = ("state", "done", "losses", "lr", "speed", "health")
"""Of what `status` says: the rest has its own place on the page."""
_BATTERY = {
    "battery": "The measures of the battery with their intervals, trained and untrained",
    "curves": "Finding people with other weights, over area and number of covered frames",
}
"""Pictures that `mmagga attention` draws: their alt texts."""


def configuration(run: Run) -> Section:
    """List all fields, and mark those in which the run differs from the nearest preset."""
    config = run.load_config()
    preset = command(config)[1]
    ours, theirs = (dict(_fields(to_dict(c))) for c in (config, PRESETS[preset][1]))
    changed = [name for name in ours if ours[name] != theirs[name]]
    groups: dict[str, list[str]] = {}
    for name in ours:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    tables = []
    for group, names in groups.items():
        cells = pd.DataFrame({
            "field": [name.removeprefix(f"{group}.") for name in names],
            "value": [ours[name] for name in names],
        })  # fmt: skip
        differs = [name in changed for name in names]
        if any(differs):
            cells[preset] = [theirs[name] if name in changed else "" for name in names]
        marks = cells.map(lambda _: "")
        marks.loc[differs, "value"] = "bold"
        tables.append(Table(cells, marks, group or "run"))
    text = f"Bold: what differs from the nearest preset, {preset}, whose value stands beside it."
    stages = _stages(config, PRESETS[preset][1])
    return Section("Configuration", text, tables=(stages, *tables), columns=True)


def _stages(config: Config, preset: Config) -> Table:
    """List the stages."""
    ours, theirs = (pd.DataFrame(to_dict(c)["stages"]).map(_text) for c in (config, preset))
    same = ours == theirs.reindex(ours.index)
    cells = ours.rename_axis("stage").rename(lambda i: str(i + 1)).reset_index()
    marks = same.map({True: "", False: "bold"}.get)
    marks.insert(0, "stage", "")
    return Table(cells, marks, "stages")


def _fields(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Return all fields but the stages by their dotted names, as text."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{prefix}{name}.")
        elif name != "stages":
            place = name in ("root", "packed") and value is not None
            yield f"{prefix}{name}", near(Path(value)) if place else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return NONE if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def near(path: Path) -> str:
    """Write a path as seen from the current folder; of one elsewhere its last part alone.

    The page may be sent to others, who need not know the folders of this machine.
    """
    absolute = path.expanduser().resolve()
    here = Path.cwd()
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else absolute.name


def standing(run: Run) -> dict[str, str]:
    """Return the state of the run: what is done, at which losses and speed."""
    lines = (line.partition(" ") for line in status(run).splitlines())
    return {name: text.strip() for name, _, text in lines if name in _STANDING}


def training(run: Run) -> Section:
    """Describe the state of the run and draw its log."""
    steps, title = run.read("steps"), "Training"
    lines = "\n".join(f"{name:8}{text}" for name, text in standing(run).items())
    if steps.empty:
        return Section(title, missing=("no step is logged yet",), plain=lines)
    figure = figures.learning_curves(steps, run.read("epochs"), run.read("timing"))
    last = steps.iloc[-1]
    alt = (
        f"Learning curves over {len(steps):,} steps: the loss goes from {steps['loss'].iat[0]:.2f} "
        f"to {last['loss']:.2f}"
    )
    caption = (
        "Grey bands are every second stage; each begins with a new optimiser and its own learning "
        "rate. Beyond the dashed line the official triplet loss pulls negatives closer."
    )
    return Section(title, pictures=(Picture.of(figure, alt, caption),), plain=lines)


def matrices(run: Run) -> Section:
    """Draw the MMA matrices at the end of the last stage that is done."""
    title, logged = "MMA matrices", run.read("matrices")
    if logged.empty:
        return Section(title, missing=("they are written at the end of each stage: none is done",))
    last = logged.iloc[-1]
    after = {name: np.array(values) for name, values in last["matrices"].items()}
    before = {name: MMA(name, learned=True).matrix.detach().numpy() for name in after}
    moved = {name: np.abs(after[name] - before[name]).max() for name in after}
    caption = (
        "Which cells of the grid make which part; at the start a part is a horizontal stripe. "
        f"After: step {last['step']}, the end of stage {last['stage']}. Largest change of an "
        f"entry: {', '.join(f'{name} {value:.2f}' for name, value in moved.items())}."
    )
    picture = Picture.of(figures.matrices_figure(after, before), f"{title}. {caption}", caption)
    return Section(title, pictures=(picture,))


def measured(
    run: Run, config: Config, tested: Tested | None, tracklets: Tracklets | None
) -> Section:
    """Show what longer measurements on these data left in the run folder: ledger and battery."""
    trained, options = run.load_config(), [near(run.folder)]
    if tracklets is None and config.dataset != trained.dataset:
        return Section("Longer measurements", missing=(f"those on {config.dataset}: no data",))
    if config.dataset != trained.dataset:
        options += ["--dataset", config.dataset]
    if (config.dataset, config.root) != (trained.dataset, trained.root):
        options += ["--root", near(config.root)]
    how = shlex.join(options)
    tables, pictures, missing = [], [], []
    path = run.result_path("ledger", tracklets, ".csv")
    if not path.exists():
        missing.append(f"the protocol ledger: python -m mmagga ledger {how}")
    elif (ledger := _read(path, ["convention", "mAP"], missing)) is not None:
        tables.append(ledger_table(ledger, run.folder.name))
        mAP = float(ledger["mAP"].iat[0])  # the paper's convention comes first
        if tested and not tested.has(mAP):
            missing.append(f"a ledger of this test: the one there is of a test with mAP {mAP:.1%}")
    folder = run.result_path("attention", tracklets)
    path = folder / "verdicts.csv"
    if path.exists():
        found = _read(path, [], missing, keep_default_na=False, dtype=str)
        if found is not None:
            caption = "Does attention respond to occluders, and does that matter for retrieval?"
            note = f"Measured {date(path.stat().st_mtime)}."
            words = found.replace(NOT_MEASURED, NONE)
            tables.append(table(words, caption, note, texts=len(found.columns)))
    elif config.model.name != "baseline":
        missing.append(f"the attention battery: python -m mmagga attention {how}")
    for name, words in _BATTERY.items():
        if (folder / f"{name}.png").exists():
            pictures.append(Picture.read(folder / f"{name}.png", words, f"{words}."))
    return Section(
        "Longer measurements", "", tuple(missing), pictures=tuple(pictures), tables=tuple(tables)
    )


def _read(
    path: Path, columns: list[str], missing: list[str], **options: Any
) -> pd.DataFrame | None:
    """Read a table of the run folder; where it is damaged, note that and return None."""
    try:
        return read_csv(path, columns, **options)
    except DataError as error:
        missing.append(str(error))
        return None


# --- where it is from ----------------------------------------------------------------------------


def provenance(
    run: Run, config: Config, tracklets: Tracklets | None, opened: OpenedRun | None
) -> Section:
    """Describe versions, data and command of the run, so that it can be made again."""
    record, now = run.last_checkpoint() or {}, environment()
    if opened and opened.record["step"] != record["step"]:  # the newest one is damaged
        record = opened.record
    config_here = replace(run.load_config(), root=Path(near(run.load_config().root)))
    words = command(config_here, Path(near(run.folder.parent)))
    facts = {
        "run": run.folder.resolve().name,
        "configuration's hash": config_hash(run.load_config()),
        "seed": str(run.load_config().seed),
        "command": shlex.join(["python", "-m", "mmagga", *words]),
        "checkpoint": _checkpoint(record),
        "checkpoint's sha256": record.get("sha256", NONE),
        "trained on frames, hash": record.get("data") or NONE,
        "trained on split, hash": record.get("split", NONE),
    }
    if tracklets is not None:
        here = fingerprints(tracklets)
        own = config.dataset == run.load_config().dataset
        for name, what in (("data", "frames"), ("split", "split")):
            differs = own and name in record and record[name] != here[name]
            warning = ": OTHERS than it was trained on" if differs else ""
            facts[f"tested on {what}, hash"] = f"{here[name] or NONE}{warning}"
        facts["tested on"] = f"{tracklets.dataset}, split {config.split}, in {near(tracklets.root)}"
    facts |= {f"trained with {name}": str(value) for name, value in run.load_environment().items()}
    facts |= {
        "page made with": f"mmagga {__version__}, torch {now['torch']}, python {now['python']}",
        "page made": date(time.time()),
    }
    cells = pd.DataFrame({"": facts.keys(), " ": facts.values()})
    tables = [table(cells, "Where this page is from", texts=2)]
    if tracklets is not None:
        counts = tracklets.summary().map("{:,}".format).reset_index(names="split")
        tables.insert(0, table(counts, f"The data set {tracklets.dataset}", *tracklets.notes))
    return Section("Provenance", tables=tuple(tables))


def _checkpoint(record: dict[str, Any]) -> str:
    if not record:
        return "none yet"
    if not record.get("healthy", True):
        return f"step {record['step']}, {record['why']}"
    saved = f", saved {date(record['saved'])}" if "saved" in record else ""
    return (
        f"step {record['step']}, epoch {record.get('epoch', '?')}, mmagga {record['mmagga']}, "
        f"torch {record['torch']}, {record['bytes'] / 1e6:,.1f} MB{saved}"
    )


def date(seconds: float) -> str:
    """Write a time in seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
