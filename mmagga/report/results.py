"""What a report can show of a run's test: from its newest checkpoint, or from its log alone."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from mmagga.browser.gallery import stored_embeddings
from mmagga.browser.queries import ordered
from mmagga.config import Config
from mmagga.data.tracklets import Tracklets, searched_tracklets
from mmagga.retrieval import (
    Embeddings,
    Interval,
    Protocol,
    Scores,
    bootstrap,
    describe_queries,
    evaluate,
    rank_list,
)
from mmagga.runs.run import Run
from mmagga.system.device import resolve_device

RANKS = (1, 5, 10, 20)
DRAWS = 5000
"""Of every bootstrap, so that a number has one interval wherever it stands."""


class Tested(NamedTuple):
    """A test, query by query."""

    per_query: pd.DataFrame
    """As in `Scores`."""
    protocol: str
    gallery: int
    """Tracklets searched."""
    source: str
    """What was tested, and by whom, in words."""

    def has(self, mAP: float) -> bool:
        """Tell whether this is a test with that mAP: other batches round otherwise, no more."""
        return math.isclose(self.per_query["average_precision"].mean(), mAP, abs_tol=5e-4)

    def intervals(self) -> dict[str, Interval | None]:
        """Give mAP, mINP and ranks with their 95 % intervals; None beyond the gallery's size."""
        found: dict[str, Interval | None] = {
            "mAP": bootstrap(self.per_query, draws=DRAWS),
            "mINP": bootstrap(self.per_query, "inp", draws=DRAWS),
        }
        first = self.per_query["first_hit"].astype("Int64")
        for k in RANKS:
            hits = self.per_query.assign(hit=first <= k)
            found[f"rank-{k}"] = bootstrap(hits, "hit", draws=DRAWS) if k <= self.gallery else None
        return found


def logged(run: Run) -> Tested | None:
    """Give the run's last own test, from metrics.json and queries.csv; None without both."""
    path, metrics = run.folder / "queries.csv", run.load_metrics()
    if not (metrics and path.exists()):
        return None
    source = f"the test at step {metrics['step']}, epoch {metrics['epoch']}, from the run's log"
    tested = Tested(pd.read_csv(path), metrics["protocol"], metrics["gallery"], source)
    if tested.has(metrics["mAP"]):
        return tested
    return tested._replace(source="a later test than the one that training logged: queries.csv")


@dataclass(frozen=True)
class Opened:
    """The newest healthy checkpoint of a run on a data set, with what it embeds of its test.

    Rows of `all` are the gallery's, then the queries', as `retrieval.rank_list` numbers them.
    """

    run: Run
    config: Config
    tracklets: Tracklets
    model: nn.Module
    record: dict[str, Any]
    """The checkpoint's."""
    all: Tracklets
    vectors: Tensor
    """(N, D) of `all`."""

    @classmethod
    def of(cls, run: Run, config: Config, tracklets: Tracklets) -> "Opened":
        """Load the network and embed, unless the run folder has the embeddings of just these.

        Raises CheckpointError where there is no healthy checkpoint.
        """
        model, record = run.load_with_record(resolve_device(config.device))
        query, gallery = tracklets.split("query"), tracklets.split("gallery")
        both = searched_tracklets(query, gallery, True)
        vectors = stored_embeddings(run, model, both, config, record["sha256"][:12])
        return cls(run, config, tracklets, model, record, both, vectors)

    @property
    def checkpoint(self) -> str:
        """The first twelve digits of the checkpoint's hash."""
        return self.record["sha256"][:12]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the network sees."""
        return self.config.height, self.config.width

    @cached_property
    def first_query(self) -> int:
        """The row of `all` at which the queries begin."""
        return int((self.all.table["split"] == "gallery").sum())

    @cached_property
    def protocol(self) -> Protocol:
        """The data set's own."""
        return Protocol.for_tracklets(self.tracklets)

    @cached_property
    def sides(self) -> tuple[Embeddings, Embeddings]:
        """Queries and gallery, embedded."""
        pids, camids = torch.tensor(self.all.pids), torch.tensor(self.all.camids)
        query, gallery = slice(self.first_query, None), slice(self.first_query)
        return tuple(Embeddings(self.vectors[s], pids[s], camids[s]) for s in (query, gallery))

    @cached_property
    def scores(self) -> Scores:
        """The test under the data set's own protocol."""
        return evaluate(*self.sides, self.protocol)

    @cached_property
    def queries(self) -> pd.DataFrame:
        """What was found for each query, and what the data set knows of it."""
        return describe_queries(self.scores, self.tracklets)

    def ranked(self, query: int, top: int = 10) -> pd.DataFrame:
        """Give what a query finds first."""
        return rank_list(*self.sides, self.protocol, query, top)

    def tested(self) -> Tested:
        """Give the test, with what the run's log says of the same checkpoint."""
        metrics, scores, step = self.run.load_metrics(), self.scores, self.record["step"]
        newest = "" if step == self.run.saved_step() else ", a newer one being damaged"
        source = f"the checkpoint of step {step}{newest}, tested for this page"
        tested = Tested(scores.per_query, scores.protocol.name, scores.gallery_size, source)
        if self.config.dataset != self.run.load_config().dataset or metrics.get("step") != step:
            return tested
        if tested.has(metrics["mAP"]):
            return tested._replace(source=f"{source}, with the result that training logged")
        other = f"training logged another mAP, {metrics['mAP']:.1%}: data or device differ"
        return tested._replace(source=f"{source}; {other}")

    def quarters(self) -> dict[int, str]:
        """Choose queries by rule: the worst, at the lower quarter, in the middle, the best."""
        order = ordered(self.scores.per_query, "worst")[: self.scores.valid_queries]
        last = len(order) - 1
        places = {0: "worst", last // 4: "lower quarter", last // 2: "median", last: "best"}
        return {int(order[place]): name for place, name in places.items()}

    def telling(self) -> dict[int, str]:
        """Choose queries to look at: worst, median, and most occluded or one at random."""
        occluded = self.queries["occluded"]
        known = occluded.notna().any()
        rules = {"worst": "worst", "median": "median"}
        rules |= {"occluded": "most occluded"} if known else {"random": "randomly drawn"}
        chosen: dict[int, list[str]] = {}
        for rule, name in rules.items():
            order = ordered(
                self.queries, rule, seed=self.config.seed,
                occluded=occluded.to_numpy() if rule == "occluded" else None,
            )  # fmt: skip
            chosen.setdefault(int(order[0]), []).append(name)
        return {query: " and ".join(names) for query, names in chosen.items()}
