"""From observations to one value per clip: how weights respond, where they are, what they follow.

| measure                      | question                                                   |
|------------------------------|------------------------------------------------------------|
| response                     | do weights respond to what is covered? nats; primary       |
| response in nominal bands    | the same where MMA is taken for the stripes it began as    |
| weight removed               | how much of the occluder's uniform weight is taken off?    |
| ranking                      | do clean tokens weigh more than covered ones, however      |
|                              | little? P(clean > covered) - 1/2                           |
| contribution on the occluder | share of positive contribution there, minus its area       |
| max/min ratio, entropy, …    | is there any difference between tokens?                    |
| moved by another guide       | spread of the change under another person's guide over     |
|                              | the spread within the clip; below 0.1 a fixed template     |
| slot bias, order error       | does a frame's weight depend on its place in the clip?     |
| stable cues                  | torso and bag against arms, legs, background: ln of weight |
| purity, …                    | what MMA reads: stripes, or something learned?             |

The first five are those under the occluder minus those under its placebo, which covers the same
place with the person's own pixels; the placebos' own rows compare them with the clean clip. All are
measured on what a token reads through its MMA matrix, and clips count by how much of that differs.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from mmagga.attention.battery import measures
from mmagga.attention.battery.clips import PLACEBOS, placebo_of
from mmagga.attention.battery.observe import ByBranch, Observation
from mmagga.attention.battery.pooling import clip_values
from mmagga.attention.battery.verdict import GUIDE, NEWER, OLDER, RESPONSE, SHARPNESS
from mmagga.attention.maps import statistics
from mmagga.attention.matrices import matrix_statistics
from mmagga.model.head import GuidedAttention, Head, MeanPooling

CONSTANT, CHANGING = ("torso", "bag"), ("arms", "legs", "background")
"""Rendered cues that stay the same over a clip's frames, and those that change."""
SHARP = 0.2
"""Temperature of the second ceiling."""
NEW_LAYERS = "random layers"


class Observed(NamedTuple):
    """One network's observations: of the clips as they are, and under each kind of occluder."""

    clean: Observation
    occluded: Mapping[str, Observation]
    """By occluder; the placebos are among them."""

    def reference(self, occluder: str) -> Observation:
        """Return what an occluder is compared with."""
        if occluder in PLACEBOS:
            return self.clean
        return self.occluded.get(placebo_of(occluder), self.clean)


def limit(head: Head, branch: str) -> float:
    """Return how many times the least weight the largest of a branch can be at all."""
    if branch not in head.part_score:
        return math.inf
    scorer = head.part_score[branch]
    if isinstance(scorer, GuidedAttention):
        return math.exp(1 / scorer.temperature)
    return 1.0 if isinstance(scorer, MeanPooling) else math.inf


# --- reactions to occluders ---------------------------------------------------------------------


def reaction_values(observed: Observed, untrained: Observed, head: Head) -> list[pd.DataFrame]:
    """Compare weights with and without an occluder, and with what it covers."""
    rows = []
    for branch in head.grids:
        bound = limit(head, branch)
        for occluder in observed.occluded:
            rows += [
                _response(observed, untrained, branch=branch, occluder=occluder, bound=bound),
                _response_in_bands(observed, branch, occluder),
                *_places(observed, branch, occluder, bound),
            ]
    return rows


