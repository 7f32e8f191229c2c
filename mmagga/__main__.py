"""`python -m mmagga VERB`: the same calls as the notebooks, one verb each.

A verb's module is imported when the verb is used, so that the list of verbs answers at once. The
options and their help come from the signatures below and from the dataclasses in `mmagga.config`.
What happens around a verb, errors and exit codes among it, is in `mmagga.cli.shell`.
"""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from mmagga.cli import sockets
from mmagga.cli.shell import answer
from mmagga.errors import MmaggaError


def render(
    root: Path,
    *,
    preset: Literal[
        "tiny",
        "demo",
        "study",
        "study-clear",
        "world",
        "world-clear",
        "tuning",
        "start",
        "medium",
        "large",
    ] = "demo",
    layout: Literal["mars", "ilids_vid", "prid2011", "duke_video"] = "mars",
    without: Literal["occluder", "bag", "hair", "upper", "lower"] | None = None,
    workers: int | None = None,
) -> None:
    """Render the built-in data set, with its masks, in the layout of a real one.

    Example: python -m mmagga render --root data/synthetic-demo

    Args:
        root: Folder to make.
        preset: How many people, cameras and tracklets.
        layout: Data set whose reader is to read it.
        without: Leave out occluders, or one part of everybody; all other pixels stay the same.
        workers: Processes; the bytes do not depend on them.
    """
    from mmagga.data.synthetic import render

    made = render(root, preset, layout=layout, without=without or "", workers=workers)
    print(f"rendered: {made}")


def train(args: list[str]) -> None:
    """Train a preset, demo or paper, with any field changed; go on where it stopped.

    Example: python -m mmagga train demo --root data/synthetic-demo --seed 1

    `train demo --help` and `train paper --help` list the fields.
    """
    from mmagga.cli.flags import parse
    from mmagga.runs.run import Run
    from mmagga.runs.status import reached

    config, runs, steal = parse(args, inspect.getdoc(train))
    from mmagga.training import loop  # with torch, which help and refusals do without

    run = loop.train(config, Run.of(config, runs).folder, steal=steal)
    if os.environ.get("RANK", "0") == "0":  # torchrun's other processes say nothing
        print(f"run: {run.folder}\n{reached(run.load_metrics())}")


def evaluate(
    run: Path,
    /,
    *,
    root: Path | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    device: str = "auto",
    partial: bool = False,
) -> None:
    """Evaluate the newest checkpoint of a run under its data set's protocol.

    The CSV file says whom each query found, also where no query has a match to be scored. The
    embeddings are kept in the run folder, where browser and report find them.

    Example: python -m mmagga evaluate runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder, or an authors' checkpoint file.
        root: Data folder, if different from training.
        dataset: Data set, if different from training.
        out: CSV file for one row a query; by default in the run folder.
        device: cpu, cuda or auto.
        partial: Load what fits of a checkpoint of another network, and warn how much that is.
    """
    from mmagga.retrieval.analysis import with_names
    from mmagga.retrieval.metrics import score
    from mmagga.runs.health import warning
    from mmagga.runs.opened import OpenedRun
    from mmagga.runs.run import Run
    from mmagga.system.device import resolve_device
    from mmagga.system.distributed import from_first, processes
    from mmagga.system.files import write_csv
    from mmagga.training.health import dead_units

    run = _run_folder(run)
    config = _config(run, dataset, root, device)
    stem = "queries-partial" if partial else "queries"
    out = _writable(out or _in_folder(run, stem, config, ".csv"))
    with processes() as here:
        tracklets = _load(config) if here.first else None
        from_first(None)  # the others come when the index of the frames is there
        tracklets = tracklets or _load(config)
        if here.size > 1 or partial:
            model = Run(run).load_model(resolve_device(device), partial)
            scores = score(model, tracklets, config)
        else:  # keeps the embeddings in the run folder
            opened = OpenedRun(Run(run), tracklets, config)
            model, scores = opened.model, opened.scores
    if here.first:
        told = [note for note in tracklets.notes if note.startswith(("one camera", "identities"))]
        print(scores, *told, sep="\n")
        if said := warning(dead_units(model)):
            print(said)
        write_csv(out, with_names(scores, tracklets))
        print(f"one row a query: {out}")


