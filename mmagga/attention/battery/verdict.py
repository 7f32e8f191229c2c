"""What a result has to be to count, fixed before any run, and the words for it.

A claim is *supported* where the whole interval lies beyond its threshold; *too small to matter*
where the effect has the claimed direction beyond doubt, but not that size; else *not supported*.
Doubt is an interval that holds the value of random weights, or a p-value of 0.05 or more after
Holm's correction over all branches and occluders.
"""

import math
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from mmagga.retrieval.uncertainty import holm

SUPPORTED, TOO_SMALL, NOT_SUPPORTED = "supported", "too small to matter", "not supported"
NOT_MEASURED = ""
"""Too few clips say anything, or the part was left out."""
_WORDS = (NOT_SUPPORTED, TOO_SMALL, SUPPORTED)
CONTROLS = ("none", "placebo")
"""In the column "occluder": clips as they are, and pastes that hide nothing. Never a claim."""


class Claim(NamedTuple):
    """When a measure supports the paper."""

    threshold: float
    side: Literal["above", "below"]
    """On which side of the threshold the interval has to lie."""
    random: float
    """The measure's value under random or uniform weights."""


CLAIMS = MappingProxyType({
    "A1 DiD": Claim(-0.02, "below", 0.0),
    "A1 DiD as MMA reads": Claim(-0.02, "below", 0.0),
    "A1 DiD - placebo": Claim(0.0, "below", 0.0),
    "A1 DiD - untrained": Claim(0.0, "below", 0.0),
    "A2 corruption removed": Claim(0.05, "above", 0.0),
    "A3 body energy attained": Claim(0.1, "above", 0.0),
    "A4 AUROC": Claim(0.6, "above", 0.5),
    "A4 AUROC - untrained": Claim(0.05, "above", 0.0),
    "A6 max/min ratio": Claim(1.1, "above", 1.0),
    "A7 swap gain": Claim(0.0, "above", 0.0),
    "A8 erasure": Claim(0.0, "above", 0.0),
    "A9 occluder share": Claim(0.0, "below", 0.0),
    "A10 deletion": Claim(0.0, "above", 0.0),
    "A11 effect lost": Claim(0.5, "above", 0.0),
    "A12 robustness": Claim(0.0, "above", 0.0),
    "A13 constant cues": Claim(0.02, "above", 0.0),
})  # fmt: skip
"""By measure, in the units of the measure: see the table in README and `faithfulness`."""

REACTS = ("A1 DiD", "A1 DiD - placebo", "A1 DiD - untrained", "A11 effect lost")
"""All of these, for "the attention reacts to the occluder"."""
MATTERS = ("A7 swap gain", "A12 robustness")
"""All of these, for "and it matters for retrieval"."""
GATE = "A6 max/min ratio"
"""Below its threshold on clips of every kind, as they are and occluded, the attention is uniform,
and no effect of it can be more than small."""


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """Correct the p-values measure by measure and add the columns random, threshold, verdict.

    `table` has the columns measure, branch, occluder, value, low, high and p.
    """
    table = table.copy()
    claims = table["measure"].map(CLAIMS.get)
    counted = claims.notna() & ~(table["occluder"] == "placebo")
    table["p"] = table["p"].where(counted)
    for _, rows in table[counted].groupby("measure"):
        table.loc[rows.index, "p"] = holm(rows["p"].to_numpy())
    table["random"] = [c.random if c else r for c, r in zip(claims, table["random"])]
    table["threshold"] = [c.threshold if c and k else np.nan for c, k in zip(claims, counted)]
    table["verdict"] = [
        word(claim, row) if claim and known else ""
        for claim, known, row in zip(claims, counted, table.itertuples())
    ]
    return table


def word(claim: Claim, row: object) -> str:
    """Give the word for one row: its `low`, `high` and corrected `p`."""
    sign = 1 if claim.side == "above" else -1
    least = row.low if claim.side == "above" else row.high  # the end nearer to the claim's failure
    if math.isnan(least):
        return NOT_MEASURED
    if sign * (least - claim.random) <= 0 or not row.p < 0.05:
        return NOT_SUPPORTED
    return SUPPORTED if sign * (least - claim.threshold) > 0 else TOO_SMALL


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Say for each branch and occluder whether attention reacts, and whether that matters.

    Returns:
        Columns branch, occluder, reacts, matters; the occluder "all" is the weakest of those
        measured. The branch "parts" is all granularities swapped together, of which only
        "matters" is measured. What was not measured is "".
    """
    deciding = table[table["measure"].isin((*REACTS, *MATTERS)) & ~table["occluder"].isin(CONTROLS)]
    uniform = _uniform_branches(table)
    rows = []
    for branch, mine in deciding.groupby("branch", sort=False):
        found = [
            {
                "branch": branch,
                "occluder": occluder,
                "reacts": _weakest(some, REACTS, branch in uniform),
                "matters": _weakest(some, MATTERS, branch in uniform),
            }
            for occluder, some in mine.groupby("occluder", sort=False)
        ]
        words = {
            name: min((row[name] for row in found if row[name]), key=_WORDS.index, default="")
            for name in ("reacts", "matters")
        }
        rows += [*found, {"branch": branch, "occluder": "all"} | words]
    return pd.DataFrame(rows, columns=["branch", "occluder", "reacts", "matters"])


def _uniform_branches(table: pd.DataFrame) -> set[str]:
    """Name the branches whose attention is uniform, and "parts" where all granularities' is."""
    ratio = table[table["measure"] == GATE].groupby("branch")["value"].max()
    flat = ratio < CLAIMS[GATE].threshold
    parts = flat.drop("global", errors="ignore")
    return {*flat.index[flat], *(["parts"] if len(parts) and parts.all() else [])}


def _weakest(table: pd.DataFrame, measures: tuple[str, ...], uniform: bool) -> str:
    """Give the weakest word of several measures; at most "too small" where attention is uniform."""
    rows = table[table["measure"].isin(measures)]
    if set(rows["measure"]) != set(measures) or (rows["verdict"] == NOT_MEASURED).any():
        return NOT_MEASURED
    words = [*rows["verdict"], *([TOO_SMALL] if uniform else [])]
    return min(words, key=_WORDS.index)
