"""From what was observed to the rows of the battery's table: A1 to A6, A9, A11, A13, A14."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from mmagga.attention.battery import measures
from mmagga.attention.battery.observe import ByBranch, Observation
from mmagga.attention.battery.verdict import CLAIMS
from mmagga.attention.maps import statistics
from mmagga.attention.matrices import matrix_statistics
from mmagga.model.head import GuidedAttention, Head, MeanPooling
from mmagga.retrieval.uncertainty import Estimate, estimate, estimate_ratio

FILMED = "filmed"
"""In the column "occluder": what the camera saw in front of the person, where masks say so."""
CONSTANT, CHANGING = ("torso", "bag"), ("arms", "legs", "background")
"""Rendered cues that stay the same over a clip's frames, and those that change (A13)."""

Row = dict[str, Any]


class Resampling(NamedTuple):
    """How intervals are drawn."""

    pids: np.ndarray
    """(Q,) person of each clip."""
    draws: int
    seed: int

    def of(self, values: np.ndarray, null: float = 0.0) -> Estimate:
        """Estimate the mean of one value a clip."""
        return estimate(values, self.pids, null=null, draws=self.draws, seed=self.seed)

    def ratio(self, above: np.ndarray, below: np.ndarray) -> Estimate:
        """Estimate the ratio of two means."""
        return estimate_ratio(above, below, self.pids, draws=self.draws, seed=self.seed)


class Seen(NamedTuple):
    """One network's observations: of the clips as they are, and of each kind of paste."""

    clean: Observation
    pasted: dict[str, Observation]


def row(
    measure: str,
    branch: str,
    occluder: str,
    found: Estimate,
    *,
    random: float = math.nan,
    attainable: float = math.nan,
    untrained: float = math.nan,
    random_layers: float = math.nan,
) -> Row:
    """Make a row of the table; what is not known is NaN."""
    return {
        "measure": measure,
        "branch": branch,
        "occluder": occluder,
        **found._asdict(),
        "random": random,
        "attainable": attainable,
        "untrained": untrained,
        "random_layers": random_layers,
    }


def number(value: float) -> Estimate:
    """Give a number that no interval belongs to."""
    return Estimate(float(value), math.nan, math.nan, math.nan, 0)


def limit(head: Head, branch: str) -> float:
    """Give how many times the least weight the largest of a branch can be at all."""
    scorer = dict(head.part_score.items()).get(branch)
    if isinstance(scorer, GuidedAttention):
        return math.exp(1 / scorer.temperature)
    return 1.0 if isinstance(scorer, MeanPooling) else math.inf


# --- reactions to occluders: A1 to A4, A9, A11 --------------------------------------------------


def reaction_rows(seen: Seen, untrained: Seen, head: Head, draws: Resampling) -> list[Row]:
    """Compare weights with and without an occluder, and with what it covers."""
    rows = []
    for branch in head.grids:
        bound = limit(head, branch)
        for kind in seen.pasted:
            rows += _of_paste(seen, untrained, branch, kind, bound, draws)
        if seen.clean.labels:
            rows += _of_filmed(seen.clean, untrained.clean, branch, bound, draws)
    return rows


def _of_paste(
    seen: Seen, untrained: Seen, branch: str, kind: str, bound: float, draws: Resampling
) -> list[Row]:
    after, before = seen.pasted[kind], seen.clean
    layers = "random layers"
    ours = _reaction(before.weights, after.weights, after, branch, bound)
    blank = _reaction(before.others[layers], after.others[layers], after, branch, bound)
    theirs = untrained.pasted[kind]
    other = _reaction(untrained.clean.weights, theirs.weights, theirs, branch, bound)
    rows = _beside(branch, kind, ours, other, blank, _attainable(after, branch, bound), draws)
    if kind == "placebo":
        return rows
    effect = ours["A1 DiD"]
    placebo = _reaction(before.weights, seen.pasted["placebo"].weights, after, branch, bound)
    rows += [
        row("A1 DiD - placebo", branch, kind, draws.of(effect - placebo["A1 DiD"])),
        row("A1 DiD - untrained", branch, kind, draws.of(effect - other["A1 DiD"])),
        row("A4 AUROC - untrained", branch, kind, draws.of(ours["A4 AUROC"] - other["A4 AUROC"])),
        row("A11 effect lost", branch, kind, draws.ratio(effect - blank["A1 DiD"], effect)),
    ]
    gate = "A6 max/min ratio"
    ratio, there = (_sharpness(_flat(o.weights[branch]))[gate] for o in (after, theirs))
    other = draws.of(there).value
    rows.append(row(gate, branch, kind, draws.of(ratio, 1.0), attainable=bound, untrained=other))
    return rows + _contribution_rows(after, branch, kind, draws)


