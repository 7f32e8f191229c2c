"""The battery: does attention avoid occluders, and does that matter for retrieval?

A clip of every query is shown clean and with things before it (`clips`), the network's weights are
read and replaced (`observe`), and each measure stands in one table beside what the best possible
weights, an untrained network and new scoring layers reach. What counts was fixed before, in
`verdict`; the measures are listed in `measure_rows` (what the weights do) and `search_rows` (what
that does for retrieval). Everything is kept as one value per clip, so that networks can be pooled.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from mmagga.attention.battery.clips import (
    CLEAN,
    FILMED,
    FILMED_PLACEBO,
    PLACEBO,
    Condition,
    Sample,
    names,
)
from mmagga.attention.battery.measure_rows import (
    NEW_LAYERS,
    Observed,
    description_values,
    guide_values,
    learned_responses,
    matrix_values,
    reaction_values,
)
from mmagga.attention.battery.observe import (
    Observation,
    Request,
    Swap,
    clean_tokens,
    exchanged_guides,
    fast,
    observe,
    random_layers,
    reversed_frames,
)
from mmagga.attention.battery.parts_seen import PartMaterial, part_values
from mmagga.attention.battery.perturbation import Aim, deletion, erasure
from mmagga.attention.battery.pooling import CLIP, KEY, REFERENCES, clip_values, pooled
from mmagga.attention.battery.search_rows import (
    GGA,
    Gallery,
    Resampling,
    Results,
    curve_conditions,
    curve_swaps,
    curve_table,
    curve_values,
    gain_values,
    harm_values,
    score_all,
    swap_table,
    swaps,
)
from mmagga.attention.battery.verdict import CLAIMS, judge
from mmagga.attention.maps import require_attention
from mmagga.config import Config
from mmagga.data.masks import is_rendered
from mmagga.data.tracklets import Tracklets, searched_tracklets, spread
from mmagga.errors import SettingError
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Tokens
from mmagga.retrieval.uncertainty import FINE_DRAWS
from mmagga.system.progress import progress

PARTS = ("swaps", "erasure", "pixels", "curves")
"""What may be left out: gains and harm, erasing tokens, deleting pixels, robustness curves."""
OCCLUDERS = ("object", "person", "noise")
"""What is pasted; of rendered tracklets something is filmed too. Placebos are always shown."""
KEPT = (*CLAIMS, *(f"harm ({unit}){way}" for unit in ("AP", "margin")
                   for way in ("", " through the weights", " through the content")))  # fmt: skip
"""Measures whose values, one a clip, are worth keeping."""
COLUMNS = [
    *KEY, "value", "low", "high", "p", "clips", "persons", "runs", "sd", *REFERENCES, "purity",
    "smallest", "word", "reason",
]  # fmt: skip


class Battery(NamedTuple):
    """What the battery found."""

    table: pd.DataFrame
    """A row for each measure, branch and occluder. value is the mean over the clips, low and high
    its 95 % interval, p Holm's; ceiling (within GGA's bound), ceiling_sharp (at temperature 0.2),
    untrained and random_layers are what the oracle's weights, an untrained network and new scoring
    layers reach; purity is that of what the branch's tokens read; smallest, word and reason are
    `verdict.judge`'s. NaN where unknown."""
    values: pd.DataFrame
    """One value per clip: columns `pooling.CLIP` and `pooling.KEY`, value, weight, references."""
    swaps: pd.DataFrame
    """mAP and rank-1 of each swap, see `search_rows.swap_table`; empty without "swaps"."""
    curves: pd.DataFrame
    """mAP over occluded area and frames, see `search_rows.curve_table`; empty without "curves"."""
    clips: int
    """Queries that were shown."""
    persons: int
    """Identities among them: the clusters of the intervals."""


