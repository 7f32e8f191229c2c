"""Retrieval under occlusion with other weights: gains, ceilings, harm, and the curves.

Queries are shown under a condition, the gallery stays as it is; both sides are embedded with the
same weights, an oracle's too.

| measure                            | question                                                 |
|------------------------------------|----------------------------------------------------------|
| gain over uniform weights          | average precision with GGA's weights minus that with     |
|                                    | uniform ones, on clips of this kind                      |
| extra gain under an occluder       | that gain minus the gain under the placebo               |
| harm (AP), harm (margin)           | what the occluder costs, of average precision and margin |
| … through the weights, the content | its two parts, which add up to it, see `harm`            |
| flatter than uniform               | drop of AP over area and frames, uniform minus GGA       |

The ceiling is the gain of oracle weights within GGA's bound, in queries and gallery alike:
∝ exp(-covered share / temperature), or the same with all that is covered by a tenth or more
counting as covered whole, whichever gains more; "sharp" is the first at temperature 0.2.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmagga.attention.battery.clips import CLEAN, PLACEBOS, Condition, Sample, placebo_of
from mmagga.attention.battery.measure_rows import SHARP
from mmagga.attention.battery.observe import Observation, Request, Swap, observe
from mmagga.attention.battery.occluders import AREAS
from mmagga.attention.battery.perturbation import Aim
from mmagga.attention.battery.pooling import clip_values, interval
from mmagga.attention.battery.verdict import EXTRA, GAIN
from mmagga.data.tracklets import DISTRACTOR, Tracklets
from mmagga.model.head import GuidedAttention, Head
from mmagga.model.networks import ClipModel
from mmagga.retrieval import PROTOCOLS, Embeddings, evaluate

GGA, AVERAGE = Swap(), Swap("uniform", "all")
TEMPERATURES = (0.5, 0.2, 0.1, 0.05)
RIVALS = 256
"""Hardest other tracklets that a margin looks at."""
CURVE_AREA = 0.3
"""Area at which the number of covered frames varies; half of the frames are covered elsewhere."""


def swaps(head: Head) -> list[Swap]:
    """List the weights to try."""
    of_parts = [Swap("permuted"), Swap("inverted"), Swap("frames")]
    of_parts += [Swap("temperature", temperature=t) for t in TEMPERATURES]
    return [GGA, *uniform(head), *oracles(head), AVERAGE, *of_parts]


def uniform(head: Head) -> list[Swap]:
    """List the swaps of one branch, or of all granularities, for uniform weights."""
    return [Swap("uniform", branch) for branch in (*head.grids, "parts")]


def oracles(head: Head) -> list[Swap]:
    """List the soft oracles of every granularity and of all: within the bound, and sharp."""
    branches, own = [*head.part_score, "parts"], temperature_of(head)
    tried = dict.fromkeys((("soft oracle", own), ("firm oracle", own), ("soft oracle", SHARP)))
    return [Swap(how, branch, t) for how, t in tried for branch in branches]


def temperature_of(head: Head) -> float:
    """Return the temperature of a head's guided attention; 1 where there is none."""
    scorers = [s for s in head.part_score.values() if isinstance(s, GuidedAttention)]
    return scorers[0].temperature if scorers else 1.0


