"""The verbs about one run: train, evaluate and examine it, and show its status."""

import inspect
import os
from pathlib import Path

from mmagga.cli.chosen import run_config, run_folder
from mmagga.errors import MmaggaError
from mmagga.system.files import require_writable


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
        out: CSV file for one row per query; by default in the run folder.
        device: cpu, cuda or auto.
        partial: Load what fits of a checkpoint of another network, and warn how much that is.
    """
    from mmagga.data import load_for
    from mmagga.retrieval.analysis import with_names
    from mmagga.retrieval.metrics import score
    from mmagga.runs.health import warning
    from mmagga.runs.opened import OpenedRun
    from mmagga.runs.run import Run
    from mmagga.system.device import resolve_device
    from mmagga.system.distributed import from_first, processes
    from mmagga.system.files import write_csv
    from mmagga.training.health import dead_units

    with processes(resolve_device(device)) as here:
        # The others come when the first has imported the file and indexed the frames.
        folder = from_first(run_folder(run) if here.first else None)
        config = run_config(folder, dataset, root, device)
        tracklets = load_for(config) if here.first else None
        if here.first:
            stem = "queries-partial" if partial else "queries"
            out = out or Run(folder).result_path(stem, tracklets, ".csv")
            require_writable(out)
        from_first(None)
        run, tracklets = folder, tracklets or load_for(config)
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
        print(f"one row per query: {out}")


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
    from mmagga.data import load_for
    from mmagga.runs.run import Run
    from mmagga.studies.ledger import ledger, show, with_its_run
    from mmagga.system.device import resolve_device
    from mmagga.system.files import write_csv

    run = run_folder(run)
    config = run_config(run, dataset, root, device)
    tracklets = load_for(config)
    out = out or Run(run).result_path("ledger", tracklets, ".csv")
    require_writable(out)
    table = ledger(Run(run).load_model(resolve_device(device)), tracklets, config)
    if Run(run).is_of(tracklets):
        table = with_its_run(table, Run(run))
    write_csv(out, table)
    print(show(table))
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
    from mmagga.data import load_for
    from mmagga.model.build import untrained_like
    from mmagga.report.battery import write
    from mmagga.runs.run import Run
    from mmagga.system.device import resolve_device

    run = run_folder(run)
    config = run_config(run, dataset, root, device)
    if config.model.name == "baseline":
        raise MmaggaError(f"{run} is a baseline, which has no attention: give a run of mmagga")
    tracklets = load_for(config)
    out = out or Run(run).result_path("attention", tracklets)
    require_writable(out / "battery.csv")
    model = Run(run).load_model(resolve_device(device))
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
    from mmagga.data import load_for
    from mmagga.report import write
    from mmagga.runs.run import Run

    run = run_folder(run)
    config = run_config(run, dataset, root, device)
    out = out or Run(run).result_path("report", None if root is None else load_for(config), ".html")
    require_writable(out)
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

    require_writable(out / "config.json")
    run = import_official(file, out)
    config = run.load_config()
    print(
        f"run: {run.folder}: {config.model.name}, {config.frames} frames, trained on "
        f"{config.dataset}\nevaluate it: python -m mmagga evaluate {run.folder} "
        f"--dataset {config.dataset} --root FOLDER"
    )
