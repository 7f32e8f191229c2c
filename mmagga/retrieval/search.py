"""Search among stored embeddings: nearest tracklets, a threshold, and tracks that may be one."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from mmagga.errors import DataError
from mmagga.retrieval.analysis import distance_histogram
from mmagga.retrieval.distances import Search
from mmagga.retrieval.embedding import Embeddings
from mmagga.retrieval.metrics import nearest_rows
from mmagga.retrieval.protocol import Protocol
from mmagga.retrieval.stored import StoredEmbeddings

_ALL = Protocol("search", queries_in_gallery=False)


class Threshold(NamedTuple):
    """A Euclidean distance up to which two tracklets are taken for one person."""

    distance: float
    accepted: float
    """Share of pairs of different persons at most that far apart."""
    refused: float
    """Share of pairs of one person, under different cameras, farther apart."""


def choose_threshold(known: StoredEmbeddings) -> Threshold:
    """Choose the distance at which as large a share of pairs is wrongly accepted as refused.

    `known` must have persons seen by several cameras, such as a labelled data set embedded by the
    same network; its split "train" is left out where there are others, since a network tells the
    people it was trained on apart more easily. Raises DataError where it has no such persons.
    """
    everybody = known.split()
    if known.splits is not None and (tested := known.splits != "train").any():
        everybody = Embeddings(*(field[torch.from_numpy(tested)] for field in everybody))
    histogram = distance_histogram(everybody, everybody, _ALL)
    rate, distance = histogram.equal_error
    return Threshold(distance, rate, rate)


def search(stored: StoredEmbeddings, query: str | int | None = None, top: int = 10) -> pd.DataFrame:
    """List the nearest tracklets of one tracklet, by name or row, or of all of them.

    Columns: query, rank, row, distance (Euclidean), and where they are known name, pid, camid.
    Raises DataError for a name that is not there.
    """
    rows = np.arange(len(stored.vectors)) if query is None else np.array([find(stored, query)])
    found = []
    for row, distances in zip(rows, _distances(stored, rows), strict=True):
        itself = np.arange(len(distances)) == row
        near = nearest_rows(distances, itself, top)
        found.append(pd.DataFrame({"query": row, "rank": np.arange(1, len(near) + 1), "row": near,
                                   "distance": np.sqrt(distances[near].clip(0))}))  # fmt: skip
    table = pd.concat(found, ignore_index=True)
    for name in ("names", "pids", "camids"):
        values = getattr(stored, name)
        if values is not None:
            table[name.removesuffix("s")] = values[table["row"]]
    if stored.names is not None:
        table["query"] = stored.names[table["query"]]
    return table


def find(stored: StoredEmbeddings, query: str | int) -> int:
    """Return the row of a tracklet: by its row, its name, or the end or beginning of its name."""
    if str(query).isdecimal() and int(query) < len(stored.vectors):
        return int(query)
    names = [] if stored.names is None else stored.names.tolist()
    wanted = str(query).strip("/")
    rows = [i for i, name in enumerate(names) if name == wanted]
    rows = rows or [i for i, n in enumerate(names) if n.startswith(wanted) or n.endswith(wanted)]
    if len(rows) != 1:
        some = ", ".join(names[row] for row in rows[:3]) if rows else ", ".join(names[:3])
        raise DataError(
            f"{len(rows)} of {len(stored.vectors)} tracklets are named {query!r}: expected a row "
            f"from 0 to {len(stored.vectors) - 1} or a whole name, such as {some or 'none'}"
        )
    return rows[0]


def suggest_merges(stored: StoredEmbeddings, threshold: float) -> pd.DataFrame:
    """Suggest which tracklets show one person: nearest to each other and within `threshold`.

    Partners are under different cameras, unless there is only one camera or none is known. Returns
    a row for each tracklet that has a partner: name (or row), pid (of the pair, from 1) and
    distance; before these camera, track and piece, as `data crop --identities` reads them, where
    the names are those of your own video.
    """
    n = len(stored.vectors)
    camids = np.zeros(n, int) if stored.camids is None else stored.camids
    across = len(np.unique(camids)) > 1
    nearest, distance = np.full(n, -1), np.full(n, np.inf)
    for row, distances in enumerate(_distances(stored, np.arange(n))):
        distances[(camids == camids[row]) if across else np.arange(n) == row] = np.inf
        nearest[row] = distances.argmin()
        distance[row] = np.sqrt(max(distances[nearest[row]], 0))
    rows = np.arange(n)
    mutual = (nearest[nearest] == rows) & (distance <= threshold)
    group = np.where(mutual, np.minimum(rows, nearest), -1)
    pairs = np.flatnonzero(mutual)
    table = pd.DataFrame({"pid": pd.factorize(group[pairs])[0] + 1, "distance": distance[pairs]})
    if stored.names is not None:
        table.insert(0, "name", stored.names[pairs])
        own = [re.match(r"crops/c(\d+)_t(\d+)_(\d+)/", name) for name in table["name"]]
        if len(own) and all(own):
            keys = [tuple(map(int, match.groups())) for match in own if match]
            for place, column in enumerate(("camera", "track", "piece")):
                table.insert(place, column, [key[place] for key in keys])
    else:
        table.insert(0, "row", pairs)
    return table.sort_values(["pid", "distance"], ignore_index=True)


def _distances(stored: StoredEmbeddings, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield squared distances (N,) of each of these rows to all."""
    nobody = torch.zeros(len(stored.vectors), dtype=torch.int64)
    side = Embeddings(torch.from_numpy(stored.vectors), nobody, nobody)
    return Search(side, side, _ALL, 1024, "cpu").distances(rows)
