"""The whole report: what there is, section by section, into one file."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmagga.config import Config
from mmagga.data import load_for
from mmagga.data.tracklets import Tracklets
from mmagga.errors import MmaggaError
from mmagga.report import result_sections, run_sections
from mmagga.report.page import render
from mmagga.report.results import Tested, logged, retest
from mmagga.runs.opened import OpenedRun
from mmagga.runs.run import Run
from mmagga.system.files import write_text


def write(run: Run, config: Config, out: Path, *, embed: bool = True) -> Path:
    """Write the report of a run as `out`, one HTML file; return its path.

    `config` is the run's, with the data set and the device to test with. With `embed` the test
    tracklets go through the newest checkpoint once, unless the run folder has their embeddings;
    without it the page has what the run's log says. Raises MmaggaError if there is no run at all.
    """
    missing: list[str] = []
    tracklets = _attempt(lambda: load_for(config), missing, f"the data set {config.dataset}")
    same_set = config.dataset == run.load_config().dataset
    own = same_set if tracklets is None else run.is_of(tracklets)
    opened = None
    tested = _attempt(lambda: logged(run), missing, "the logged test") if own else None
    if embed and tracklets is not None:
        found = _attempt(lambda: _test(run, config, tracklets), missing, "the test")
        opened, tested = found or (None, tested)
    elif tracklets is not None:
        missing.append("rank lists, cameras and attention: the page was made without embedding")
    sections = [result_sections.headline(tested, missing)]
    scored = tested is not None and tested.scored
    if opened and scored:
        sections.append(result_sections.beside_yardsticks(opened))
    if tested and scored:
        sections.append(result_sections.curve(tested))
    if opened:
        sections.append(result_sections.rank_lists(opened))
        if scored:
            sections.append(result_sections.costs(opened))
        if config.model.name != "baseline":
            sections.append(result_sections.attention(opened))
    sections.append(run_sections.training(run))
    made = config.model
    if made.name != "baseline" and made.mma == "learned" and made.granularities:
        sections.append(run_sections.matrices(run))
    sections.append(run_sections.measured(run, config, tested, tracklets))
    sections.append(run_sections.configuration(run))
    sections.append(run_sections.provenance(run, config, tracklets, opened))
    state = run_sections.standing(run)["state"]
    subtitle = f"{config.model.name} on {config.dataset}, {state}. {run_sections.date(time.time())}"
    write_text(out, render(run.folder.resolve().name, subtitle, sections))
    return out


def _attempt(make: Callable[[], Any], missing: list[str], what: str) -> Any:
    """Return the result of `make`; where it fails, note why and return None."""
    try:
        return make()
    except MmaggaError as error:
        missing.append(f"{what}: {error}")
        return None


def _test(run: Run, config: Config, tracklets: Tracklets) -> tuple[OpenedRun, Tested]:
    opened = OpenedRun(run, tracklets, config)
    return opened, retest(opened)
