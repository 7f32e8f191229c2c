"""What a result has to be to count, fixed before any run, and the four words for it.

| word                | the 95 % interval of the effect, in the claimed direction                  |
|---------------------|----------------------------------------------------------------------------|
| supported           | lies beyond the smallest effect of interest, and p < 0.05 after Holm       |
| too small to matter | lies above 0 and below the smallest effect of interest                     |
| shown to be absent  | lies below the smallest effect of interest, and contains 0 or lies below 0 |
| cannot tell         | contains the smallest effect of interest; or there are fewer than 20       |
|                     | persons, or the oracle's weights do not gain as much                       |

Objects and persons, filmed or pasted, make the claims. White noise, which nobody claims anything
about, and placebos, which hide nothing, are controls. The measures are net of the placebo already,
see `measure_rows`.
"""

import math
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmagga.attention.battery.clips import FILMED
from mmagga.attention.battery.pooling import MIN_PERSONS
from mmagga.retrieval.uncertainty import holm

SUPPORTED, TOO_SMALL = "supported", "too small to matter"
ABSENT, CANNOT_TELL = "shown to be absent", "cannot tell"
NOT_MEASURED = ""
WORDS = (ABSENT, CANNOT_TELL, TOO_SMALL, SUPPORTED)
"""From the weakest to the strongest: a verdict of several measures is the weakest of theirs."""
CLAIMED = (FILMED, "object", "person")
"""In the column "occluder": what claims are about."""
CLEAN_CLIPS = "none"
TEMPLATE = 0.1
"""Share of the weights' spread within a clip below which another person's guide moves nothing."""


class Claim(NamedTuple):
    """When a measure supports the paper."""

    smallest: float
    """Smallest effect of interest, in the units of the measure."""
    sign: int
    """Of an effect as claimed."""
    of_ceiling: float = 0.0
    """The effect must also be this share of what oracle weights within the bound reach."""
    also_clean: bool = False
    """Whether clips without an occluder make a claim too."""


RESPONSE = "response"
NEWER, OLDER = "response less new scoring layers'", "response less the untrained network's"
GAIN, EXTRA = "gain over uniform weights", "extra gain under an occluder"
SHARPNESS, GUIDE = "max/min ratio", "moved by another guide"

CLAIMS = MappingProxyType({
    RESPONSE: Claim(0.02, -1),
    OLDER: Claim(0.02, -1),
    NEWER: Claim(0.02, -1),
    GAIN: Claim(0.01, 1, 0.25, also_clean=True),
    EXTRA: Claim(0.01, 1, 0.25),
})  # fmt: skip
"""By measure: nats for responses, average precision for gains."""
REACTS = (RESPONSE, OLDER, NEWER)
"""All of these, for "the attention down-weights the occluder, and has learned to"."""


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """Correct the p-values measure by measure and add smallest, word and reason.

    `table` is that of `pooling.pooled`. Only claims get a word; the reason says why there is none
    of the other three where it is "cannot tell".
    """
    table = table.copy()
    claims = [CLAIMS.get(measure) for measure in table["measure"]]
    counted = np.array([
        claim is not None
        and (occluder in CLAIMED or (claim.also_clean and occluder == CLEAN_CLIPS))
        for claim, occluder in zip(claims, table["occluder"])
    ], bool)  # fmt: skip
    table["p"] = table["p"].where(counted)
    for _, rows in table[counted].groupby("measure"):
        table.loc[rows.index, "p"] = holm(rows["p"].to_numpy())
    judged = [
        _judged(claim, row) if claim and known else (np.nan, NOT_MEASURED, "")
        for claim, known, row in zip(claims, counted, table.itertuples())
    ]
    table["smallest"], table["word"], table["reason"] = map(list, zip(*judged))
    return table


