"""Retrieval under occlusion with other weights: A7, A12, the swap table and the curves.

Queries are shown under a condition, the gallery stays clean; both sides are embedded with the same
weights, except the oracle's, which knows of queries alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmagga.attention.battery.clips import CLEAN, Condition, Sample
from mmagga.attention.battery.measure_rows import Resampling, Row, row
from mmagga.attention.battery.observe import Observation, Swap, observe
from mmagga.attention.battery.occluders import AREAS
from mmagga.attention.battery.perturbation import Aim
from mmagga.data.tracklets import DISTRACTOR, Tracklets
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel
from mmagga.retrieval import PROTOCOLS, Embeddings, evaluate

GGA, AVERAGE, ORACLE = Swap(), Swap("uniform", "all"), Swap("oracle")
TEMPERATURES = (0.5, 0.2, 0.1, 0.05)
RIVALS = 256
"""Hardest other tracklets that a margin looks at."""
CURVE_AREA = 0.3
"""Area at which the number of covered frames varies; half of the frames are covered elsewhere."""


def swaps(head: Head) -> list[Swap]:
    """List the weights that A7 tries."""
    of_parts = [Swap("permuted"), Swap("inverted"), ORACLE, Swap("frames")]
    of_parts += [Swap("temperature", temperature=t) for t in TEMPERATURES]
    return [GGA, *uniform(head), AVERAGE, *of_parts]


def uniform(head: Head) -> list[Swap]:
    """List the swaps of one branch, or of all granularities, for uniform weights."""
    return [Swap("uniform", branch) for branch in (*head.grids, "parts")]


def curve_swaps(head: Head) -> list[Swap]:
    """List the weights that A12 draws curves of."""
    return [GGA, *uniform(head), AVERAGE, Swap("frames"), ORACLE]


def curve_conditions(occluder: str, frames: int) -> list[Condition]:
    """List the conditions of one occluder's curves: over area, then over covered frames."""
    counts = np.unique(np.linspace(1, frames, 4).round().astype(int)).tolist()
    over_area = [Condition(occluder, area, max(1, frames // 2)) for area in AREAS]
    return over_area + [Condition(occluder, CURVE_AREA, count) for count in counts]


class Gallery(NamedTuple):
    """What is searched, embedded once with every swap's weights."""

    vectors: dict[Swap, Tensor]
    """(G, D) units."""
    pids: Tensor
    views: Tensor
    """As `Tracklets.views`: a match is from another one."""

    @classmethod
    def embed(
        cls, model: ClipModel, sample: Sample, swaps: Sequence[Swap], batch: int
    ) -> "Gallery":
        """Embed the middle clips of all that is searched; an oracle keeps the weights there."""
        seen = observe(model, sample, CLEAN, swaps=swaps, oracle=False, batch=batch)
        found = sample.tracklets
        return cls(seen.vectors, torch.tensor(found.pids), torch.tensor(found.views))

    def same(self, tracklets: Tracklets) -> Tensor:
        """Say which gallery tracklets a query should find: (Q, G) bool."""
        person = torch.tensor(tracklets.pids)[:, None] == self.pids
        view = torch.tensor(tracklets.views)[:, None] == self.views
        return person & ~view & (self.pids != DISTRACTOR)

    def aims(self, tracklets: Tracklets) -> Tensor:
        """Give the mean vector of what each query should find: (Q, D) units; 0 for nothing."""
        vectors = self.vectors[GGA]
        return torch.nn.functional.normalize(self.same(tracklets).to(vectors.dtype) @ vectors)

    def targets(self, queries: Tensor, aims: Tensor, tracklets: Tracklets) -> list[Aim]:
        """Give what each query (Q, D) should match, `aims`, and its hardest rivals."""
        targets = []
        for query, right, pid in zip(queries, aims, tracklets.pids):
            others = self.vectors[GGA][self.pids != int(pid)]
            hardest = (others @ query).topk(min(RIVALS, len(others))).indices
            targets.append(Aim(right, others[hardest]))
        return targets

    def score(self, swap: Swap, vectors: Tensor, tracklets: Tracklets) -> pd.DataFrame:
        """Score queries (Q, D): columns ap and hit, in [0, 1], NaN for a query without a match."""
        queries = Embeddings(vectors, torch.tensor(tracklets.pids), torch.tensor(tracklets.views))
        searched = Embeddings(self.vectors[swap], self.pids, self.views)
        found = evaluate(queries, searched, PROTOCOLS["query_gallery"]).per_query
        hit = np.where(found["matches"] > 0, found["nearest_pid"] == found["pid"], np.nan)
        return pd.DataFrame({"ap": found["average_precision"].to_numpy(float), "hit": hit})


def searched(tracklets: Tracklets) -> Tracklets:
    """Give what the protocol searches: the gallery and, where it says so, the queries."""
    splits = ("query", "gallery") if tracklets.queries_in_gallery else ("gallery",)
    return tracklets.subset(tracklets.table["split"].isin(splits).to_numpy())


Results = dict[tuple[Condition, Swap], pd.DataFrame]


def score_all(
    observed: Mapping[Condition, Observation], gallery: Gallery, tracklets: Tracklets
) -> Results:
    """Score every condition and swap that was observed."""
    return {
        (condition, swap): gallery.score(swap, vectors, tracklets)
        for condition, seen in observed.items()
        for swap, vectors in seen.vectors.items()
    }


def swap_table(results: Results, draws: Resampling) -> pd.DataFrame:
    """Tabulate mAP and rank-1 of each swap and occluder, and what GGA gains over the swap.

    Columns swap, branch, occluder, mAP, low, high, rank1, gain, gain_low, gain_high; gain is the
    mAP of GGA less that of the swap on the same clips.
    """
    rows = []
    for (condition, swap), found in results.items():
        score = draws.of(found["ap"])
        gain = draws.of(results[condition, GGA]["ap"] - found["ap"])
        rows.append({
            "swap": swap.name, "branch": swap.branch, "occluder": condition.occluder,
            "mAP": score.value, "low": score.low, "high": score.high,
            "rank1": draws.of(found["hit"]).value,
            "gain": gain.value, "gain_low": gain.low, "gain_high": gain.high,
        })  # fmt: skip
    return pd.DataFrame(rows)


def swap_rows(results: Results, head: Head, draws: Resampling) -> list[Row]:
    """A7: what GGA gains over uniform weights on occluded clips, less that on clean ones."""
    rows = []
    kinds = [c for c, swap in results if swap == GGA and c != CLEAN]
    for condition in kinds:
        for other in uniform(head):
            gain = _gain(results, condition, GGA, other) - _gain(results, CLEAN, GGA, other)
            best = math.nan
            if other.branch == "parts":
                oracle = _gain(results, condition, ORACLE, other)
                best = draws.of(oracle - _gain(results, CLEAN, ORACLE, other)).value
            found = draws.of(gain)
            rows.append(
                row("A7 swap gain", other.branch, condition.occluder, found, attainable=best)
            )
    return rows


def curve_table(
    results: Results, areas: Mapping[Condition, float], frames: int, head: Head, draws: Resampling
) -> pd.DataFrame:
    """Tabulate mAP over occluded area and over covered frames.

    Columns swap, branch, occluder, axis ("area" or "frames"), x (share of the frame, or frames),
    area (share of the clip that was covered, measured), mAP, low, high.
    """
    rows = []
    occluders = dict.fromkeys(c.occluder for c in areas if c != CLEAN)
    for occluder in occluders:
        conditions = curve_conditions(occluder, frames)
        axes = {"area": conditions[: len(AREAS)], "frames": conditions[len(AREAS) :]}
        for axis, along in axes.items():
            for condition in (CLEAN, *along):
                x = getattr(condition, axis)
                for swap in curve_swaps(head):
                    found = draws.of(results[condition, swap]["ap"])
                    rows.append({
                        "swap": swap.name, "branch": swap.branch, "occluder": occluder,
                        "axis": axis, "x": x, "area": areas[condition],
                        "mAP": found.value, "low": found.low, "high": found.high,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def curve_rows(
    results: Results, occluders: Sequence[str], frames: int, head: Head, draws: Resampling
) -> list[Row]:
    """A12: the mean drop of AP with uniform weights less that with GGA, over a curve's points."""
    rows = []
    for occluder in occluders:
        conditions = dict.fromkeys(curve_conditions(occluder, frames))
        for other in uniform(head):
            gains = [_gain(results, condition, GGA, other) for condition in conditions]
            flatter = np.mean(gains, axis=0) - _gain(results, CLEAN, GGA, other)
            rows.append(row("A12 robustness", other.branch, occluder, draws.of(flatter)))
    return rows


def _gain(results: Results, condition: Condition, better: Swap, other: Swap) -> np.ndarray:
    found = results[condition, better]["ap"] - results[condition, other]["ap"]
    return found.to_numpy()
