"""Run notebooks from top to bottom, show what they print, and write pages that need no Jupyter.

    python walk.py [--publish] [NOTEBOOK …]

A page `N_name.md` holds the prose, code, tables and figures of a notebook. Figures and pages go
to `runs/figures` and `runs/rendered`; with `--publish` to `figures` and `notebooks/rendered`,
which are committed. The notebooks stay without outputs.
"""

import argparse
import base64
import hashlib
import os
import re
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from PIL import Image

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


def source_hash(path: Path) -> str:
    """Return the SHA-256 of a notebook's cells, without outputs, in hexadecimal digits."""
    cells = nbformat.read(path, as_version=4).cells
    return hashlib.sha256("\0".join(c.cell_type + c.source for c in cells).encode()).hexdigest()


def write_page(executed: Any, path: Path, folder: Path, figures: Path) -> Path:
    """Write the page of the notebook at `path` from its executed copy.

    A figure is a link to its file in `figures`; a widget becomes its picture, beside the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for cell, source in zip(executed.cells, nbformat.read(path, as_version=4).cells, strict=True):
        cell.source = source.source  # without the parameters of this walk
        if cell.cell_type != "code":
            continue
        names = iter(re.findall(r'FIGURES / "(.+?)\.png"', cell.source))
        cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = next(names, None)
                if name is None:
                    name, picture = "browser", folder / f"{path.stem}-browser.png"
                    image = Image.open(BytesIO(base64.b64decode(data["image/png"])))
                    image.convert("RGB").quantize(128).save(picture, optimize=True)
                else:
                    picture = figures / f"{name}.png"
                link = Path(os.path.relpath(picture, folder)).as_posix()
                output["data"] = {"text/markdown": f"![{name.replace('_', ' ')}]({link})"}
    text, _ = MarkdownExporter().from_notebook_node(executed)
    first = f"<!-- {path.name}, sha256 of its cells {source_hash(path)} -->\n\n"
    page = folder / f"{path.stem}.md"
    page.write_text(first + tidy(text), encoding="utf-8")
    return page


def _is_progress(output: Any) -> bool:
    data = output.get("data", {})
    bar = "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data
    return bar or output.get("name") == "stderr"


def _plain_tag(tag: re.Match) -> str:
    """Keep of a tag's attributes those that say how many cells it spans."""
    return "<" + tag[1] + "".join(re.findall(r' (?:col|row)span="?\d+"?', tag[2])) + ">"


def tidy(text: str) -> str:
    """Take out of a page what Markdown viewers drop or what differs from run to run."""
    text = re.sub(r"<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<(table|thead|tbody|tr|th|td|div)\b([^>]*)>", _plain_tag, text)
    text = re.sub(r"\s*\n\s*(?=</?(?:th|td|/tr|thead|tbody|tr)\b)", "", text)
    text = re.sub(r"\]\((\d_\w+)\.ipynb\)", r"](\1.md)", text)
    text = text.replace(f"{HERE.parent}/", "")  # paths start at the repository
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def main() -> None:
    """Walk the named notebooks, or all of them in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", nargs="*", type=Path)
    parser.add_argument("--publish", action="store_true", help="write what is committed")
    words = parser.parse_args()
    runs = HERE.parent / "runs"
    figures, pages = runs / "figures", runs / "rendered"
    if words.publish:
        figures, pages = HERE.parent / "figures", HERE / "rendered"
    begin = time.monotonic()
    for path in words.notebook or sorted(HERE.glob("[0-9]*.ipynb")):
        start = time.monotonic()
        print(f"{path.name}", flush=True)
        executed = walk(path.resolve(), {"FIGURES": str(figures)})
        write_page(executed, path.resolve(), pages, figures)
        print(f"  done in {time.monotonic() - start:.0f} s\n", flush=True)
    run = Run.of(DEMO, runs)
    print(f"All ran, in {time.monotonic() - begin:.0f} s. Open them: make lab\n")
    print(f"run folder  {run.folder}")
    print(f"metrics     {run.folder / 'metrics.json'}")
    print(f"figures     {figures}")
    print(f"pages       {pages}")


if __name__ == "__main__":
    main()
