"""Score the embeddings of any model: its table beside yardsticks, its ledger, its rank lists."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.data.tracklets import Tracklets, searched_tracklets
from mmagga.errors import DataError, SettingError
from mmagga.figures.table import Table
from mmagga.retrieval import (
    PROTOCOLS,
    Embeddings,
    Protocol,
    Scores,
    bootstrap,
    evaluate,
    paired_difference,
)
from mmagga.retrieval.embedding import joined
from mmagga.retrieval.metrics import rank_lists
from mmagga.retrieval.stored import StoredEmbeddings, tracklet_names
from mmagga.retrieval.yardsticks import Pair, camera_centred, covers, yardsticks
from mmagga.studies.ledger import ledger_of
from mmagga.studies.tables import ledger_table
from mmagga.system.files import write_csv, write_text

MODEL = "this model"


@dataclass(frozen=True)
class Judged:
    """What is known of a model's embeddings on a test set."""

    scores: Scores
    methods: pd.DataFrame
    """One row per method, the model's first: mAP with its 95 % interval, rank-1, mINP, and the
    model's mAP minus the method's, with interval and p."""
    ledger: pd.DataFrame
    """See `mmagga.studies.ledger`."""
    ranks: pd.DataFrame
    """Rank lists of all queries: query, rank, gallery (names, or rows where there are none),
    distance (squared Euclidean), pid, camid, match."""

    def write(self, folder: str | Path, name: str) -> list[Path]:
        """Write methods, ledger, queries and ranks as CSV, and the tables as Markdown."""
        folder = Path(folder)
        tables = {"methods": self.methods, "ledger": self.ledger,
                  "queries": self.scores.per_query, "ranks": self.ranks}  # fmt: skip
        for stem, table in tables.items():
            write_csv(folder / f"{stem}.csv", table)
        texts = self.table(name).markdown(), ledger_table(self.ledger, name).markdown()
        write_text(folder / "tables.md", "\n\n".join(texts))
        return [*(folder / f"{stem}.csv" for stem in tables), folder / "tables.md"]

    def table(self, name: str) -> Table:
        """Lay the methods out, in percent and points."""
        rows = self.methods
        ends = zip(rows["mAP_low"], rows["mAP_high"], strict=True)
        fields = ("difference", "difference_low", "difference_high")
        gains = zip(*(100 * rows[field] for field in fields), strict=True)
        cells = pd.DataFrame(
            {
                "method": rows["method"],
                "mAP": [f"{100 * value:.1f}" for value in rows["mAP"]],
                "95 %": [f"{100 * low:.1f}–{100 * high:.1f}" for low, high in ends],
                "rank-1": [f"{100 * value:.1f}" for value in rows["rank-1"]],
                "mINP": [f"{100 * value:.1f}" for value in rows["mINP"]],
                "model − method (95 %)": [
                    "–" if np.isnan(gain) else f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"
                    for gain, low, high in gains
                ],
            }
        )
        first = np.arange(len(cells))[:, None] == 0
        bold = np.broadcast_to(np.where(first, "bold", ""), cells.shape)
        marks = pd.DataFrame(bold, cells.index, cells.columns)
        return Table(cells, marks, f"{name}. {self.scores}. Percent; differences in points of mAP.")


def judge(
    stored: StoredEmbeddings,
    tracklets: Tracklets | None = None,
    *,
    protocol: str | None = None,
    size: tuple[int, int] = (256, 128),
    top: int = 10,
) -> Judged:
    """Score embeddings on the test split that they name, or on that of a data set.

    A data set brings persons, cameras and splits, its protocol, and frames for the non-learned
    baselines, read at `size` (H, W). Without it the file's own arrays count and `protocol` is one
    of `PROTOCOLS`; the default follows from the cameras. `top` is the length of rank lists.

    Raises DataError where a tracklet has no vector, or the file lacks an array.
    """
    pair, train, names = _sides(stored, tracklets)
    chosen = _protocol(pair, tracklets, protocol)
    methods = {MODEL: pair}
    if train is not None and covers(train, *pair):
        methods["this model, camera-centred"] = _centred(pair, train)
    methods["this model, camera-centred by the test set itself"] = _centred(pair, joined(*pair))
    if tracklets is not None:
        methods |= yardsticks(tracklets, size)
    scores = {name: evaluate(*sides, chosen) for name, sides in methods.items()}
    if not scores[MODEL].valid_queries:
        raise DataError(str(scores[MODEL]))
    rows = [_row(name, found, scores[MODEL]) for name, found in scores.items()]
    ledger = ledger_of(*pair, chosen, train=train)
    return Judged(scores[MODEL], pd.DataFrame(rows), ledger, _ranks(pair, chosen, names, top))


def _sides(
    stored: StoredEmbeddings, tracklets: Tracklets | None
) -> tuple[Pair, Embeddings | None, list[str] | None]:
    """Return query and gallery, the training people, and the names of gallery and queries."""
    if tracklets is None:
        query, gallery, train = (stored.split(name) for name in ("query", "gallery", "train"))
        names = stored.names
        order = [stored.splits == name for name in ("gallery", "query")]
        known = None if names is None else np.concatenate([names[rows] for rows in order]).tolist()
        return (query, gallery), train if len(train.pids) else None, known
    if stored.names is None:  # rows stand for all tracklets, in their order
        names = np.array(tracklet_names(tracklets))
        stored = StoredEmbeddings(stored.of(tracklets).vectors.numpy(), names)
    asked, searched, people = (tracklets.split(name) for name in ("query", "gallery", "train"))
    known = tracklet_names(searched_tracklets(asked, searched, True))
    embedded = len(people) and np.isin(tracklet_names(people), stored.names).all()
    return (stored.of(asked), stored.of(searched)), stored.of(people) if embedded else None, known


def _protocol(pair: Pair, tracklets: Tracklets | None, name: str | None) -> Protocol:
    if name is not None:
        if name not in PROTOCOLS:
            raise SettingError(f"no protocol is named {name!r}; there are {', '.join(PROTOCOLS)}")
        return PROTOCOLS[name]
    if tracklets is not None:
        return Protocol.for_tracklets(tracklets)
    shared = len(np.intersect1d(pair[0].camids, pair[1].camids))
    return PROTOCOLS["query_gallery" if shared else "two_camera"]


def _centred(pair: Pair, reference: Embeddings) -> Pair:
    query, gallery = (camera_centred(side, reference) for side in pair)
    return query, gallery


def _row(name: str, scores: Scores, model: Scores) -> dict[str, object]:
    interval = bootstrap(scores.per_query)
    row = {"method": name, "mAP": scores.mAP, "mAP_low": interval.low, "mAP_high": interval.high}
    row |= {"rank-1": scores.rank(1), "mINP": scores.mINP}
    fields = ("difference", "difference_low", "difference_high", "p")
    if scores is model:
        return row | dict.fromkeys(fields, np.nan)
    return row | dict(
        zip(fields, paired_difference(model.per_query, scores.per_query), strict=True)
    )


def _ranks(pair: Pair, protocol: Protocol, names: list[str] | None, top: int) -> pd.DataFrame:
    gallery = len(pair[1].pids)
    found = []
    for query, ranked in enumerate(rank_lists(*pair, protocol, top=top)):
        ranked = ranked.reset_index()
        ranked.insert(0, "query", query if names is None else names[gallery + query])
        found.append(ranked)
    table = pd.concat(found, ignore_index=True)
    return table if names is None else table.assign(gallery=[names[i] for i in table["gallery"]])
