"""A finished run opened on a data set: its network, embeddings, protocol and scores."""

import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmagga.config import Config
from mmagga.data.files.index import fingerprints
from mmagga.data.tracklets import Tracklets, searched_tracklets
from mmagga.errors import ResourceError
from mmagga.model.networks import ClipModel
from mmagga.retrieval import (
    Embeddings,
    Protocol,
    Scores,
    describe_queries,
    evaluate,
    rank_list,
)
from mmagga.retrieval.embedding import tracklet_embeddings
from mmagga.retrieval.yardsticks import yardsticks
from mmagga.runs.run import Run
from mmagga.system.device import precision, resolve_device
from mmagga.system.files import commit, read_csv, write_csv


class OpenedRun:
    """The newest healthy checkpoint of a run on the test split of a data set.

    Rows of `all` are the gallery's tracklets, then the queries', numbered as in
    `retrieval.rank_list`. Embeddings and scores are computed when they are first asked for.

    Args:
        run: a run with at least one checkpoint.
        tracklets: the data set, already checked.
        config: the run's configuration by default; another data set or device may be set in it.

    Raises:
        CheckpointError: the run has no healthy checkpoint.
    """

    def __init__(self, run: Run, tracklets: Tracklets, config: Config | None = None) -> None:
        self.run, self.tracklets = run, tracklets
        self.config: Config = config or run.load_config()
        self.device = resolve_device(self.config.device)
        self.model: ClipModel
        self.record: dict[str, Any]
        self.model, self.record = run.load_with_record(self.device)
        query, gallery = tracklets.split("query"), tracklets.split("gallery")
        self.all = searched_tracklets(query, gallery, True)
        self.first_query = len(gallery)
        self.protocol = Protocol.for_tracklets(tracklets)
        self.searched = len(self.all) if self.protocol.queries_in_gallery else len(gallery)
        """Rows of `all` that are searched: the first ones."""

    @property
    def checkpoint(self) -> str:
        """The first twelve digits of the checkpoint's SHA-256."""
        return self.record["sha256"][:12]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels, of the network's input."""
        return self.config.height, self.config.width

    @cached_property
    def vectors(self) -> Tensor:
        """(N, D) embeddings of `all`, read from the run folder where they were stored before."""
        kind = precision(self.config.hardware, self.device)
        return stored_embeddings(
            self.run.folder,
            f"{self.checkpoint}-{_content(self.all)}-{kind}",
            lambda: tracklet_embeddings(self.model, self.all, self.config)["dense"].vectors,
        )

    @property
    def named(self) -> np.ndarray:
        """(N,) bool: of which tracklets of `all` it is known whom they show."""
        return self.all.named

    @cached_property
    def sides(self) -> tuple[Embeddings, Embeddings]:
        """Embeddings of the queries and of the gallery."""
        pids, camids = torch.tensor(self.all.pids), torch.tensor(self.all.camids)
        query, gallery = slice(self.first_query, None), slice(self.first_query)
        both = [Embeddings(self.vectors[s], pids[s], camids[s]) for s in (query, gallery)]
        return both[0], both[1]

    @cached_property
    def scores(self) -> Scores:
        """The evaluation under the data set's own protocol; NaN where no query has a match."""
        return evaluate(*self.sides, self.protocol)

    @cached_property
    def yardsticks(self) -> pd.DataFrame:
        """Columns method, mAP and rank-1 of the non-learned baselines, on these queries.

        Stored in the run folder, as the embeddings are.
        """
        path = self.run.folder / "embeddings" / f"{_content(self.all)}-yardsticks.csv"
        if path.exists():
            return read_csv(path, ["method", "mAP", "rank-1"])
        found = yardsticks(self.tracklets, self.size, self.config.packed)
        scores = {name: evaluate(*sides, self.protocol) for name, sides in found.items()}
        rows = [{"method": name, "mAP": s.mAP, "rank-1": s.rank(1)} for name, s in scores.items()]
        table = pd.DataFrame(rows)
        with suppress(OSError, ResourceError):
            write_csv(path, table)
        return table

    @property
    def per_query(self) -> pd.DataFrame:
        """`Scores.per_query`: a row for every query, without measures where it has no match."""
        return self.scores.per_query

    @cached_property
    def queries(self) -> pd.DataFrame:
        """`per_query` with what the data set knows of each query: its length and occlusion."""
        return describe_queries(self.scores, self.tracklets)

    def ranked(self, query: int, top: int = 10) -> pd.DataFrame:
        """Return the first `top` rows of the rank list of a query, numbered from 0."""
        return rank_list(*self.sides, self.protocol, query, top=top)


def stored_embeddings(folder: Path, key: str, embed: Callable[[], Tensor]) -> Tensor:
    """Return vectors (N, D) stored in a run folder under `key`, calling `embed` if there are none.

    `key` must name the weights and the frames, so that neither can be mistaken for others.
    """
    path = folder / "embeddings" / f"{key}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    vectors = embed()
    try:
        commit(path, lambda file: np.save(file, vectors.numpy()), need=vectors.nbytes)
    except (OSError, ResourceError) as error:
        warnings.warn(f"embeddings are not stored, and computed again: {error}", stacklevel=2)
    return vectors


def _content(tracklets: Tracklets) -> str:
    """Name tracklets by who is in which split with which frames, and by the frames' bytes."""
    found = fingerprints(tracklets)
    return f"{found['split'][:12]}-{(found['data'] or 'unchecked')[:12]}"
