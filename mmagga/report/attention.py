"""The attention sheet of one query: which clip, and the words beside it."""

import numpy as np
from matplotlib.figure import Figure

from mmagga import figures
from mmagga.attention.maps import contributions, look, project, relative_maps, repeats, weights
from mmagga.data.augment import network_input
from mmagga.data.clips import dense_clips
from mmagga.data.frames import open_frames
from mmagga.data.masks import OCCLUDER, has_masks, read_masks, resize_masks
from mmagga.data.tracklets import describe_tracklet
from mmagga.model.backbone import map_size
from mmagga.report.page import plain
from mmagga.runs.opened import OpenedRun


def sheet(opened: OpenedRun, query: int, rule: str) -> tuple[Figure, str, str]:
    """Draw weights and contributions of one clip of a query; return figure, alt text and caption.

    The clip is the most occluded one where there are masks, else the one in the middle; one that
    repeats frames only if there is no other.
    """
    config, head, row = opened.config, opened.model.head, opened.first_query + query
    length = int(opened.all.lengths[row])
    clips = np.array(dense_clips(length, config.frames))  # (n, T)
    whole = max(1, length // config.frames)
    masks = _occluders(opened, row)
    clip = whole // 2 if masks is None else int(masks[clips[:whole]].mean((1, 2, 3)).argmax())
    frames = open_frames(opened.all, opened.size, config.packed).read(row, clips[clip])
    seen = look(opened.model, network_input(frames[None], opened.device))
    first = int(opened.ranked(query, top=1)["gallery"].iat[0])
    cosine = contributions(seen, opened.vectors[first].to(opened.device), head)

    size = map_size(*opened.size)
    maps = relative_maps(seen.attention, head, size)
    added = project(cosine.parts, head, size)
    shown, by_part, parts = (
        {name: values[0].cpu().numpy() for name, values in found.items()}
        for found in (maps, weights(seen.attention), added)
    )
    what = f"clip {clip + 1} of {len(clips)} of the {rule} query"
    precision = opened.queries["average_precision"].iat[query]
    score = "not scored" if np.isnan(precision) else f"average precision {precision:.2f}"
    figure = figures.attention_sheet(
        frames,
        shown,
        weights=by_part,
        contributions=parts,
        masks=None if masks is None else masks[clips[clip]],
        padded=repeats(length, config.frames).numpy()[clip],
        title=f"The {rule} query: {describe_tracklet(opened.all, row)}",
        provenance=f"{plain(opened.run.folder.name)} · checkpoint {opened.checkpoint} · "
        f"query {query}, clip {clip + 1} of {len(clips)}",
    )
    spread = ", ".join(f"{n} {w.max() / w.min():.2f}" for n, w in by_part.items())
    caption = (
        f"{what[0].upper()}{what[1:]} ({score}), beside what it finds "
        f"first: {describe_tracklet(opened.all, first)}. Largest weight over smallest: {spread}."
    )
    return figure, f"Frames, weights and contributions of {what}. {spread}", caption


def _occluders(opened: OpenedRun, row: int) -> np.ndarray | None:
    """Return where a tracklet's occluders are, (length, H, W) bool; None without masks."""
    if not has_masks(opened.all):
        return None
    return resize_masks(read_masks(opened.all, row) == OCCLUDER, opened.size)
