"""What a run finds: scores, rank lists, where the score comes from, what it looks at."""

import numpy as np
import pandas as pd

from mmagga import figures
from mmagga.data.tracklets import searched_tracklets
from mmagga.figures.table import Table
from mmagga.report.attention import sheet
from mmagga.report.page import Number, Picture, Section, table
from mmagga.report.results import Tested, quarters, telling
from mmagga.retrieval import PROTOCOLS, by_bins, camera_pairs, cmc_bands, quantile_edges
from mmagga.runs.opened import OpenedRun
from mmagga.studies.tables import NONE

_BINS = (0, 0.02, 0.1, 0.25, 1)
"""Edges of the bins of occlusion, as in notebook 3."""
_QUARTERS = ("least", "lower quarter", "median", "upper quarter", "most")


def headline(tested: Tested | None, missing: list[str]) -> Section:
    """Return the scores, in large type, and what they are of."""
    if tested is None:
        return Section("Result", missing=("no test of this run is known yet", *missing))
    if not tested.scored:
        text = (
            f"Ranked, not scored: none of the {len(tested.per_query):,} queries has a match, "
            f"{PROTOCOLS[tested.protocol].rule}, among the {tested.gallery:,} tracklets searched. "
            f"Protocol {tested.protocol}. Tested: {tested.source}."
        )
        return Section("Result", text, tuple(missing))
    numbers = [
        Number(name, f"{100 * found.mean:.1f}", _interval(found.low, found.high))
        if found
        else Number(name, NONE, "beyond the gallery")
        for name, found in tested.intervals().items()
    ]
    matched = tested.per_query["matches"] > 0
    persons = tested.per_query.loc[matched, "pid"].nunique()
    too = PROTOCOLS[tested.protocol].queries_in_gallery
    lost = int((~matched).sum())
    text = (
        f"Percent, below it the 95 % interval of a bootstrap over {persons} persons. Protocol "
        f"{tested.protocol}: {matched.sum():,} of {len(matched):,} queries have a match, "
        f"{PROTOCOLS[tested.protocol].rule}"
        f"{f'; the {lost:,} others are excluded' if lost else ''}. "
        f"{tested.gallery:,} tracklets are searched{', the queries among them' if too else ''}. "
        f"Tested: {tested.source}."
    )
    return Section("Result", text, tuple(missing), tuple(numbers))


def curve(tested: Tested) -> Section:
    """Draw the cumulative matching curve."""
    bands = cmc_bands(tested.per_query, min(20, tested.gallery))
    ends = ", ".join(f"rank-{b.rank} {b.mean:.1%}" for b in bands.iloc[[0, -1]].itertuples())
    title = "Cumulative matching"
    figure = figures.cmc_band_figure({"this run": bands}, title=title)
    caption = (
        "The share of the queries whose person is among the first k found. The band is the 95 % "
        "interval over persons: another run's curve inside it says little."
    )
    return Section(title, pictures=(Picture.of(figure, f"{title}: {ends}", caption),))


def beside_yardsticks(opened: OpenedRun) -> Section:
    """Set the network beside the non-learned baselines, on the same queries."""
    ours = {"method": "this network", "mAP": opened.scores.mAP, "rank-1": opened.scores.rank(1)}
    rows = pd.concat([pd.DataFrame([ours]), opened.yardsticks], ignore_index=True)
    cells = pd.DataFrame({
        "": rows["method"],
        "mAP (%)": rows["mAP"].map(_percent),
        "rank-1 (%)": rows["rank-1"].map(_percent),
    })  # fmt: skip
    note = "thumbnail: 16×8 pixels; camera-centred: minus the mean of its camera in training."
    return Section("Non-learned baselines", tables=(table(cells, "The same queries", note),))


def rank_lists(opened: OpenedRun) -> Section:
    """Show what four queries find, chosen by rule, and how the queries fare in numbers."""
    chosen, queries = quarters(opened), opened.queries.set_index("query")
    lists = {query: opened.ranked(query) for query in chosen}
    precisions = queries["average_precision"]
    scored = opened.scores.valid_queries > 0
    notes = {
        query: f"{name}, AP {precisions[query]:.2f}" if scored else f"query {query}"
        for query, name in chosen.items()
    }
    query, gallery = (opened.tracklets.split(name) for name in ("query", "gallery"))
    searched = searched_tracklets(query, gallery, opened.protocol.queries_in_gallery)
    title = "Rank lists: worst, lower-quarter, median and best query"
    title = title if scored else "Rank lists of some queries"
    figure = figures.rank_sheet(
        query, searched, lists, opened.size, title=title, notes=notes, packed=opened.config.packed
    )
    caption = (
        "Each row is a query, chosen by rule and not by hand, and the tracklets found first with "
        "their distances. Green with a tick is the right person, red with a cross somebody else, "
        "grey with a question mark one of whom it is not known."
    )
    alt = f"{title}: " + "; ".join(
        f"{notes[query]}, {ranked['match'].sum()} of the first {len(ranked)} right"
        for query, ranked in lists.items()
    )
    if not scored:
        picture = Picture.of(figure, title, caption)
        return Section("Rank lists", pictures=(picture,), tables=(_chosen(opened, chosen),))
    fifths = zip(_QUARTERS, precisions.quantile([0, 0.25, 0.5, 0.75, 1]), strict=True)
    words = ", ".join(f"{name} {100 * value:.1f}" for name, value in fifths)
    text = f"Average precision of the queries, in percent: {words}."
    picture = Picture.of(figure, alt, caption)
    return Section("Rank lists", text, pictures=(picture,), tables=(_chosen(opened, chosen),))