def ledger(
    run: Path,
    /,
    *,
    root: Path | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    device: str = "auto",
) -> None:
    """Evaluate a run under every convention that papers use, side by side.

    Example: python -m mmagga ledger runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder, or an authors' checkpoint file.
        root: Data folder, if different from training.
        dataset: Data set, if different from training.
        out: CSV file to write; by default in the run folder.
        device: cpu, cuda or auto.
    """
    from mmagga.runs.run import Run
    from mmagga.studies.ledger import ledger, show, with_its_run
    from mmagga.system.device import resolve_device
    from mmagga.system.files import write_csv

    run = _run_folder(run)
    config = _config(run, dataset, root, device)
    out = _writable(out or _in_folder(run, "ledger", config, ".csv"))
    tracklets = _load(config)
    table = ledger(Run(run).load_model(resolve_device(device)), tracklets, config)
    if config.dataset == Run(run).load_config().dataset:
        table = with_its_run(table, Run(run))
    print(show(table))
    write_csv(out, table)
    print(f"what each changes, and who uses it: {out}")


def attention(
    run: Path,
    /,
    *,
    root: Path | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    clips: int | None = None,
    device: str = "auto",
) -> None:
    """Measure whether a run's attention avoids occluders, and whether that matters.

    Example: python -m mmagga attention runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder, or an authors' checkpoint file.
        root: Data folder, if different from training.
        dataset: Data set, if different from training.
        out: Folder for the tables and figures; by default the run's own attention/.
        clips: Queries to show; all by default.
        device: cpu, cuda or auto.
    """
    from mmagga.attention.battery.run import battery
    from mmagga.attention.battery.verdict import verdicts
    from mmagga.model.build import untrained_like
    from mmagga.report.battery import write
    from mmagga.runs.run import Run
    from mmagga.system.device import resolve_device

    run = _run_folder(run)
    config = _config(run, dataset, root, device)
    if config.model.name == "baseline":
        raise MmaggaError(f"{run} is a baseline, which has no attention: give a run of mmagga")
    out = out or _in_folder(run, "attention", config)
    _writable(out / "battery.csv")
    model = Run(run).load_model(resolve_device(device))
    tracklets = _load(config)
    found = battery(model, untrained_like(model, config), tracklets, config, tracklets_limit=clips)
    for path in write(found, out, f"{run.name} on {config.dataset}"):
        print(path)
    print(verdicts(found.table).to_string(index=False))


def report(
    run: Path,
    /,
    *,
    root: Path | None = None,
    dataset: str | None = None,
    out: Path | None = None,
    embed: bool = True,
    device: str = "auto",
) -> None:
    """Write one HTML page on a run: scores, curves, rank lists, attention, origin.

    Example: python -m mmagga report runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder, of a finished run or of one under way.
        root: Data folder, if different from training.
        dataset: Data set, if different from training.
        out: HTML file to write; by default in the run folder.
        embed: Embed the test set, once; without it only what the run's log says.
        device: cpu, cuda or auto.
    """
    from mmagga.report import write
    from mmagga.runs.run import Run

    run = _run_folder(run)
    config = _config(run, dataset, root, device)
    out = _writable(out or _in_folder(run, "report", config, ".html"))
    print(write(Run(run), config, out, embed=embed))


def replay(run: Path, /) -> None:
    """Repeat the step at which a run's loss was not finite, and name its clips.

    Example: python -m mmagga replay runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder.
    """
    from mmagga.runs.run import Run
    from mmagga.training.replay import replay

    print(replay(Run(run)))


def ablate(
    grid: str,
    /,
    *,
    base: Literal["demo", "study", "paper"] = "demo",
    dataset: str | None = None,
    root: Path | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    splits: tuple[int, ...] = (0,),
    runs: Path = Path("runs"),
    out: Path = Path("data/results"),
    packed: Path | None = None,
    devices: tuple[str, ...] = (),
    dry_run: bool = False,
    print: bool = False,
) -> None:
    """Run what is missing of an ablation, and write what its finished runs found.

    Example: python -m mmagga ablate modules --seeds 0 1

    Args:
        grid: modules, granularities, pooling, temperature, frames, losses, stages, non_local,
            gem_p or augment.
        base: What the rows change: minutes a run, the committed study, or the paper's setting.
        dataset: Data set, for the base paper.
        root: Its folder.
        seeds: Each row runs once for each.
        splits: Likewise, for data sets with ten splits.
        runs: Where the run folders lie.
        out: Folder for ablations-GRID-BASE.csv and its table of queries.
        packed: A pack of the data set's frames, to read from instead of its files.
        devices: GPUs to use at once, such as 0 1; by default all there are.
        dry_run: Only show what is done and what is to do.
        print: Only print a command line for each missing run, for a cluster.
    """
    from mmagga.studies import ablations, comparison
    from mmagga.studies.grids import base_config, find_grid

    config = dataclasses.replace(base_config(base, dataset, root), packed=packed)
    cells = ablations.cells(find_grid(grid), config, seeds, splits=splits, runs=runs)
    if not cells:
        raise MmaggaError("no seed or no split is named, so there is nothing to run")
    name = f"ablations-{grid}-{config.dataset if base == 'paper' else base}"
    if not (dry_run or print):
        _writable(out / f"{name}.csv")
    left = ablations.carry_out(cells, devices, dry_run=dry_run, commands=print)
    if not (dry_run or print):
        sys.stdout.write(f"results: {comparison.write(out, name, cells)}\n")
    if left:
        raise MmaggaError("not all could be run:\n" + "\n".join(left))


