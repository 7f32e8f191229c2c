"""From one value per clip to means with intervals, over the clips of one network or of several.

The unit of an interval is the person, and where there are several networks the network too: both
are resampled, crossed, because clips of a person succeed or fail together, and so do those that
one network was shown.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from mmagga.retrieval.uncertainty import resampled

KEY = ["measure", "branch", "occluder"]
CLIP = ["run", "clip", "pid"]
REFERENCES = ("ceiling", "ceiling_sharp", "untrained", "random_layers")
"""What else the measure would be: under oracle weights within the bound, those at temperature
0.2, in the untrained network, and with new scoring layers."""
MIN_PERSONS = 20
"""With fewer persons no interval is printed."""
RUN_SEED = 1


class Interval(NamedTuple):
    """A weighted mean over clips with its 95 % interval; NaN where nothing can be said."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided, of the hypothesis that the mean is `null`."""
    clips: int
    """Clips that have a value, of one network."""
    persons: int


def clip_values(
    measure: str,
    branch: str,
    occluder: str,
    values: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    **references: np.ndarray | float,
) -> pd.DataFrame:
    """Make the rows of one measure, one a clip (Q,); see `REFERENCES` for what may stand beside."""
    unknown = set(references) - set(REFERENCES)
    if unknown:
        raise ValueError(f"references are among {', '.join(REFERENCES)}; got {', '.join(unknown)}")
    frame = pd.DataFrame({"value": np.asarray(values, float)})
    frame["weight"] = 1.0 if weights is None else weights
    for name in REFERENCES:
        frame[name] = references.get(name, np.nan)
    frame.insert(0, "clip_row", np.arange(len(frame)))
    for place, (name, of) in enumerate(zip(KEY, (measure, branch, occluder), strict=True)):
        frame.insert(place, name, of)
    return frame


def pooled(clips: pd.DataFrame, *, draws: int, seed: int) -> pd.DataFrame:
    """Average every measure, branch and occluder over clips and runs.

    Args:
        clips: columns of `KEY` and `CLIP`, value, weight, and those of `REFERENCES`.
        draws: of the bootstrap over persons and runs.
        seed: of what is drawn.

    Returns:
        A row for each key: value, low, high, p, clips, persons, the references' means, and sd, the
        spread of the runs' means.
    """
    rows = []
    for key, some in clips.groupby(KEY, sort=False):
        known = some[some["value"].notna() & (some["weight"] > 0)]
        found = interval(known, draws=draws, seed=seed)
        references = {name: _mean(known[name], known["weight"]) for name in REFERENCES}
        means = [_mean(of["value"], of["weight"]) for _, of in known.groupby("run")]
        spread = float(np.std(means, ddof=1)) if len(means) > 1 else np.nan
        rows.append(
            dict(zip(KEY, key)) | found._asdict() | references | {"runs": len(means), "sd": spread}
        )
    return pd.DataFrame(rows)


def interval(clips: pd.DataFrame, *, draws: int, seed: int, null: float = 0.0) -> Interval:
    """Average `value` by `weight` and draw persons and runs again, crossed.

    The interval is the percentile one; p is twice the smaller share of draws on either side of
    `null`, the sample itself counting as one draw, so that it is never 0. The same persons give the
    same draws: all measures of one sample are paired.
    """
    if not len(clips):
        return Interval(np.nan, np.nan, np.nan, np.nan, 0, 0)
    value = _mean(clips["value"], clips["weight"])
    persons, of_person = np.unique(clips["pid"], return_inverse=True)
    runs, of_run = np.unique(clips["run"], return_inverse=True)
    count = len(clips) // len(runs)
    if len(persons) < MIN_PERSONS:
        return Interval(value, np.nan, np.nan, np.nan, count, len(persons))
    shape, place = (len(persons), len(runs)), of_person * len(runs) + of_run
    weights = clips["weight"].to_numpy(float)
    sizes = np.bincount(place, weights, np.prod(shape)).reshape(shape)  # (persons, runs)
    sums = np.bincount(place, weights * clips["value"].to_numpy(float), np.prod(shape))
    people, networks = resampled(shape[0], draws, seed), resampled(shape[1], draws, seed + RUN_SEED)
    below = ((people @ sizes) * networks).sum(1)  # (draws,)
    above = ((people @ sums.reshape(shape)) * networks).sum(1)
    drawn = above[below > 0] / below[below > 0]
    low, high = np.quantile(drawn, (0.025, 0.975))
    side = min((drawn <= null).sum(), (drawn >= null).sum())
    p = min(1, 2 * (1 + side) / (1 + len(drawn)))
    return Interval(value, float(low), float(high), float(p), count, len(persons))


def _mean(values: pd.Series, weights: pd.Series) -> float:
    known = values.notna().to_numpy()
    if not known.any():
        return np.nan
    return float(np.average(values.to_numpy(float)[known], weights=weights.to_numpy(float)[known]))