def _chosen(opened: OpenedRun, chosen: dict[int, str]) -> Table:
    """List the chosen queries with all that is known of them."""
    rows = []
    for line in opened.queries.set_index("query").loc[list(chosen)].itertuples():
        first = opened.all.table["first"].iat[opened.first_query + line.Index]
        rows.append({
            "query": f"{line.Index}, {chosen[line.Index]}",
            "AP (%)": _percent(line.average_precision),
            "person": str(line.pid),
            "camera": str(line.camid),
            "frames": str(line.length),
            "hidden (%)": _percent(line.occluded),
            "matches": str(line.matches),
            "first at rank": str(line.first_hit),
            "last at rank": str(line.last_hit),
            "nearest person": str(line.nearest_pid),
            "first frame": str(opened.all.names[first]),
        })  # fmt: skip
    note = "hidden: share of the person that something covers, mean over the frames."
    return table(pd.DataFrame(rows), "The chosen queries", note)


def costs(opened: OpenedRun) -> Section:
    """Show what the precision depends on: length, occlusion, cameras."""
    queries = opened.queries
    edges = quantile_edges(queries["length"])
    length = by_bins(queries, "length", edges) if len(edges) > 1 else None
    known = queries["occluded"].notna().any()
    occlusion = by_bins(queries, "occluded", _BINS) if known else None
    pictures, missing = [], []
    if length is not None:
        title = "What length and occlusion cost" if known else "What length costs"
        caption = (
            "Mean average precision of the queries in each bin, with 95 % intervals over persons. "
            "No experiment: short queries may also be the occluded ones."
        )
        figure = figures.cost_figure(length, occlusion, title=title)
        pictures.append(Picture.of(figure, f"{title}: {_means(length)}", caption))
    else:
        missing.append("all queries are equally long: there is nothing to compare")
    if not known:
        missing.append("occlusion: this data set does not say what is hidden")
    pairs = camera_pairs(opened.scores)
    title = "From camera to camera"
    best, worst = (pairs.loc[pairs["mAP"].agg(f)] for f in ("idxmax", "idxmin"))
    alt = f"{title}: mAP from {_pair(worst)} to {_pair(best)}"
    caption = (
        "mAP by the camera of the query and the camera of the match; matches under third cameras "
        "count neither as hits nor as misses. Cells with few queries are noise."
    )
    pictures.append(Picture.of(figures.camera_figure(pairs, title=title), alt, caption))
    return Section("Where the score comes from", "", tuple(missing), pictures=tuple(pictures))


def _means(bins: pd.DataFrame) -> str:
    return ", ".join(
        f"{100 * line.mean:.0f} % up to {line.right:g} frames"
        for line in bins[["right", "mean"]].itertuples()
    )


def _pair(pair: pd.Series) -> str:
    return f"{pair['mAP']:.0%} (camera {pair['camid']:.0f} to {pair['gallery_camid']:.0f})"


def attention(opened: OpenedRun) -> Section:
    """Show weights and contributions of three queries, chosen by rule."""
    text = (
        "Left: the weights relative to uniform ones; at temperature 1 no part of GGA weighs more "
        "than e times another. Right: what every place adds to the similarity with the tracklet "
        "that the query finds first, exactly. Weight is not contribution. One scale of weights "
        "for all sheets, nothing smoothed."
    )
    chosen = {q: name for q, name in telling(opened).items() if len(opened.ranked(q, top=1))}
    if not chosen:
        return Section("Attention", missing=("there is no tracklet that a query could find",))
    pictures = tuple(
        Picture.of(*sheet(opened, query, name), faint=True) for query, name in chosen.items()
    )
    return Section("Attention", text, pictures=pictures)


# --- small things -------------------------------------------------------------------------------


def _percent(share: float) -> str:
    return NONE if pd.isna(share) else f"{100 * share:.1f}"


def _interval(low: float, high: float) -> str:
    return "one person: no interval" if np.isnan(low) else f"{100 * low:.1f} – {100 * high:.1f}"