def learned_responses(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the responses minus those of a network or of layers that learned nothing.

    `clips` has the columns of `pooling.clip_values`.
    """
    response = clips[clips["measure"] == RESPONSE]
    rows = []
    for name, reference in ((OLDER, "untrained"), (NEWER, "random_layers")):
        value = response["value"] - response[reference]
        rows.append(response.assign(measure=name, value=value, untrained=np.nan,
                                    random_layers=np.nan))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def _response(
    observed: Observed, untrained: Observed, *, branch: str, occluder: str, bound: float
) -> pd.DataFrame:
    before, after = observed.reference(occluder), observed.occluded[occluder]
    blank, blank_after = untrained.reference(occluder), untrained.occluded[occluder]
    values, worth = _slope(before.weights, after.weights, after.covered, branch)
    attention, hides = NEW_LAYERS, occluder not in PLACEBOS
    bounded = math.isfinite(bound) and hides
    return clip_values(
        RESPONSE,
        branch,
        occluder,
        values,
        weights=worth,
        ceiling=-math.log(bound) if bounded else math.nan,
        ceiling_sharp=-1 / SHARP if bounded else math.nan,
        untrained=_slope(blank.weights, blank_after.weights, blank_after.covered, branch)[0],
        random_layers=_slope(
            before.attentions[attention], after.attentions[attention], after.covered, branch
        )[0],
    )


def _response_in_bands(observed: Observed, branch: str, occluder: str) -> pd.DataFrame:
    before, after = observed.reference(occluder), observed.occluded[occluder]
    slopes, worth = _slope(before.weights, after.weights, after.bands, branch)
    return clip_values("response in nominal bands", branch, occluder, slopes, weights=worth)


def _slope(
    before: ByBranch, after: ByBranch, shares: ByBranch, branch: str
) -> tuple[np.ndarray, np.ndarray]:
    return measures.response(flat(before[branch]), flat(after[branch]), flat(shares[branch]))


def _places(observed: Observed, branch: str, occluder: str, bound: float) -> list[pd.DataFrame]:
    """Compare where the weights are with where they are under the placebo."""
    before, after = observed.reference(occluder), observed.occluded[occluder]
    covered = flat(after.covered[branch])
    area = covered.mean(1)
    weights, reference = flat(after.weights[branch]), flat(before.weights[branch])
    removed, kept = (measures.corruption_removed(w, covered) for w in (weights, reference))
    most = np.full(len(area), np.nan)
    some = (area > 0) & (occluder not in PLACEBOS)
    most[some] = 1 + measures.best_mass(-covered[some], bound) / area[some]
    order, other_order = (measures.ranking(w, covered) for w in (weights, reference))
    rows = [
        clip_values("weight removed", branch, occluder, removed - kept, weights=area, ceiling=most),
        clip_values("ranking", branch, occluder, order - other_order, weights=area, ceiling=0.5),
        clip_values(SHARPNESS, branch, occluder, sharpness(weights)[SHARPNESS], ceiling=bound),
    ]
    if after.contributions and before.contributions:
        carried, before_it = (
            measures.share_on(flat(seen.contributions[branch]), covered) for seen in (after, before)
        )
        values = carried - before_it
        rows.append(
            clip_values("contribution on the occluder", branch, occluder, values, weights=area)
        )
    return rows


# --- what the weights are without an occluder ---------------------------------------------------


def description_values(seen: Observation, untrained: Observation, head: Head) -> list[pd.DataFrame]:
    """Describe the weights of the clips as they are."""
    rows = _frame_values(seen, untrained)
    for branch in head.grids:
        weights, blank = flat(seen.weights[branch]), flat(untrained.weights[branch])
        blank_sharpness = sharpness(blank)
        for name, values in sharpness(weights).items():
            most = limit(head, branch) if name == SHARPNESS else math.nan
            rows.append(
                clip_values(
                    name, branch, "none", values, ceiling=most, untrained=blank_sharpness[name]
                )
            )
        others = {"rank with new scoring layers": flat(seen.attentions[NEW_LAYERS][branch])}
        if seen.contributions:
            others["rank with contribution"] = flat(seen.contributions[branch])
        rows += [
            clip_values(name, branch, "none", measures.rank_correlation(weights, values))
            for name, values in others.items()
        ]
        if seen.labels:
            values = (_constancy(o, branch) for o in (seen, untrained))
            own, blank_cues = values
            rows.append(clip_values("stable cues", branch, "none", own, untrained=blank_cues))
    return rows


def guide_values(seen: Observation, exchanged: ByBranch) -> list[pd.DataFrame]:
    """Compare weights with those under another person's guide, see `observe.exchanged_guides`."""
    return [
        clip_values(
            GUIDE, branch, "none", measures.variation(flat(seen.weights[branch]), flat(values))
        )
        for branch, values in exchanged.items()
    ]


def _frame_values(seen: Observation, untrained: Observation) -> list[pd.DataFrame]:
    """Measure how far frames are weighed by slot and order."""
    bias, errors = [], []
    for observation in (seen, untrained):
        weights = flat(observation.weights["global"])  # (Q, T)
        count = weights.shape[1]
        bias.append(float(np.abs(weights.mean(0) - 1 / count).max()))
        turned = flat(observation.attentions["reversed"]["global"])
        errors.append(measures.order_error(weights, turned, np.arange(count)[::-1]))
    return [
        _number("slot bias", "global", bias[0], untrained=bias[1]),
        clip_values("order error", "global", "none", errors[0], untrained=errors[1]),
    ]


def sharpness(weights: np.ndarray) -> dict[str, np.ndarray]:
    """Describe how uneven weights (B, N) are."""
    found = statistics(torch.from_numpy(weights))
    return {
        SHARPNESS: found.ratio.numpy(),
        "entropy / ln N": found.entropy.numpy(),
        "effective tokens / N": found.effective.numpy(),
        "distance to uniform": found.variation.numpy(),
    }


def _constancy(seen: Observation, branch: str) -> np.ndarray:
    stable, moving = (
        sum(flat(seen.labels[label][branch]) for label in labels) for labels in (CONSTANT, CHANGING)
    )
    return measures.log_ratio(flat(seen.weights[branch]), stable, moving)


def matrix_values(seen: Observation, head: Head, untrained: Head) -> list[pd.DataFrame]:
    """Describe what MMA has become; one number per network."""
    start = matrix_statistics(untrained)
    rows = []
    for branch, now in matrix_statistics(head).items():
        first = start[branch]
        rows += [
            _number("purity", branch, now.purity.mean(), untrained=first.purity.mean()),
            _number("negative share", branch, now.negative, untrained=first.negative),
            _number("row entropy", branch, now.entropy.mean(), untrained=first.entropy.mean()),
        ]
        if seen.labels:
            joint = np.stack([values[branch].mean((0, 1)) for values in seen.labels.values()])
            rows.append(
                _number("part-body information", branch, measures.mutual_information(joint))
            )
    return rows


def _number(measure: str, branch: str, value: float, **references: float) -> pd.DataFrame:
    """Return a row of what is no mean over clips."""
    references = {name: float(of) for name, of in references.items()}
    return clip_values(measure, branch, "none", np.array([float(value)]), **references)


def flat(values: np.ndarray) -> np.ndarray:
    """(Q, T, P) -> (Q, N)."""
    return values.reshape(len(values), -1)