class Material(NamedTuple):
    """The clips to show, drawn once for all networks that are to be compared."""

    queries: Sample
    galleries: Sample

    @classmethod
    def draw(
        cls,
        tracklets: Tracklets,
        config: Config,
        *,
        limit: int | None = None,
        seed: int = 0,
        filmed: bool | None = None,
    ) -> "Material":
        """Draw at most `limit` query tracklets, and all that is searched.

        `filmed` shows them with an occluder that the renderer puts before them; None does so where
        the data set is a rendered one. Raises DataError where there are fewer than two persons,
        SettingError where a clip has one frame.
        """
        if config.frames < 2:
            raise SettingError("the battery compares frames of a clip: frames at least 2, not 1")
        size = (config.height, config.width)
        if filmed is None:
            filmed = is_rendered(tracklets)
        query, gallery = tracklets.split("query"), tracklets.split("gallery")
        searched = searched_tracklets(query, gallery, tracklets.queries_in_gallery)
        draw = partial(
            Sample.draw, frames=config.frames, size=size, seed=seed, packed=config.packed
        )
        return cls(draw(query, limit=limit, filmed=filmed), draw(searched))

    def conditions(self, occluders: Sequence[str]) -> list[Condition]:
        """List how the queries are shown."""
        filmed = (FILMED, FILMED_PLACEBO) if self.queries.filmed is not None else ()
        return [CLEAN, *(Condition(kind) for kind in (*filmed, *occluders, PLACEBO))]


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
    material: Material | None = None,
    name: str = "",
    part_clips: PartMaterial | None = None,
) -> Battery:
    """Run the battery on one clip of each query tracklet.

    The same arguments give the same tables, byte for byte on the same machine, whatever the order
    of the tracklets. It computes on the device where `model` is, in the precision of
    `config.hardware`. Cost: about 8 forward passes a clip, 18 more for the curves of two occluders,
    and one for each gallery tracklet; an erasure costs one, a deletion some 160.

    Args:
        model: trained, with attention, in evaluation mode.
        untrained: the same network with the weights it started from, in evaluation mode.
        tracklets: of a data set; query and gallery are used.
        config: frames, size, batch of clips, hardware.
        tracklets_limit: queries to show, drawn at random; None shows all.
        erasure_limit: queries whose tokens are erased.
        pixels_limit: queries whose pixels are deleted.
        occluders: to paste, of "object", "person", "grey", "noise".
        curves: those to draw curves of.
        draws: of the bootstrap over persons.
        seed: of all that is drawn.
        parts: of `PARTS`.
        material: clips that were drawn before, see `Material`; `tracklets_limit` is then ignored.
        name: of the network, in the column "run" of the values.
        part_clips: clips with parts of the person rendered away, to compare with maps.

    Raises:
        ValueError: an unknown part, a network without attention or in training mode.
        DataError: fewer than two persons.
    """
    if set(parts) - set(PARTS):
        raise ValueError(f"parts are among {', '.join(PARTS)}; got {', '.join(sorted(parts))}")
    require_attention(model)
    require_attention(untrained)
    shown = material or Material.draw(tracklets, config, limit=tracklets_limit, seed=seed)
    subject, control = (_Subject.of(each, shown.queries, config) for each in (model, untrained))
    head, people = subject.model.head, shown.queries.tracklets
    drawn = Resampling(people.pids, draws, seed)

    tried = swaps(head) if "swaps" in parts else [GGA]
    if "curves" in parts:
        tried = list(dict.fromkeys([*tried, *curve_swaps(head)]))
    gallery = Gallery.embed(subject.model, shown.galleries, tried, config.eval_batch)
    aims = gallery.aims(people)
    conditions = shown.conditions(occluders)
    observed = {
        condition: subject.observe(condition, tried, aims)
        for condition in progress(conditions, desc="occluders")
    }
    own = _observed(observed)
    blank = _observed({condition: control.observe(condition) for condition in conditions})

    rows = reaction_values(own, blank, head)
    rows += description_values(own.clean, blank.clean, head)
    rows += matrix_values(own.clean, head, untrained.head)
    rows += guide_values(own.clean, exchanged_guides(head, subject.clean, people.pids))
    targets = gallery.targets(own.clean.vectors[GGA], aims, people)
    if "erasure" in parts:
        rows += _erasure_values(subject, targets, erasure_limit)
    if "pixels" in parts:
        rows += _deletion_values(subject, targets, pixels_limit)
    if part_clips is not None and part_clips.rows:
        rows += part_values(subject.model, part_clips, aims, seed=seed, batch=subject.batch)
    results = score_all(observed, gallery, people)
    swapped, lines = pd.DataFrame(), pd.DataFrame()
    if "swaps" in parts:
        rows += gain_values(results, head)
        rows += harm_values(observed, gallery, targets, people)
        swapped = swap_table(results, drawn)
    if "curves" in parts:
        areas = _follow_curves(subject, gallery, curves, results)
        rows += curve_values(results, curves, config.frames, head)
        lines = curve_table(results, areas, frames=config.frames, head=head, draws=drawn)
    values = _of_clips(rows, people, name)
    table = summary(values, draws=draws, seed=seed)
    return Battery(table, values, swapped, lines, len(people), len(np.unique(people.pids)))


def summary(values: pd.DataFrame, *, draws: int = FINE_DRAWS, seed: int = 0) -> pd.DataFrame:
    """Make the table of one network's values, or of several networks', pooled: `Battery.table`."""
    table = judge(pooled(values, draws=draws, seed=seed))
    purity = table[table["measure"] == "purity"].set_index("branch")["value"]
    return table.assign(purity=table["branch"].map(purity))[COLUMNS]


def kept(values: pd.DataFrame) -> pd.DataFrame:
    """Return the per-clip values from which the verdicts are computed."""
    # Purity and the exchanged guide are no claims, and the verdict reads them.
    return values[values["measure"].isin([*KEPT, "purity", "moved by another guide"])]