def _beside(
    branch: str,
    kind: str,
    ours: dict[str, np.ndarray],
    untrained: dict[str, np.ndarray],
    blank: dict[str, np.ndarray],
    attainable: dict[str, float],
    draws: Resampling,
) -> list[Row]:
    """Make a row of each measure, with the other networks' values beside it."""
    return [
        row(
            name,
            branch,
            kind,
            draws.of(values, CLAIMS[name].random),
            attainable=attainable[name],
            untrained=draws.of(untrained[name]).value,
            random_layers=draws.of(blank[name]).value,
        )
        for name, values in ours.items()
    ]


def _reaction(
    before: ByBranch, after: ByBranch, seen: Observation, branch: str, bound: float
) -> dict[str, np.ndarray]:
    """Give A1 to A4 of every clip."""
    flat = {name: _flat(values[branch]) for name, values in (("before", before), ("after", after))}
    ways = {"A1 DiD": seen.pasted, "A1 DiD as MMA reads": seen.covered}
    found = {
        name: measures.did(flat["before"], flat["after"], *_groups(shares, branch))
        for name, shares in ways.items()
    }
    return found | _places(flat["after"], seen, branch, bound)


def _groups(shares: ByBranch, branch: str) -> tuple[np.ndarray, np.ndarray]:
    return measures.groups(_flat(shares[branch]), frames=branch == "global")


def _places(
    weights: np.ndarray, seen: Observation, branch: str, bound: float
) -> dict[str, np.ndarray]:
    """Give A2 to A4 of every clip: where the weights are."""
    hidden = _flat(seen.hidden[branch])
    found = {"A2 corruption removed": measures.corruption_removed(weights, hidden)}
    if seen.labels:
        visible = _flat(seen.visible[branch])
        found["A3 body energy attained"] = measures.attainment(weights, visible, bound)
    return found | {"A4 AUROC": measures.auroc(weights, *_groups(seen.behind, branch))}


def _attainable(seen: Observation, branch: str, bound: float) -> dict[str, float]:
    """Say what the best weights of this branch would reach; infinite where nothing bounds them."""
    hidden = _flat(seen.hidden[branch])
    hidden = hidden[hidden.mean(1) > 0]
    removed = 1 + measures.best_mass(-hidden, bound) / hidden.mean(1)
    return {
        "A1 DiD": -math.log(bound),
        "A1 DiD as MMA reads": -math.log(bound),
        "A2 corruption removed": float(removed.mean()) if len(removed) else math.nan,
        "A3 body energy attained": 1.0,
        "A4 AUROC": 1.0,
    }


def _of_filmed(
    seen: Observation, untrained: Observation, branch: str, bound: float, draws: Resampling
) -> list[Row]:
    ours = _places(_flat(seen.weights[branch]), seen, branch, bound)
    blank = _places(_flat(seen.others["random layers"][branch]), seen, branch, bound)
    other = _places(_flat(untrained.weights[branch]), untrained, branch, bound)
    rows = _beside(branch, FILMED, ours, other, blank, _attainable(seen, branch, bound), draws)
    return rows + _contribution_rows(seen, branch, FILMED, draws)


def _contribution_rows(seen: Observation, branch: str, kind: str, draws: Resampling) -> list[Row]:
    """A9: what carries the match."""
    if not seen.contributions:
        return []
    parts, hidden = _flat(seen.contributions[branch]), _flat(seen.hidden[branch])
    area = hidden.mean(1)
    share = np.where(area > 0, measures.share_on(parts, hidden) - area, np.nan)
    least = -float(area[area > 0].mean()) if (area > 0).any() else math.nan
    return [row("A9 occluder share", branch, kind, draws.of(share), attainable=least)]