def tables(results: Path = Path("data/results"), runs: Path = Path("runs")) -> None:
    """Write the paper's tables and ours from the results, as Markdown and LaTeX.

    Example: python -m mmagga tables

    Args:
        results: Folder of the results; the tables go to its folder tables/.
        runs: Where runs on the paper's data sets are looked for.
    """
    from mmagga.studies.tables import write_all

    _writable(results / "tables" / "paper-II.md")
    for path in write_all(results, runs):
        print(path)


def status(run: Path | None = None, /, runs: Path = Path("runs")) -> None:
    """Show how a run stands: step, losses, speed, time to go. Without RUN, all runs.

    Example: python -m mmagga status runs/synthetic-mmagga-05b8b9687039

    Args:
        run: Run folder.
        runs: Where the run folders lie.
    """
    from mmagga.runs.run import Run
    from mmagga.runs.status import overview, status

    print(status(Run(run)) if run else overview(runs))


def import_official(file: Path, out: Path, /) -> None:
    """Write an authors' checkpoint as a run folder, without running its code.

    Example: python -m mmagga import-official mma.pth.tar runs/authors

    evaluate, ledger, attention and report take the file, too, and import it into runs/:
    mmagga evaluate mma.pth.tar --dataset mars --root /data/mars

    Args:
        file: The authors' .pth.tar file, or a file of its state dict.
        out: Run folder to make, which every verb and notebook takes.
    """
    from mmagga.runs.imported import import_official

    _writable(out / "config.json")
    run = import_official(file, out)
    config = run.load_config()
    print(
        f"run: {run.folder}: {config.model.name}, {config.frames} frames, trained on "
        f"{config.dataset}\nevaluate it: python -m mmagga evaluate {run.folder} "
        f"--dataset {config.dataset} --root FOLDER"
    )


def data_summary(dataset: str, root: Path, split: int = 0) -> None:
    """Read a data set and count its identities, tracklets, cameras and frames.

    Example: python -m mmagga data summary --dataset mars --root /data/mars

    Args:
        dataset: Its name, such as mars.
        root: Its folder.
        split: Which of ten splits, where there are ten.
    """
    from mmagga.data import load_tracklets

    tracklets = load_tracklets(dataset, root, split)
    print(tracklets.summary().to_string(), *tracklets.notes, sep="\n")


def data_check(
    dataset: str,
    root: Path,
    *,
    on_bad: Literal["error", "drop"] = "error",
    verify: bool = False,
    workers: int | None = None,
) -> None:
    """Decode every frame once and write the index that training goes by.

    Example: python -m mmagga data check --dataset mars --root /data/mars

    Args:
        dataset: Its name, such as mars.
        root: Its folder; nothing is written there.
        on_bad: Stop at bad frames, naming them, or leave them out and count them.
        verify: Only compare every file with the hash in the index, to find bit rot.
        workers: Processes; by default one for each CPU.
    """
    from mmagga.data import load_tracklets
    from mmagga.data.files import index

    tracklets = load_tracklets(dataset, root)
    if verify:
        print(f"{index.verify(tracklets, workers=workers):,} frames are what they were")
    else:
        print(index.check_frames(tracklets, workers=workers, on_bad=on_bad))


