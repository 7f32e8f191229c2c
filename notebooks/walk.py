"""Run notebooks from top to bottom and show what they print: `python walk.py [NOTEBOOK …]`.

Figures and runs are written by the notebooks themselves; the notebooks stay without outputs.
"""

import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from mmagga.config import DEMO
from mmagga.runs import Run

HERE = Path(__file__).resolve().parent


def walk(path: Path, parameters: dict[str, Any] | None = None, echo: bool = True) -> Any:
    """Execute a notebook, with `parameters` set after its parameters cell; give it with outputs.

    Raises nbclient's CellExecutionError if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    if parameters:
        cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
        cell.source += "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items())

    def show(cell: Any, cell_index: int, execute_reply: Any) -> None:
        for output in cell.get("outputs", []):
            if echo and output.get("name") == "stdout":
                print("    " + output["text"].rstrip().replace("\n", "\n    "), flush=True)

    def announce(cell: Any, cell_index: int) -> None:
        title = next((s for s in cell.source.splitlines() if s.startswith("## ")), None)
        if echo and cell.cell_type == "markdown" and title:
            print(f"  {title[3:]}", flush=True)

    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        extra_arguments=["--IPKernelApp.log_level=40"],  # not that TCP is not encrypted
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_start=announce,
        on_cell_executed=show,
    )
    return client.execute()


def main() -> None:
    """Walk the named notebooks, or all of them in order."""
    begin = time.monotonic()
    for path in [Path(p) for p in sys.argv[1:]] or sorted(HERE.glob("[0-9]*.ipynb")):
        start = time.monotonic()
        print(f"{path.name}", flush=True)
        walk(path.resolve())
        print(f"  done in {time.monotonic() - start:.0f} s\n", flush=True)
    run = Run.of(DEMO, HERE.parent / "runs")
    print(f"All ran, in {time.monotonic() - begin:.0f} s. Open them: make lab\n")
    print(f"run folder  {run.folder}")
    print(f"metrics     {run.folder / 'metrics.json'}")
    print(f"figures     {HERE.parent / 'figures'}")


if __name__ == "__main__":
    main()
