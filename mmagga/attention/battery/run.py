"""The battery: does attention avoid occluders, and does that matter for retrieval?

Every tracklet's middle clip is shown clean and with things pasted on (`sample`), the network's
weights are read and replaced (`observation`), and each measure stands in one table beside what
random weights, the best possible weights and an untrained network reach. What counts was fixed
before, in `verdict`.

| measure                   | question                                                             |
|---------------------------|----------------------------------------------------------------------|
| A1 DiD                    | does attention answer to the occluder? (nats; primary)               |
| A2 corruption removed     | how much of the occluder's uniform mass is taken off?                |
| A3 body energy attained   | how near is the mass on the visible body to the best possible?       |
| A4 AUROC                  | do clean tokens weigh more than occluded ones, by however little?    |
| A5 slot bias, order error | does a frame's weight depend on its place in the clip?               |
| A6 max/min ratio, …       | is there any difference between tokens?                              |
| A7 swap gain              | mAP with GGA less that with uniform weights, occluded less clean     |
| A8 erasure                | does the match suffer more without the heaviest tokens?              |
| A9 occluder share         | share of positive contribution on what is hidden, less its area      |
| A10 deletion              | does the map predict what deleting pixels does? by fill              |
| A11 effect lost           | share of A1 that goes when the scoring layers are random             |
| A12 robustness            | drop of AP over area and frames: with uniform weights less with GGA  |
| A13 constant cues         | torso and bag against arms, legs, background: ln of mean weight      |
| A14 purity, …             | stripes, or something learned?                                       |

Not measured here: training on shuffled labels and the cascade from the top down (A11), max pooling
(A12), and the spread over training seeds (A13), which takes several runs.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from mmagga.attention.battery.clips import CLEAN, Condition, Sample
from mmagga.attention.battery.measure_rows import (
    Resampling,
    Row,
    Seen,
    description_rows,
    matrix_rows,
    reaction_rows,
    row,
)
from mmagga.attention.battery.observe import (
    Observation,
    Swap,
    clean_tokens,
    observe,
    random_layers,
    reversed_frames,
)
from mmagga.attention.battery.perturbation import Aim, deletion, erasure
from mmagga.attention.battery.search_rows import (
    GGA,
    Gallery,
    Results,
    curve_conditions,
    curve_rows,
    curve_swaps,
    curve_table,
    score_all,
    searched,
    swap_rows,
    swap_table,
    swaps,
)
from mmagga.attention.battery.verdict import judge
from mmagga.attention.maps import require_attention
from mmagga.config import Config
from mmagga.data.tracklets import Tracklets
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Tokens
from mmagga.retrieval.uncertainty import FINE_DRAWS
from mmagga.system.progress import progress

PARTS = ("swaps", "erasure", "pixels", "curves")
"""What may be left out: A7, A8, A10 and A12. A1 to A6, A9, A11, A13 and A14 are always measured."""
OCCLUDERS = ("object", "person", "noise")
"""What claims are tested with; the placebo is always shown too."""
COLUMNS = [
    "measure", "branch", "occluder", "value", "low", "high", "p", "clips",
    "random", "attainable", "untrained", "random_layers", "threshold", "verdict",
]  # fmt: skip


class Battery(NamedTuple):
    """What the battery found."""

    table: pd.DataFrame
    """A row for each measure, branch and occluder. value is the mean over the clips that have one,
    low and high its 95 % interval, p Holm's; random, attainable, untrained and random_layers are
    what random weights, the best possible ones, an untrained network and new scoring layers reach;
    NaN where unknown. See `verdict.CLAIMS` for threshold and verdict."""
    swaps: pd.DataFrame
    """mAP and rank-1 of each swap, see `trials.swap_table`; empty without "swaps"."""
    curves: pd.DataFrame
    """mAP over occluded area and frames, see `trials.curve_table`; empty without "curves"."""
    clips: int
    """Queries that were shown."""
    persons: int
    """Identities among them: the clusters of the intervals."""


def battery(
    model: ClipModel,
    untrained: ClipModel,
    tracklets: Tracklets,
    config: Config,
    *,
    tracklets_limit: int | None = None,
    erasure_limit: int | None = 100,
    pixels_limit: int | None = 8,
    occluders: Sequence[str] = OCCLUDERS,
    curves: Sequence[str] = ("object", "person"),
    draws: int = FINE_DRAWS,
    seed: int = 0,
    parts: Collection[str] = PARTS,
) -> Battery:
    """Run the battery on the middle clips of the query tracklets.

    The same arguments give the same tables, byte for byte on the same machine, whatever the order
    of the tracklets. Cost: about 8 forward passes a clip, 18 more for the curves of two occluders,
    and one for each gallery tracklet; an erasure costs one, a deletion some 160.

    Args:
        model: trained, with attention, in evaluation mode.
        untrained: the same network with the weights it started from, in evaluation mode.
        tracklets: of a data set; query and gallery are used.
        config: frames, size, batch of clips.
        tracklets_limit: queries to show, drawn at random; None shows all.
        erasure_limit: queries of A8.
        pixels_limit: queries of A10.
        occluders: of "object", "person", "grey", "noise".
        curves: those of A12.
        draws: of the bootstrap over persons.
        seed: of all that is drawn.
        parts: of `PARTS`.

    Raises:
        ValueError: an unknown part, a network without attention or in training mode.
        DataError: fewer than two persons.
    """
    if set(parts) - set(PARTS):
        raise ValueError(f"parts are among {', '.join(PARTS)}; got {', '.join(sorted(parts))}")
    require_attention(model)
    require_attention(untrained)
    size, batch = (config.height, config.width), config.eval_batch
    queries = Sample.draw(tracklets.split("query"), config.frames, size, seed, tracklets_limit)
    galleries = Sample.draw(searched(tracklets), config.frames, size, seed)
    subject, control = (_Subject.of(each, queries, batch) for each in (model, untrained))
    drawn = Resampling(queries.tracklets.pids, draws, seed)

    tried = swaps(model.head) if "swaps" in parts else [GGA]
    if "curves" in parts:
        tried = list(dict.fromkeys([*tried, *curve_swaps(model.head)]))
    gallery = Gallery.embed(model, galleries, tried, batch)
    aims = gallery.aims(queries.tracklets)
    conditions = [CLEAN, *(Condition(kind) for kind in (*occluders, "placebo"))]
    ours = {
        condition: subject.observe(condition, tried, aims)
        for condition in progress(conditions, desc="occluders")
    }
    seen = _seen(ours)
    blank = _seen({condition: control.observe(condition) for condition in conditions})

    rows = reaction_rows(seen, blank, model.head, drawn)
    rows += description_rows(seen.clean, blank.clean, model.head, drawn)
    rows += matrix_rows(seen.clean, model.head, untrained.head)
    targets = gallery.targets(seen.clean.vectors[GGA], aims, queries.tracklets)
    if "erasure" in parts:
        rows += _erasure_rows(subject, targets, erasure_limit, drawn)
    if "pixels" in parts:
        rows += _deletion_rows(subject, targets, pixels_limit, drawn)
    results = score_all(ours, gallery, queries.tracklets)
    table, lines = pd.DataFrame(), pd.DataFrame()
    if "swaps" in parts:
        rows += swap_rows(results, model.head, drawn)
        table = swap_table(results, drawn)
    if "curves" in parts:
        areas = _follow_curves(subject, gallery, curves, results)
        rows += curve_rows(results, curves, config.frames, model.head, drawn)
        lines = curve_table(results, areas, config.frames, model.head, drawn)
    found = judge(pd.DataFrame(rows))[COLUMNS]
    return Battery(found, table, lines, len(queries), len(np.unique(queries.tracklets.pids)))


class _Subject(NamedTuple):
    """A network and the clips it is shown."""

    model: ClipModel
    queries: Sample
    clean: Tokens
    batch: int

    @classmethod
    def of(cls, model: ClipModel, queries: Sample, batch: int) -> "_Subject":
        return cls(model, queries, clean_tokens(model, queries, batch), batch)

    def observe(
        self, condition: Condition, tried: Sequence[Swap] = (), aims: Tensor | None = None
    ) -> Observation:
        head = self.model.head
        others = {
            "random layers": random_layers(head, self.queries.seed),
            "reversed": lambda tokens: reversed_frames(head, tokens),
        }
        return observe(
            self.model, self.queries, condition, swaps=tried, others=others, aims=aims,
            clean=self.clean, batch=self.batch,
        )  # fmt: skip


def _follow_curves(
    subject: _Subject, gallery: Gallery, occluders: Sequence[str], results: Results
) -> dict[Condition, float]:
    """Add the scores along the curves to `results`; give the area that was really covered."""
    frames, tried = subject.queries.frames, curve_swaps(subject.model.head)
    every = [c for occluder in occluders for c in curve_conditions(occluder, frames)]
    areas = {CLEAN: 0.0}
    for condition in progress(list(dict.fromkeys(every)), desc="curves"):
        seen = subject.observe(condition, tried)
        results |= score_all({condition: seen}, gallery, subject.queries.tracklets)
        areas[condition] = seen.area
    return areas


def _seen(observed: dict[Condition, Observation]) -> Seen:
    pasted = {c.occluder: found for c, found in observed.items() if c != CLEAN}
    return Seen(observed[CLEAN], pasted)


def _chosen(targets: Sequence[Aim], limit: int | None) -> list[int]:
    """Draw `limit` queries that have somebody to find, evenly over the persons."""
    rows = [i for i, aim in enumerate(targets) if aim.right.any()]
    if limit is None or limit >= len(rows):
        return rows
    return [rows[i] for i in np.linspace(0, len(rows) - 1, limit).round().astype(int)]


def _erasure_rows(
    subject: _Subject, targets: Sequence[Aim], limit: int | None, draws: Resampling
) -> list[Row]:
    """A8: tokens in the order of weight, contribution, or what each alone does."""
    rows = _chosen(targets, limit)
    found = [
        erasure(
            subject.model,
            subject.queries.clip(i),
            targets[i],
            subject.queries.generator(i, "erasure"),
        )
        for i in progress(rows, desc="erasure")
    ]
    mine = draws._replace(pids=draws.pids[rows])
    out = []
    for branch in subject.model.head.grids:
        values = {
            way: np.array([clip[branch][way] for clip in found])
            for way in ("weight", "contribution", "alone", "tau")
        }
        best = float(values["alone"].mean())
        out += [
            row("A8 erasure", branch, "none", mine.of(values["weight"]), attainable=best),
            row("A8 erasure by contribution", branch, "none", mine.of(values["contribution"]),
                attainable=best, random=0.0),
            row("A8 weight-loss rank", branch, "none", mine.of(values["tau"]), random=0.0),
        ]  # fmt: skip
    return out


def _deletion_rows(
    subject: _Subject, targets: Sequence[Aim], limit: int | None, draws: Resampling
) -> list[Row]:
    """A10: the fill stands in the column "occluder"."""
    rows = _chosen(targets, limit)
    found = [
        deletion(
            subject.model,
            subject.queries.clip(i),
            targets[i],
            subject.queries.generator(i, "deletion"),
            batch=subject.batch,
        )
        for i in progress(rows, desc="deletion")
    ]
    mine = draws._replace(pids=draws.pids[rows])
    out = []
    for branch, fill in found[0] if found else ():
        values = mine.of(np.array([clip[branch, fill] for clip in found]))
        if branch == "contribution":
            out.append(row("A10 deletion by contribution", "all", fill, values, random=0.0))
            continue
        out.append(row("A10 deletion", branch, fill, values))
    return out
