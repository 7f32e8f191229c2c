"""What is to be seen under given settings: the state's numbers put into pictures and sentences."""

import math
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmagga.attention.battery.measure_rows import limit
from mmagga.attention.battery.measures import did, groups
from mmagga.attention.battery.occluders import OBJECTS, cut_out, paste, token_shares
from mmagga.attention.maps import Contribution, Look, map_statistics, relative, weights
from mmagga.browser.gallery import Found
from mmagga.browser.render import (
    LOWER,
    Drawn,
    Layout,
    Scale,
    Side,
    Term,
    pair_view,
    strip_tile,
)
from mmagga.browser.state import AS_TRAINED, BrowserState, Reweighting, Seen, clip_attention, unit
from mmagga.browser.touch import Bars, brush_view
from mmagga.data.tracklets import DISTRACTOR
from mmagga.errors import DataError
from mmagga.model.head import GRIDS
from mmagga.model.outputs import Attention
from mmagga.randomness import generator

KINDS = {
    "GGA weight": "weight",
    "contribution to the similarity": "contribution",
    "Grad-CAM of the similarity": "gradcam",
    "occlusion map": "occlusion",
}
"""What the browser says -> the kind of map."""
OCCLUDERS = (*OBJECTS, "grey", "noise", "placebo", "person")
TILE = 62
"""Height in pixels of the frames in the rank list."""
TILE_FRAMES = 2
"""Frames of a tracklet in the rank list."""


