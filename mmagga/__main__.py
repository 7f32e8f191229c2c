"""`python -m mmagga VERB`: the same calls as the notebooks, one verb each.

A verb's module is imported when the verb is used, so `--help` answers at once. The options and
their help come from the signatures below and from the dataclasses in `mmagga.config`.
"""

import dataclasses
import sys
from pathlib import Path

from mmagga.errors import MmaggaError


def render(root: Path, preset: str = "demo", workers: int | None = None) -> None:
    """Render the built-in data set into a folder, in MARS's layout, with masks.

    Args:
        root: Folder to make.
        preset: tiny, demo, medium or large.
        workers: Processes; the bytes do not depend on them.
    """
    from mmagga.data.synthetic import render

    print(f"rendered: {render(root, preset, workers=workers)}")


def train(args: list[str]) -> None:
    """Train a preset, "demo" or "paper", with any field changed; go on where it stopped."""
    import tyro

    from mmagga.config import DEMO, PAPER
    from mmagga.training import train

    presets = {
        "demo": ("Minutes on two CPU cores, on the built-in data.", DEMO),
        "paper": ("The authors' setting to the letter.", PAPER),
    }
    config = tyro.extras.overridable_config_cli(presets, prog="mmagga train", args=args)
    run = train(config)
    print(f"run: {run.folder}\n{_metrics_line(run.metrics)}")


def evaluate(run: Path, root: Path | None = None, device: str = "auto") -> None:
    """Evaluate the newest checkpoint of a run under its data set's protocol.

    Args:
        run: Run folder.
        root: Data folder, if it has moved since training.
        device: cpu, cuda or auto.
    """
    from mmagga.data import load_tracklets
    from mmagga.runs import Run
    from mmagga.training import resolve_device, score

    folder = Run(run)
    config = dataclasses.replace(folder.config, device=device)
    config = dataclasses.replace(config, root=root) if root else config
    tracklets = load_tracklets(config.dataset, config.root, config.split)
    scores = score(folder.load_model(resolve_device(device)), tracklets, config)
    scores.per_query.to_csv(folder.folder / "queries.csv", index=False)
    print(scores)


def runs(folder: Path = Path("runs")) -> None:
    """List the runs with what they reached and where they are.

    Args:
        folder: Where the run folders lie.
    """
    from mmagga.runs import list_runs

    for run in list_runs(folder):
        print(f"{run.folder}  {_metrics_line(run.metrics)}")


def data_summary(dataset: str, root: Path, split: int = 0) -> None:
    """Read a data set and print its identities, tracklets, cameras and frames.

    Args:
        dataset: Its name, such as mars.
        root: Its folder.
        split: Which of ten splits, where there are ten.
    """
    from mmagga.data import load_tracklets

    tracklets = load_tracklets(dataset, root, split)
    print(tracklets.summary().to_string())
    print(*tracklets.notes, sep="\n")


def _metrics_line(metrics: dict) -> str:
    if not metrics:
        return "not evaluated yet"
    return f"mAP {metrics['mAP']:.1%}  rank-1 {metrics['rank-1']:.1%}  (epoch {metrics['epoch']})"


VERBS = {
    "render": render,
    "train": train,
    "evaluate": evaluate,
    "runs": runs,
    "data-summary": data_summary,
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; give its exit code. Errors are one line, without a traceback."""
    verb, *args = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print("usage: python -m mmagga VERB [options]      VERB --help says more\n")
        for name, function in VERBS.items():
            print(f"  {name:14}{(function.__doc__ or '').splitlines()[0]}")
        return 0
    if verb not in VERBS:
        print(f"unknown verb {verb!r}; there are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        if verb == "train":
            train(args)
        else:
            import tyro

            tyro.cli(VERBS[verb], prog=f"mmagga {verb}", args=args)
    except MmaggaError as error:
        print(f"mmagga {verb}: {error}", file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main())
