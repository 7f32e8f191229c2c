"""`Tracklets`: what every reader returns and everything else consumes.

One row per tracklet, one flat array of frame names; a subset shares both with its parent. MARS has
1.2 million frames, so names are kept once, relative to `root`, and nothing is opened here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmagga.errors import DataError

SPLITS = ("train", "query", "gallery")
DISTRACTOR = 0
"""Person id of gallery tracklets that match nobody (MARS's convention)."""


@dataclass(frozen=True)
class Tracklets:
    """Tracklets of one data set.

    `table` has a row for each tracklet with the columns split ("train", "query" or "gallery"),
    pid, camid, first and length: its frames are `names[first : first + length]`, in time order.
    """

    dataset: str
    root: Path
    table: pd.DataFrame
    names: np.ndarray
    """(F,) frame paths relative to `root`, POSIX; NumPy's StringDType, about 50 bytes a name."""
    queries_in_gallery: bool = False
    """Whether the standard protocol of this set searches the query tracklets too (MARS)."""
    one_camera: bool = False
    """Whether all test tracklets come from one camera: each is a query, searched among the others,
    and tracklets of its person count as matches although the camera is the same."""
    unnamed_from: int | None = None
    """The smallest pid of the unlabelled tracklets, each of which counts as a person of its own;
    None where all are labelled."""
    notes: tuple[str, ...] = ()
    """What the reader has to say: junk dropped, splits recognised or not, gaps."""

    def __len__(self) -> int:
        return len(self.table)

    @property
    def pids(self) -> np.ndarray:
        """(N,) int64 person ids."""
        return self.table["pid"].to_numpy()

    @property
    def camids(self) -> np.ndarray:
        """(N,) int64 camera ids."""
        return self.table["camid"].to_numpy()

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 frames of each tracklet."""
        return self.table["length"].to_numpy()

    @property
    def views(self) -> np.ndarray:
        """(N,) int64: tracklets of one person and one view are no matches of each other.

        The view is the camera; where there is only one camera, each tracklet is its own view.
        """
        return self.table["first"].to_numpy() if self.one_camera else self.camids

    @property
    def named(self) -> np.ndarray:
        """(N,) bool: of which tracklets it is known whom they show."""
        if self.unnamed_from is None:
            return np.ones(len(self), bool)
        return self.pids < self.unnamed_from

    def frames(self, row: int) -> list[Path]:
        """Return the frame files of tracklet `row`, in time order."""
        first, length = self.table["first"].iat[row], self.table["length"].iat[row]
        return [self.root / name for name in self.names[first : first + length]]

    def subset(self, rows: np.ndarray | Sequence[int] | pd.Series) -> "Tracklets":
        """Return some tracklets, by boolean mask or row numbers, in that order."""
        rows = np.asarray(rows)
        table = self.table[rows] if rows.dtype == bool else self.table.iloc[rows]
        return replace(self, table=table.reset_index(drop=True))

    def split(self, name: str) -> "Tracklets":
        """Return the tracklets of one split: "train", "query" or "gallery"."""
        if name not in SPLITS:
            raise ValueError(f"split is one of {', '.join(SPLITS)}, not {name!r}")
        return self.subset((self.table["split"] == name).to_numpy())

    def summary(self) -> pd.DataFrame:
        """Count identities, tracklets, cameras and frames of each split."""
        groups = self.table.groupby(pd.Categorical(self.table["split"], SPLITS), observed=False)
        return pd.DataFrame(
            {
                "identities": groups["pid"].agg(lambda pids: pids[pids > DISTRACTOR].nunique()),
                "tracklets": groups.size(),
                "distractors": groups["pid"].agg(lambda pids: int((pids == DISTRACTOR).sum())),
                "cameras": groups["camid"].nunique(),
                "frames": groups["length"].sum(),
                "shortest": groups["length"].min().fillna(0).astype(int),
                "longest": groups["length"].max().fillna(0).astype(int),
            }
        ).rename_axis(self.dataset)


def searched_tracklets(query: Tracklets, gallery: Tracklets, queries_too: bool) -> Tracklets:
    """Return what a protocol searches: the gallery and, with `queries_too`, then the queries."""
    if not queries_too:
        return gallery
    return replace(gallery, table=pd.concat([gallery.table, query.table], ignore_index=True))


def describe_tracklet(tracklets: Tracklets, row: int) -> str:
    """Return person, camera and length of one tracklet in words."""
    pid, camid, length = (a[row] for a in (tracklets.pids, tracklets.camids, tracklets.lengths))
    who = f"person {pid}" if pid > 0 else "distractor"
    if not tracklets.named[row]:
        who = "unnamed"
    return f"{who} · camera {camid} · {length} frames"


def spread(length: int, count: int) -> list[int]:
    """Choose `count` of the numbers 0..length-1 evenly, or all where there are fewer."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(int)).tolist()


def make_tracklets(
    dataset: str,
    root: Path,
    rows: Sequence[tuple[str, int, int, int, int]] | pd.DataFrame,
    names: Sequence[str] | np.ndarray,
    **extra: object,
) -> Tracklets:
    """Build checked `Tracklets` from rows of (split, pid, camid, first, length).

    Raises DataError if a tracklet is empty or points outside `names`, or if a person is both in
    the training set and among the test persons.
    """
    table = pd.DataFrame(rows, columns=["split", "pid", "camid", "first", "length"])
    table = table.reset_index(drop=True)
    table = table.astype(
        {"pid": np.int64, "camid": np.int64, "first": np.int64, "length": np.int64}
    )
    packed = np.asarray(names, dtype=np.dtypes.StringDType())
    tracklets = Tracklets(dataset, Path(root), table, packed, **extra)  # type: ignore[arg-type]
    _check(tracklets)
    return tracklets


def _check(tracklets: Tracklets) -> None:
    table, where = tracklets.table, f"{tracklets.dataset} in {tracklets.root}"
    unknown = set(table["split"]) - set(SPLITS)
    if unknown:
        raise DataError(f"{where}: unknown split {sorted(unknown)}; expected {', '.join(SPLITS)}")
    empty = table.index[table["length"] < 1]
    if len(empty):
        row = table.loc[empty[0]]
        raise DataError(
            f"{where}: {len(empty)} tracklets have no frames, the first is row {empty[0]} "
            f"(person {row['pid']}, camera {row['camid']}). Unpack the data set again."
        )
    outside = (table["first"] < 0) | (table["first"] + table["length"] > len(tracklets.names))
    if outside.any():
        row = table[outside].iloc[0]
        raise DataError(
            f"{where}: a tracklet of person {row['pid']} refers to frames {row['first']} to "
            f"{row['first'] + row['length'] - 1}, but only {len(tracklets.names)} are listed."
        )
    train = set(table.loc[table["split"] == "train", "pid"])
    both = sorted(train & set(table.loc[table["split"] != "train", "pid"]) - {DISTRACTOR})
    if both:
        raise DataError(
            f"{where}: {len(both)} persons are in the training and in the test set "
            f"({', '.join(map(str, both[:5]))}…): results on this split would be too good."
        )