@dataclass(frozen=True)
class Brush:
    """What covers a frame, and where; top, left, height and width are shares of the frame."""

    occluder: str = "box"
    """One of `OCCLUDERS`; a person is cut out of another query."""
    top: float = 0.4
    left: float = 0.0
    height: float = 0.4
    width: float = 1.0
    every: bool = False
    """Cover all frames of the clip, not one."""

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return top, left, height and width in pixels of a frame of `size` (H, W), kept inside."""
        height, width = (max(4, round(s * n)) for s, n in zip((self.height, self.width), size))
        top, left = round(self.top * size[0]), round(self.left * size[1])
        return min(top, size[0] - height), min(left, size[1] - width), height, width


@dataclass(frozen=True)
class Settings:
    """Everything the controls say."""

    query: int
    """Row of the query among the queries."""
    pick: int | None = None
    """Row of the gallery tracklet beside it; None is the first of the rank list."""
    clip: int = 0
    other_clip: int = 0
    frame: int = 0
    """Of the clip, from 0."""
    kind: str = "weight"
    """A value of `KINDS`."""
    part: str = "all"
    """One branch, or all."""
    opacity: float = 1.0
    swap: Reweighting = AS_TRAINED
    both: bool = False
    """Other weights for the gallery too, not for the query alone."""
    brush: Brush | None = None


class _Half(NamedTuple):
    """One tracklet of the pair."""

    seen: Seen
    look: Look
    """Under the weights that the controls choose."""
    clip: int
    similarity: Contribution
    """To the other tracklet, taken apart."""
    other: int
    """Row of the other tracklet."""


class View(NamedTuple):
    """Two pictures, the rank list, and what is said about them."""

    found: Found
    pick: int
    pair: Drawn
    touch: Drawn
    query: str
    result: str
    scale: str
    """What the colours of the maps mean."""
    summary: str
    """The pair in words, for those who do not see the picture."""


def compose(state: BrowserState, settings: Settings) -> View:
    """Compute the view. Only a new tracklet, brush, Grad-CAM or occlusion map needs a forward pass.

    Raises:
        DataError: there is nothing to search for this query.
    """
    row = state.first_query + settings.query
    plain = state.seen(row)
    frame, clip = settings.frame, min(settings.clip, len(plain.frames) - 1)
    seen, mask = plain, None
    if settings.brush is not None:
        seen, mask = _cover(state, plain, clip, frame, brush=settings.brush)
    before, after = state.weighted(plain, settings.swap), state.weighted(seen, settings.swap)
    vector = unit(after)
    found = state.rank(row, vector, settings.swap, settings.both)
    if not len(found.rows):
        raise DataError(f"query {settings.query} has no gallery: all of it is its own camera's")
    pick = int(found.rows[0]) if settings.pick is None else settings.pick
    target = state.gallery_vectors(settings.swap, settings.both)[pick]
    whole = state.similarity(after, target)
    other = state.seen(pick)
    other_look = state.weighted(other, settings.swap if settings.both else AS_TRAINED)
    other_clip = min(settings.other_clip, len(other.frames) - 1)

    back = state.similarity(other_look, vector)
    sides = (
        _side(state, settings, _Half(seen, after, clip, whole, pick), "Query"),
        _side(state, settings, _Half(other, other_look, other_clip, back, row), "Gallery"),
    )
    scale = _scale(state, settings.kind)
    stamp = f"{state.run.folder.name} · checkpoint {state.checkpoint} · {_weights_text(settings)}"
    pair = pair_view(
        sides, _terms(whole), scale,
        frame=frame, opacity=settings.opacity, stamp=stamp, height=pair_height(state),
    )  # fmt: skip
    touch = _touch(
        state, settings, (before, after), clip, frame=seen.frames[clip][frame], mask=mask
    )
    trained = state.rank(row, state.vectors[row])
    plain_similarity = float(state.vectors[pick] @ state.vectors[row])
    similarities = _change(plain_similarity, float(whole.similarity[0]), ".4f")
    result = f"{_rank_change(trained, found)} · similarity of the pair {similarities}"
    about = f"{describe(state, row)} · {_file(state, row)}"
    summary = (
        f"Clip {clip + 1} of the query, {describe(state, row)}, beside clip {other_clip + 1} "
        f"of {describe(state, pick)}: {_scale_text(scale)}. {result}"
    )
    return View(found, pick, pair, touch, about, result, _scale_text(scale), summary)


def pair_height(state: BrowserState) -> int:
    """Return the pixels of the tallest pair view, so that every other is as tall."""
    return LOWER + max(Layout.of(state.config.frames, state.size, n).total for n in (2, 5))


def tile(
    state: BrowserState, row: int, match: bool | None, *, selected: bool,
    count: int = TILE_FRAMES, mark: bool = True,
) -> Image.Image:  # fmt: skip
    """Draw a tracklet for the rank list."""
    return strip_tile(
        state.strip(row, count, TILE), match, selected=selected, columns=count, mark=mark
    )


# --- words --------------------------------------------------------------------------------------


def _file(state: BrowserState, row: int) -> str:
    return str(state.all.names[state.all.table["first"].iat[row]])


def _rank_change(trained: Found, found: Found) -> str:
    """Describe at which rank the first match is, as trained and now."""
    if trained.first is None:
        return "no match is known: ranks without scores"
    ranks = _change(trained.first, found.first)
    return (
        f"first match at rank {ranks}, "
        f"AP {_change(trained.average_precision, found.average_precision, '.3f')}"
    )


def _change(before: float, after: float, form: str = "") -> str:
    """Write a number, or both where it has changed: "26 → 23"."""
    words = [format(before, form), format(after, form)]
    return words[0] if words[0] == words[1] else " → ".join(words)


def describe(state: BrowserState, row: int) -> str:
    """Describe a tracklet in a few words."""
    return f"{who(state, row)} · camera {state.all.camids[row]} · {state.all.lengths[row]} frames"


def marks(state: BrowserState, query_row: int, rows: np.ndarray) -> list[bool | None]:
    """Return for each tracklet whether it shows the query's person; None where that is unknown."""
    pid = state.all.pids[query_row]
    return [
        bool(state.all.pids[row] == pid and pid != DISTRACTOR)
        if state.named[query_row] and state.named[row]
        else None
        for row in rows
    ]


def who(state: BrowserState, row: int) -> str:
    """Name the person of a tracklet or, where that is unknown, the track."""
    pid = int(state.all.pids[row])
    if state.named[row]:
        return f"person {pid}" if pid != DISTRACTOR else "distractor"
    folder = PurePosixPath(_file(state, row)).parent.name
    return folder or f"track {row}"


def part_name(name: str) -> str:
    """Name a branch by its bands: "2 bands (p3)"."""
    return "frames (global)" if name == "global" else f"{GRIDS[name][0]} bands ({name})"