def curve_swaps(head: Head) -> list[Swap]:
    """List the weights that curves are drawn of."""
    return [
        GGA,
        *uniform(head),
        AVERAGE,
        Swap("frames"),
        Swap("soft oracle", "parts", temperature_of(head)),
    ]


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
        """Embed the middle clips of all that is searched; an oracle knows what masks show."""
        seen = observe(model, sample, CLEAN, Request(swaps=swaps, batch=batch))
        found = sample.tracklets
        return cls(seen.vectors, torch.tensor(found.pids), torch.tensor(found.views))

    def same(self, tracklets: Tracklets) -> Tensor:
        """Return which gallery tracklets a query should find: (Q, G) bool."""
        person = torch.tensor(tracklets.pids)[:, None] == self.pids  # (Q, G)
        view = torch.tensor(tracklets.views)[:, None] == self.views
        return person & ~view & (self.pids != DISTRACTOR)

    def aims(self, tracklets: Tracklets) -> Tensor:
        """Return the mean vector of what each query should find: (Q, D) units; 0 for nothing."""
        vectors = self.vectors[GGA]
        return torch.nn.functional.normalize(self.same(tracklets).to(vectors.dtype) @ vectors)

    def targets(self, queries: Tensor, aims: Tensor, tracklets: Tracklets) -> list[Aim]:
        """Return what each query (Q, D) should match, `aims`, and its hardest rivals."""
        targets = []
        vectors = self.vectors[GGA]
        for query, right, pid in zip(queries, aims, tracklets.pids):
            same = self.pids == int(pid)
            likeness = (vectors @ query).masked_fill(same, -math.inf)
            hardest = likeness.topk(min(RIVALS, int((~same).sum()))).indices
            targets.append(Aim(right, vectors, hardest))
        return targets

    def score(self, swap: Swap, vectors: Tensor, tracklets: Tracklets) -> pd.DataFrame:
        """Score queries (Q, D): columns ap and hit, in [0, 1], NaN for a query without a match."""
        queries = Embeddings(vectors, torch.tensor(tracklets.pids), torch.tensor(tracklets.views))
        searched = Embeddings(self.vectors[swap], self.pids, self.views)
        found = evaluate(queries, searched, PROTOCOLS["query_gallery"]).per_query
        hit = np.where(found["matches"] > 0, found["nearest_pid"] == found["pid"], np.nan)
        return pd.DataFrame({"ap": found["average_precision"].to_numpy(float), "hit": hit})


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


# --- what weights gain --------------------------------------------------------------------------


def gain_values(results: Results, head: Head) -> list[pd.DataFrame]:
    """Measure what GGA gains over uniform weights, and what more it gains under an occluder."""
    rows = []
    for condition in dict.fromkeys(condition for condition, _ in results):
        for flat in uniform(head):
            gains = _gains(results, condition, flat, head)
            rows.append(clip_values(GAIN, flat.branch, condition.occluder, **gains))
            placebo = Condition(placebo_of(condition.occluder))
            if condition == CLEAN or condition.occluder in PLACEBOS:
                continue
            if (placebo, GGA) not in results:
                placebo = CLEAN
            without = _gains(results, placebo, flat, head)
            extra = {name: gains[name] - without[name] for name in gains}
            rows.append(clip_values(EXTRA, flat.branch, condition.occluder, **extra))
    return rows


def _gains(results: Results, condition: Condition, flat: Swap, head: Head) -> dict[str, np.ndarray]:
    """Return the gain over `flat` of GGA's weights and of the two oracles', one a clip."""
    found = {"values": _gain(results, condition, GGA, flat)}
    own = temperature_of(head)
    ceilings = {
        "ceiling": [Swap("soft oracle", flat.branch, own), Swap("firm oracle", flat.branch, own)],
        "ceiling_sharp": [Swap("soft oracle", flat.branch, SHARP)],
    }
    for name, oracles in ceilings.items():
        gains = [_gain(results, condition, o, flat) for o in oracles if (condition, o) in results]
        if gains:
            found[name] = max(gains, key=_known_mean)
    return found


def _known_mean(gains: np.ndarray) -> float:
    """Return the mean of what could be scored; -inf where nothing could."""
    known = gains[np.isfinite(gains)]
    return float(known.mean()) if len(known) else -np.inf


def _gain(results: Results, condition: Condition, better: Swap, worse: Swap) -> np.ndarray:
    found = results[condition, better]["ap"] - results[condition, worse]["ap"]
    return found.to_numpy()


# --- where the harm goes ------------------------------------------------------------------------


class Harm(NamedTuple):
    """What an occluder costs a clip (Q,), and its two parts: `weights` + `content` = `whole`."""

    whole: np.ndarray
    weights: np.ndarray
    content: np.ndarray


def harm(
    score: Callable[[Tensor], np.ndarray],
    clean: Tensor,
    occluded: Tensor,
    *,
    clean_weights: Tensor,
    clean_content: Tensor,
) -> Harm:
    """Split what an occluder costs into what goes through the weights and through the content.

    After attention the head is linear, so that either can be put back alone (activation patching):
    weights of the clean clip on contents of the occluded one, and the other way round. What goes
    through the weights is what putting them back wins, averaged over doing so before and after the
    contents; likewise the contents. The two add up to the whole, whatever the score is.

    Args:
        score: of embeddings (Q, D): higher is better, (Q,).
        clean: (Q, D) embeddings of the clean clips.
        occluded: of the occluded ones.
        clean_weights: of occluded contents under the clean clips' weights.
        clean_content: of clean contents under the occluded clips' weights.
    """
    best, worst = score(clean), score(occluded)
    weights_back, content_back = score(clean_weights), score(clean_content)
    return Harm(
        best - worst,
        ((weights_back - worst) + (best - content_back)) / 2,
        ((content_back - worst) + (best - weights_back)) / 2,
    )


