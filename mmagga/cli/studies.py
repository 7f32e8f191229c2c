"""The verbs about several runs: the grids of ablations, and the tables of all results."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from mmagga.errors import MmaggaError
from mmagga.system.files import require_writable


def ablate(
    grid: str,
    /,
    *,
    base: Literal["demo", "study", "short", "paper"] = "demo",
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
        grid: modules, whole, rates, recipe, granularities, pooling, temperature, frames, losses,
            stages, non_local, gem_p or augment.
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
        require_writable(out / f"{name}.csv")
    left = ablations.carry_out(cells, devices, dry_run=dry_run, commands=print)
    if not (dry_run or print) and any(cell.is_done() for cell in cells):
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

    require_writable(results / "tables" / "paper-II.md")
    for path in write_all(results, runs):
        print(path)