def data_pack(
    dataset: str,
    root: Path,
    out: Path,
    *,
    height: int = 256,
    width: int = 128,
) -> None:
    """Pack all frames into one file, which loads faster; pixels stay identical.

    Example: python -m mmagga data pack --dataset mars --root /data/mars --out /data/mars.pack

    Args:
        dataset: Its name, such as mars.
        root: Its folder.
        out: The file to write.
        height: Pixels that frames are resized to.
        width: Pixels that frames are resized to.
    """
    from mmagga.data import load_checked
    from mmagga.data.files.packed import pack

    _writable(out)
    pack(load_checked(dataset, root), out, (height, width))
    print(f"packed: {out}, {out.stat().st_size / 1e9:.3g} GB. Use it: --packed {out}")


def data_crop(
    *,
    videos: tuple[Path, ...],
    tracks: tuple[Path, ...],
    out: Path,
    identities: Path | None = None,
    max_gap: int = 25,
    classes: tuple[str, ...] = (),
    numbers: Literal["auto", "names", "order"] = "auto",
    first_frame: int | None = None,
) -> None:
    """Cut tracked people out of your own video; the result is the data set "mot".

    Example: python -m mmagga data crop --videos a.mp4 b.mp4 --tracks a.txt b.txt --out data/own

    Tracks are text lines `frame, id, left, top, width, height[, confidence[, class]]`, separated
    by commas, semicolons, tabs or blanks, with or without a header, plain or packed (gzip, zip).

    Args:
        videos: A video file, or a folder of frames, for each camera.
        tracks: Its tracks in MOTChallenge's form, in the same order.
        out: Folder to make.
        identities: CSV file with the columns camera, track, pid and perhaps piece: who is who.
        max_gap: Frames that a track may be absent before it is cut in pieces.
        classes: Names or numbers of the classes to keep, or all; persons by default.
        numbers: Pictures of a folder are found by the numbers in their names, or counted in order.
        first_frame: Number of the first picture where pictures are counted; by default 0 or 1.
    """
    from mmagga.data.readers.own_video import crop_video

    if len(videos) != len(tracks):
        raise MmaggaError(f"{len(videos)} videos, but {len(tracks)} files of tracks: one for each")
    _writable(out / "tracklets.csv")
    pairs = list(zip(videos, tracks, strict=True))
    tracklets = crop_video(
        pairs,
        out,
        identities=identities,
        max_gap=max_gap,
        classes=classes,
        numbers=numbers,
        first_frame=first_frame,
    )
    print(tracklets.summary().to_string(), *tracklets.notes, sep="\n")


def _run_folder(run: Path) -> Path:
    """Return a run folder; an authors' checkpoint file is imported first."""
    from mmagga.runs.imported import run_folder

    folder = run_folder(run)
    if folder != run:
        print(f"imported: {folder}")
    return folder


def _config(run: Path, dataset: str | None, root: Path | None, device: str) -> Any:
    """Return a run's configuration, with another data set, data folder or device."""
    from mmagga.system.device import resolve_device

    resolve_device(device)  # before any work
    from mmagga.data import find_reader
    from mmagga.runs.run import Run

    config = Run(run).load_config()
    if dataset is not None:
        find_reader(dataset)
    if dataset not in (None, config.dataset) and root is None:
        raise MmaggaError(f"--dataset {dataset} is not what {run} was trained on: give --root too")
    return dataclasses.replace(
        config, dataset=dataset or config.dataset, root=root or config.root, device=device
    )


def _in_folder(run: Path, stem: str, config: Any, suffix: str = "") -> Path:
    """Name a result in the run folder, after the data set if it is not the run's own."""
    from mmagga.runs.run import Run

    other = f"-{config.dataset}" if config.dataset != Run(run).load_config().dataset else ""
    return run / f"{stem}{other}{suffix}"


def _writable(out: Path) -> Path:
    """Return `out`; SettingError, before any work, if it cannot be written."""
    from mmagga.system.files import require_writable

    require_writable(out)
    return out


def _load(config: Any) -> Any:
    """Read the data set that `_config` chose."""
    from mmagga.data import load_checked

    return load_checked(config.dataset, config.root, config.split, compare=config.compares_frames())


VERBS: dict[str, Callable] = {
    "render": render,
    "train": train,
    "evaluate": evaluate,
    "attention": attention,
    "ledger": ledger,
    "ablate": ablate,
    "tables": tables,
    "status": status,
    "report": report,
    "embed": sockets.embed,
    "search": sockets.search,
    "score": sockets.score,
    "export": sockets.export,
    "import-official": import_official,
    "replay": replay,
    "data summary": data_summary,
    "data check": data_check,
    "data pack": data_pack,
    "data crop": data_crop,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    return answer(VERBS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