def harm_values(
    observed: Mapping[Condition, Observation],
    gallery: Gallery,
    targets: Sequence[Aim],
    tracklets: Tracklets,
) -> list[pd.DataFrame]:
    """Measure the harm of every occluder, in average precision and in margin."""
    scores = {
        "AP": lambda vectors: gallery.score(GGA, vectors, tracklets)["ap"].to_numpy(),
        "margin": lambda vectors: np.array(
            [
                float(aim.margin(vector[None])) if aim.right.any() else np.nan
                for vector, aim in zip(vectors, targets)
            ]
        ),
    }
    clean, rows = observed[CLEAN].vectors[GGA], []
    for condition, seen in observed.items():
        if condition == CLEAN:
            continue
        back = {"clean_weights": seen.patched["weights"], "clean_content": seen.patched["content"]}
        for unit, score in scores.items():
            found = harm(score, clean, seen.vectors[GGA], **back)
            names = "", " through the weights", " through the content"
            rows += [
                clip_values(f"harm ({unit}){name}", "all", condition.occluder, values)
                for name, values in zip(names, found, strict=True)
            ]
    return rows


# --- tables -------------------------------------------------------------------------------------


class Resampling(NamedTuple):
    """How intervals are drawn."""

    pids: np.ndarray
    """(Q,) person of each clip."""
    draws: int
    seed: int

    def of(self, values: np.ndarray) -> tuple[float, float, float]:
        """Return the mean of one value per clip, and the ends of its interval."""
        known = pd.DataFrame({"value": values, "weight": 1.0, "pid": self.pids, "run": ""})
        return interval(known.dropna(), draws=self.draws, seed=self.seed)[:3]


def swap_table(results: Results, draws: Resampling) -> pd.DataFrame:
    """Tabulate mAP and rank-1 of each swap and occluder, and what GGA gains over the swap.

    Columns swap, branch, occluder, mAP, low, high, rank1, gain, gain_low, gain_high; gain is the
    mAP of GGA minus that of the swap on the same clips.
    """
    rows = []
    for (condition, swap), found in results.items():
        score = dict(zip(("mAP", "low", "high"), draws.of(found["ap"])))
        gains = draws.of(results[condition, GGA]["ap"] - found["ap"])
        rows.append(
            {"swap": swap.name, "branch": swap.branch, "occluder": condition.occluder}
            | score
            | {"rank1": float(found["hit"].mean())}
            | dict(zip(("gain", "gain_low", "gain_high"), gains))
        )
    return pd.DataFrame(rows)


def curve_table(
    results: Results,
    areas: Mapping[Condition, float],
    *,
    frames: int,
    head: Head,
    draws: Resampling,
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
                for swap in curve_swaps(head):
                    found = draws.of(results[condition, swap]["ap"])
                    rows.append(
                        {
                            "swap": "soft oracle" if swap.how == "soft oracle" else swap.name,
                            "branch": swap.branch,
                            "occluder": occluder,
                            "axis": axis,
                            "x": getattr(condition, axis),
                            "area": areas[condition],
                        }
                        | dict(zip(("mAP", "low", "high"), found))
                    )
    return pd.DataFrame(rows)


def curve_values(
    results: Results, occluders: Sequence[str], frames: int, head: Head
) -> list[pd.DataFrame]:
    """Measure the mean drop of AP with uniform weights minus that with GGA, over the curves."""
    rows = []
    for occluder in occluders:
        conditions = dict.fromkeys(curve_conditions(occluder, frames))
        for flat in uniform(head):
            gains = [_gain(results, condition, GGA, flat) for condition in conditions]
            flatter = np.mean(gains, axis=0) - _gain(results, CLEAN, GGA, flat)
            rows.append(clip_values("flatter than uniform", flat.branch, occluder, flatter))
    return rows
