"""Which networks have learned enough to be compared in a study; fixed before the runs.

A comparison of networks that hardly learned, or whose heads are mostly dead, describes the recipe
and not the method. A row of a study that fails is printed as "excluded by the gate".
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd

LEAST_BASELINE = 0.80
"""mAP that the baseline must reach."""
MOST_DEAD = 0.5
"""Share of dead units that no branch may exceed."""
MOST_ALIKE = 0.9
"""Mean cosine between the guides of two clips that no granularity may exceed."""
MOST_GAIN = 0.015
"""mAP that a network may still gain over the last fifth of its steps."""


def failures(results: pd.DataFrame, yardsticks: pd.DataFrame) -> dict[str, list[str]]:
    """List for each label of a study why its networks fail the gate; empty if they pass.

    `results` is what `mmagga.studies.comparison.results` returns, `yardsticks` has a row for each
    non-learned baseline, with its "mAP". The worst seed of a row decides.
    """
    found = {label: list(_of_row(runs, yardsticks)) for label, runs in results.groupby("label")}
    reference = results.loc[results["label"] == "baseline", "mAP"]
    if len(reference) and reference.mean() < LEAST_BASELINE:
        reason = f"the baseline has mAP {reference.mean():.1%}, less than {LEAST_BASELINE:.0%}"
        found = {label: [reason, *reasons] for label, reasons in found.items()}
    return found


def _of_row(runs: pd.DataFrame, yardsticks: pd.DataFrame) -> Iterable[str]:
    for column in runs.filter(like="dead_"):
        if (worst := runs[column].max()) > MOST_DEAD:
            yield f"{worst:.0%} of the units of branch {column.removeprefix('dead_')} are dead"
    if "guide" in runs and (alike := runs["guide"].max()) > MOST_ALIKE:
        yield f"the guides of two clips have a cosine of {alike:.2f}"
    if np.isnan(gain := runs["last_fifth"].max(skipna=False)):
        yield "it was not evaluated before its last fifth, so that its gain there is unknown"
    elif gain > MOST_GAIN:
        yield f"the last fifth of the steps gained {100 * gain:.1f} points of mAP"
    for name, value in yardsticks.groupby("method")["mAP"].mean().items():
        if runs["mAP"].min() <= value:
            yield f"{name} has mAP {value:.1%}, without any learning"