def _judged(claim: Claim, row: NamedTuple) -> tuple[float, str, str]:
    """Return the smallest effect of interest, the word and its reason, for one row."""
    # Where nothing is covered the oracle's weights are uniform, which says nothing about a gain.
    bounded = claim.of_ceiling and row.occluder != CLEAN_CLIPS
    ceiling = row.ceiling if bounded else math.nan
    smallest = claim.smallest
    if np.isfinite(ceiling):
        smallest = max(smallest, claim.of_ceiling * ceiling)
    if math.isnan(row.value):
        return claim.sign * smallest, NOT_MEASURED, ""
    ends = sorted((claim.sign * row.low, claim.sign * row.high))
    word, reason = word_for(*ends, row.p, smallest, persons=row.persons, ceiling=ceiling)
    return claim.sign * smallest, word, reason


def word_for(
    low: float,
    high: float,
    p: float,
    smallest: float,
    *,
    persons: int,
    ceiling: float = math.nan,
) -> tuple[str, str]:
    """Return the word for an interval `low` to `high` in the claimed direction, and the reason."""
    if persons < MIN_PERSONS or math.isnan(low):
        return CANNOT_TELL, f"{persons} persons, fewer than {MIN_PERSONS}"
    if ceiling < smallest:
        return CANNOT_TELL, "the oracle's weights within the bound gain less"
    if low > smallest:
        return (SUPPORTED, "") if p < 0.05 else (CANNOT_TELL, "one of many claims, p ≥ 0.05")
    if high < smallest:
        return (TOO_SMALL if low > 0 else ABSENT), ""
    return CANNOT_TELL, "the interval contains the smallest effect of interest"


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Return for each branch and occluder whether attention reacts, and whether that helps.

    Returns:
        Columns branch, occluder, reacts (`REACTS`, all of them), helps (GGA's weights against
        uniform ones on such clips), helps_more (than they do without the occluder), guide
        ("fixed template" where another person's guide moves no weight, else "guided") and
        purity. The occluder "none" is clips as they are, "all" what was filmed or, where nothing
        was, the weakest of objects and persons. The branch "parts" is all granularities together.
    """
    rows = []
    for branch, mine in table.groupby("branch", sort=False):
        found = [
            {
                "branch": branch,
                "occluder": occluder,
                "reacts": _weakest(some, REACTS),
                "helps": _weakest(some, (GAIN,)),
                "helps_more": _weakest(some, (EXTRA,)),
            }
            for occluder in (CLEAN_CLIPS, *CLAIMED)
            if len(some := mine[mine["occluder"] == occluder])
        ]
        about = {"guide": _guide(mine), "purity": _purity(mine)}
        claims = {row["occluder"]: row for row in found if row["occluder"] != CLEAN_CLIPS}
        if not any(row[q] for row in found for q in ("reacts", "helps", "helps_more")):
            continue
        deciding = [claims[FILMED]] if FILMED in claims else list(claims.values())
        words = {
            name: min((r[name] for r in deciding if r[name]), key=WORDS.index, default="")
            for name in ("reacts", "helps", "helps_more")
        }
        everything = {"branch": branch, "occluder": "all"} | words
        rows += [row | about for row in [*found, everything]]
    names = ["branch", "occluder", "reacts", "helps", "helps_more", "guide", "purity"]
    return pd.DataFrame(rows, columns=names)


def _weakest(rows: pd.DataFrame, measures: tuple[str, ...]) -> str:
    rows = rows[rows["measure"].isin(measures)]
    words = [word for word in rows["word"] if word]
    if set(rows["measure"]) != set(measures) or len(words) < len(rows):
        return NOT_MEASURED
    return min(words, key=WORDS.index)


def _guide(rows: pd.DataFrame) -> str:
    """Name what the weights follow, of a branch that has a guide."""
    moved = rows.loc[rows["measure"] == GUIDE, "value"]
    if not len(moved) or math.isnan(moved.iloc[0]):
        return ""
    return "fixed template" if moved.iloc[0] < TEMPLATE else "guided"


def _purity(rows: pd.DataFrame) -> float:
    purity = rows.loc[rows["measure"] == "purity", "value"]
    return float(purity.iloc[0]) if len(purity) else math.nan