def _weights_text(settings: Settings) -> str:
    swap = settings.swap
    name = {"gga": "GGA weights", "frames": "weights of the frames"}.get(swap.how, swap.how)
    text = name if swap.temperature == 1 else f"{name}, temperature × {swap.temperature:.2g}"
    if not swap.changes:
        return text
    return f"{text}, query and gallery" if settings.both else f"{text}, query only"


def _scale(state: BrowserState, kind: str) -> Scale:
    """Return how a kind of map becomes colour; the same for all frames, parts and tracklets."""
    if kind == "contribution":
        title = "branch's share of the similarity if all its parts were like this one"
        note = "Σ: what the branch adds to the similarity, in this clip"
        return Scale("contribution", title, ((-1, "≤ −1"), (0, "0"), (1, "≥ 1")), note=note)
    if kind == "occlusion":
        bound = _occlusion_bound(state)
        title = "similarity lost where covered (scale: s.d. between tracklets / 10)"
        ticks = ((-1, f"−{bound:.2g}"), (0, "0"), (1, f"+{bound:.2g}"))
        return Scale("contribution", title, ticks, lambda values: values * bound)
    what = (
        "weight over a uniform one" if kind == "weight" else "Grad-CAM, as trained, over its mean"
    )
    title = f"{what}, log scale"
    note = "H: entropy of the weights / ln N, 1 = uniform · R: largest weight / smallest"
    ticks = ((-1, "1/e"), (0, "1"), (1, "e"))
    return Scale("weight", title, ticks, np.exp, note if kind == "weight" else "")


def _scale_text(scale: Scale) -> str:
    return f"{scale.title}: {', '.join(label for _, label in scale.ticks)}"


def _occlusion_bound(state: BrowserState) -> float:
    """Bound the scale by a tenth of what similarities differ by: a block is a small thing."""
    return state.similarity_spread / 10


def _terms(whole: Contribution) -> list[Term]:
    parts = [Term(part_name(name), float(values.sum())) for name, values in whole.parts.items()]
    constant = Term("constant: BNNeck's offset", float(whole.constant[0]))
    return [constant, *parts, Term("similarity = their sum", float(whole.similarity[0]))]


def _changes(
    state: BrowserState, before: Attention, after: Attention, mask: np.ndarray | None
) -> dict[str, str]:
    """Describe, by branch, the change of the covered parts' weights under the brush, in nats."""
    if mask is None:
        return {}
    old, new = (weights(one) for one in (before, after))
    changes = {}
    for name, share in token_shares(mask[None], state.head).items():
        occluded, clean = groups(share.flatten(1).numpy(), frames=name == "global")
        first, second = (one[name].flatten(1).numpy() for one in (old, new))
        answer = float(did(first, second, occluded, clean)[0])
        changes[part_name(name)] = "–" if np.isnan(answer) else f"{answer:+.3f}"
    return changes


# --- pictures -----------------------------------------------------------------------------------


def _maps(state: BrowserState, settings: Settings, half: _Half) -> dict[str, np.ndarray]:
    """Return the maps (T, h, w) in [-1, 1] to be drawn, by the name of their row."""
    if settings.kind == "gradcam":
        return {"Grad-CAM": state.cam(half.seen, half.clip, half.other)}
    if settings.kind == "occlusion":
        drop = state.occlusion(half.seen, half.clip, half.other)
        return {"occlusion": drop / _occlusion_bound(state)}
    if settings.kind == "weight":
        maps = state.weight_maps(half.look, half.clip)
    else:
        maps = state.contribution_maps(half.similarity.parts, half.clip)
    return maps if settings.part == "all" else {settings.part: maps[settings.part]}