# --- what the weights are without an occluder: A5, A6, A13, A14 ---------------------------------


def description_rows(
    seen: Observation, untrained: Observation, head: Head, draws: Resampling
) -> list[Row]:
    """Describe the weights of the clips as they are."""
    rows = _frame_rows(seen, untrained, draws)
    for branch in head.grids:
        bound = limit(head, branch)
        ours, theirs = (_sharpness(_flat(o.weights[branch])) for o in (seen, untrained))
        best = {"A6 max/min ratio": bound}
        rows += [
            row(
                name,
                branch,
                "none",
                draws.of(values, 1.0),
                random=0.0 if name == "A6 distance to uniform" else 1.0,
                attainable=best.get(name, math.nan),
                untrained=draws.of(theirs[name]).value,
            )
            for name, values in ours.items()
        ]
        if seen.contributions:
            weights, parts = _flat(seen.weights[branch]), _flat(seen.contributions[branch])
            found = draws.of(measures.rank_correlation(weights, parts))
            rows.append(row("A9 weight-contribution rank", branch, "none", found, random=0.0))
        blank = _flat(seen.others["random layers"][branch])
        found = draws.of(measures.rank_correlation(_flat(seen.weights[branch]), blank))
        rows.append(row("A11 rank with random layers", branch, "none", found, random=0.0))
        if seen.labels:
            ours, theirs = (_constancy(o, branch) for o in (seen, untrained))
            other = draws.of(theirs).value
            rows.append(
                row(
                    "A13 constant cues",
                    branch,
                    "none",
                    draws.of(ours),
                    attainable=math.log(bound),
                    untrained=other,
                )
            )
    return rows


def _frame_rows(seen: Observation, untrained: Observation, draws: Resampling) -> list[Row]:
    """A5: slots and order of the frames."""
    weights, other = _flat(seen.weights["global"]), _flat(untrained.weights["global"])
    count = weights.shape[1]
    bias, there = (float(np.abs(w.mean(0) - 1 / count).max()) for w in (weights, other))
    order = np.arange(count)[::-1]
    errors = [
        measures.order_error(
            _flat(o.weights["global"]), _flat(o.others["reversed"]["global"]), order
        )
        for o in (seen, untrained)
    ]
    return [
        row("A5 slot bias", "global", "none", number(bias), random=0.0, untrained=there),
        row(
            "A5 order error",
            "global",
            "none",
            draws.of(errors[0]),
            random=0.0,
            untrained=draws.of(errors[1]).value,
        ),
    ]


def _sharpness(weights: np.ndarray) -> dict[str, np.ndarray]:
    found = statistics(torch.from_numpy(weights))
    return {
        "A6 max/min ratio": found.ratio.numpy(),
        "A6 entropy / ln N": found.entropy.numpy(),
        "A6 effective tokens / N": found.effective.numpy(),
        "A6 distance to uniform": found.variation.numpy(),
    }


def _constancy(seen: Observation, branch: str) -> np.ndarray:
    some, others = (
        sum(_flat(seen.labels[label][branch]) for label in labels)
        for labels in (CONSTANT, CHANGING)
    )
    return measures.log_ratio(_flat(seen.weights[branch]), some, others)


def matrix_rows(seen: Observation, head: Head, untrained: Head) -> list[Row]:
    """A14: what MMA has become."""
    before = matrix_statistics(untrained)
    rows = []
    for branch, now in matrix_statistics(head).items():
        first = before[branch]
        values = {
            "A14 purity": (now.purity.mean(), first.purity.mean()),
            "A14 negative share": (now.negative, first.negative),
            "A14 row entropy": (now.entropy.mean(), first.entropy.mean()),
        }
        rows += [
            row(name, branch, "none", number(value), untrained=float(other))
            for name, (value, other) in values.items()
        ]
        if seen.labels:
            joint = np.stack([values[branch].mean((0, 1)) for values in seen.labels.values()])
            found = number(measures.mutual_information(joint))
            rows.append(row("A14 part-body information", branch, "none", found, random=0.0))
    return rows


def _flat(values: np.ndarray) -> np.ndarray:
    """(Q, T, P) -> (Q, N)."""
    return values.reshape(len(values), -1)