def _of_clips(rows: Sequence[pd.DataFrame], tracklets: Tracklets, run: str) -> pd.DataFrame:
    """Join the rows of all measures, and say of which clip and person each is."""
    values = pd.concat(rows, ignore_index=True)
    values = pd.concat([values, learned_responses(values)], ignore_index=True)
    place = values.pop("clip_row").to_numpy()
    about = {"run": run, "clip": names(tracklets)[place], "pid": tracklets.pids[place]}
    return values.assign(**about)[[*CLIP, *KEY, "value", "weight", *REFERENCES]]


@dataclass(frozen=True)
class _Subject:
    """A network and the clips it is shown."""

    model: ClipModel
    queries: Sample
    clean: Tokens
    batch: int

    @classmethod
    def of(cls, model: ClipModel, queries: Sample, config: Config) -> "_Subject":
        copied = fast(model, config.hardware)
        return cls(
            copied, queries, clean_tokens(copied, queries, config.eval_batch), config.eval_batch
        )

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.head.bnneck.weight.device

    def observe(
        self, condition: Condition, tried: Sequence[Swap] = (), aims: torch.Tensor | None = None
    ) -> Observation:
        head = self.model.head
        attentions = {
            NEW_LAYERS: random_layers(head, self.queries.seed),
            "reversed": lambda tokens: reversed_frames(head, tokens),
        }
        asked = Request(tried, attentions, aims, self.clean, self.batch)
        return observe(self.model, self.queries, condition, asked)


def _observed(found: dict[Condition, Observation]) -> Observed:
    return Observed(found[CLEAN], {c.occluder: seen for c, seen in found.items() if c != CLEAN})


def _follow_curves(
    subject: _Subject, gallery: Gallery, occluders: Sequence[str], results: Results
) -> dict[Condition, float]:
    """Add the scores along the curves to `results`; return the area that was really covered."""
    frames, tried = subject.queries.frames, curve_swaps(subject.model.head)
    every = [c for occluder in occluders for c in curve_conditions(occluder, frames)]
    areas = {CLEAN: 0.0}
    for condition in progress(list(dict.fromkeys(every)), desc="curves"):
        seen = subject.observe(condition, tried)
        results |= score_all({condition: seen}, gallery, subject.queries.tracklets)
        areas[condition] = seen.area
    return areas


def _chosen(targets: Sequence[Aim], limit: int | None) -> list[int]:
    """Draw `limit` queries that have somebody to find, evenly over the persons."""
    rows = [i for i, aim in enumerate(targets) if aim.right.any()]
    if limit is None or limit >= len(rows):
        return rows
    return [rows[i] for i in spread(len(rows), limit)]


def _erasure_values(
    subject: _Subject, targets: Sequence[Aim], limit: int | None
) -> list[pd.DataFrame]:
    """Erase tokens in the order of weight, contribution, or what each alone does."""
    rows = _chosen(targets, limit)
    found = [
        erasure(
            subject.model,
            subject.queries.clip(i),
            targets[i].to(subject.device),
            subject.queries.generator(i, "erasure"),
        )
        for i in progress(rows, desc="erasure")
    ]
    out = []
    for branch in subject.model.head.grids if found else ():
        ways = {way: np.array([clip[branch][way] for clip in found]) for way in found[0][branch]}
        best = ways["alone"]
        out += [
            clip_values("erasure by weight", branch, "none", ways["weight"], ceiling=best),
            clip_values("erasure by contribution", branch, "none", ways["contribution"],
                        ceiling=best),
            clip_values("rank of weight with loss", branch, "none", ways["tau"]),
        ]  # fmt: skip
    return [_at(frame, rows) for frame in out]


def _deletion_values(
    subject: _Subject, targets: Sequence[Aim], limit: int | None
) -> list[pd.DataFrame]:
    """Delete pixels by map; the fill stands in the column "occluder"."""
    rows = _chosen(targets, limit)
    found = [
        deletion(
            subject.model,
            subject.queries.clip(i),
            targets[i].to(subject.device),
            generator=subject.queries.generator(i, "deletion"),
            batch=subject.batch,
        )
        for i in progress(rows, desc="deletion")
    ]
    out = []
    for branch, fill in found[0] if found else ():
        values = np.array([clip[branch, fill] for clip in found])
        if branch == "contribution":
            out.append(clip_values("deletion by contribution", "all", fill, values))
        else:
            out.append(clip_values("deletion by weight", branch, fill, values))
    return [_at(frame, rows) for frame in out]


def _at(frame: pd.DataFrame, rows: Sequence[int]) -> pd.DataFrame:
    """Return which clips the values of some clips belong to."""
    return frame.assign(clip_row=np.asarray(rows)[frame["clip_row"]])
