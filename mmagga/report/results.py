"""What a report can show of a run's test: from its newest checkpoint, or from its log alone."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from mmagga.retrieval import Interval, bootstrap
from mmagga.retrieval.queries import ordered
from mmagga.runs.opened import OpenedRun
from mmagga.runs.run import Run
from mmagga.system.files import read_csv

RANKS = (1, 5, 10, 20)


class Tested(NamedTuple):
    """A test, query by query."""

    per_query: pd.DataFrame
    """As in `Scores`."""
    protocol: str
    gallery: int
    """Tracklets searched."""
    source: str
    """What was tested, and when, in words."""

    def has(self, mAP: float) -> bool:
        """Return whether this test has that mAP, up to the rounding of other batch sizes."""
        return math.isclose(self.per_query["average_precision"].mean(), mAP, abs_tol=5e-4)

    @property
    def scored(self) -> bool:
        """Whether any query has a match: else the test is a ranking without scores."""
        return bool((self.per_query["matches"] > 0).any())

    def intervals(self) -> dict[str, Interval | None]:
        """Return mAP, mINP and ranks with their 95 % intervals; None beyond the gallery's size."""
        found: dict[str, Interval | None] = {
            "mAP": bootstrap(self.per_query),
            "mINP": bootstrap(self.per_query, "inp"),
        }
        first = self.per_query["first_hit"].astype("Int64")
        for k in RANKS:
            hits = self.per_query.assign(hit=first <= k)
            found[f"rank-{k}"] = bootstrap(hits, "hit") if k <= self.gallery else None
        return found


def logged(run: Run) -> Tested | None:
    """Return the run's last own test, from metrics.json and queries.csv; None without both."""
    path, metrics = run.folder / "queries.csv", run.load_metrics()
    if not (metrics and path.exists()):
        return None
    source = f"the test at step {metrics['step']}, epoch {metrics['epoch']}, from the run's log"
    per_query = read_csv(path, ["average_precision", "matches", "first_hit"])
    tested = Tested(per_query, metrics["protocol"], metrics["gallery"], source)
    if tested.has(metrics["mAP"]):
        return tested
    return tested._replace(source="a later test than the one that training logged: queries.csv")


def retest(opened: OpenedRun) -> Tested:
    """Return the test, with what the run's log says of the same checkpoint."""
    metrics, scores, step = opened.run.load_metrics(), opened.scores, opened.record["step"]
    newest = "" if step == opened.run.saved_step() else ", a newer one being damaged"
    source = f"the checkpoint of step {step}{newest}, tested for this page"
    tested = Tested(scores.per_query, scores.protocol.name, scores.gallery_size, source)
    if opened.config.dataset != opened.run.load_config().dataset or metrics.get("step") != step:
        return tested
    if tested.has(metrics["mAP"]):
        return tested._replace(source=f"{source}, with the result that training logged")
    other = f"training logged another mAP, {metrics['mAP']:.1%}: data or device differ"
    return tested._replace(source=f"{source}; {other}")


def quarters(opened: OpenedRun) -> dict[int, str]:
    """Choose queries by rule: the worst, at the lower quarter, in the middle, the best.

    Where none can be scored: the first, and those at a third and two thirds and at the end.
    """
    if not opened.scores.valid_queries:
        count = len(opened.per_query)
        return {int(k): "not scored" for k in np.linspace(0, count - 1, 4).round()}
    order = ordered(opened.scores.per_query, "worst")[: opened.scores.valid_queries]
    last = len(order) - 1
    places = {0: "worst", last // 4: "lower quarter", last // 2: "median", last: "best"}
    return {int(order[place]): name for place, name in places.items()}


def telling(opened: OpenedRun) -> dict[int, str]:
    """Choose queries to look at: worst, median, and most occluded or one at random."""
    occluded = opened.queries["occluded"]
    known = occluded.notna().any()
    rules = {"worst": "worst", "median": "median"}
    rules |= {"occluded": "most occluded"} if known else {"random": "randomly drawn"}
    chosen: dict[int, list[str]] = {}
    for rule, name in rules.items():
        order = ordered(
            opened.queries, rule, seed=opened.config.seed,
            occluded=occluded.to_numpy() if rule == "occluded" else None,
        )  # fmt: skip
        chosen.setdefault(int(order[0]), []).append(name)
    return {query: " and ".join(names) for query, names in chosen.items()}