def _side(state: BrowserState, settings: Settings, half: _Half, name: str) -> Side:
    seen, clip = half.seen, half.clip
    attention = clip_attention(half.look, clip)
    notes = {}
    if settings.kind == "weight":
        numbers = map_statistics(attention).items()
        notes = {n: [f"H {s.entropy.item():.3f}", f"R {s.ratio.item():.2f}"] for n, s in numbers}
    elif settings.kind == "contribution":
        notes = {n: [f"Σ {float(p[clip].sum()):+.3f}"] for n, p in half.similarity.parts.items()}
    where = f"camera {state.all.camids[seen.row]} · clip {clip + 1} of {len(seen.frames)}"
    title = f"{name}: {who(state, seen.row)} · {where}"
    occluders = None if seen.occluders is None else seen.occluders[clip]
    weights = attention.frames[0].numpy()
    labels = {part: part_name(part) for part in state.head.grids}
    return Side(
        title, seen.frames[clip], _maps(state, settings, half), weights, seen.repeats[clip], notes,
        occluders, labels, drag=name == "Query",
    )  # fmt: skip


def _touch(
    state: BrowserState, settings: Settings, looks: tuple[Look, Look], clip: int,
    *, frame: np.ndarray, mask: np.ndarray | None,
) -> Drawn:  # fmt: skip
    """Draw the chosen frame as it is now, and the weights before and after the brush."""
    before, after = (clip_attention(one, clip) for one in looks)
    name = list(state.head.grids)[-1] if settings.part == "all" else settings.part
    return brush_view(
        frame,
        state.weight_maps(looks[1], clip)[name][settings.frame],
        _bars(before, after, settings.frame),
        limits=_within_e(state, settings.swap),
        covered=None if mask is None else mask[settings.frame],
        opacity=settings.opacity,
        title=part_name(name),
        changes=_changes(state, before, after, mask),
    )


def _within_e(state: BrowserState, swap: Reweighting) -> bool:
    """Whether the weights shown are GGA's own, or flatter: none then passes 1/e or e."""
    largest = max((limit(state.head, name) for name in state.head.mma), default=math.inf)
    return swap.how == "gga" and math.log(largest) / swap.temperature <= 1


def _bars(before: Attention, after: Attention, frame: int) -> Bars:
    """Return the weights, relative to uniform, of a frame and its parts."""
    old, new = relative(before), relative(after)
    names = [
        "frame" if name == "global" else f"band {k + 1} of {values.shape[2]}"
        for name, values in old.items()
        for k in range(values.shape[2])
    ]
    first, second = (
        np.concatenate([values[0, frame].numpy() for values in one.values()]) for one in (old, new)
    )
    return Bars(names, first, second)


def _cover(
    state: BrowserState, seen: Seen, clip: int, frame: int, *, brush: Brush
) -> tuple[Seen, np.ndarray]:
    """Paste the brush's occluder; the same brush at the same place is the same picture."""
    frames = range(len(seen.frames[clip])) if brush.every else [frame]
    place, draws = brush.box(state.size), generator(0, "brush")
    cut = brush.occluder == "person"
    what = _person(state, seen.row, place[2:]) if cut else brush.occluder
    covered, mask = paste(seen.frames[clip], what, frames, place, generator=draws)
    return state.covered(seen, clip, covered, mask, key=(brush, tuple(frames))), mask


def _person(state: BrowserState, row: int, size: tuple[int, int]) -> np.ndarray:
    """Cut somebody else out, whole and unstretched: (h, w, 4) of `size`, clear beside the person.

    It is the middle frame of the first query of another person; without masks an oval of it.
    """
    others = np.flatnonzero(state.all.pids[state.first_query :] != state.all.pids[row])
    if not len(others):
        raise DataError("all queries show one person: there is nobody else to cut out")
    other = state.first_query + int(others[0])
    middle = int(state.all.lengths[other]) // 2
    mask = state.person_mask(other, middle)
    if mask is None or not mask.any():
        y, x = np.mgrid[-1 : 1 : state.size[0] * 1j, -1 : 1 : state.size[1] * 1j]
        mask = (x / 0.6) ** 2 + (y / 0.95) ** 4 < 1
    person = Image.fromarray(cut_out(state.frames.read(other, [middle])[0], mask))
    scale = min(size[0] / person.height, size[1] / person.width)
    small = person.resize((max(1, int(person.width * scale)), max(1, int(person.height * scale))))
    patch = Image.new("RGBA", size[::-1])
    patch.paste(small, ((size[1] - small.width) // 2, size[0] - small.height))  # on the ground
    return np.array(patch)
