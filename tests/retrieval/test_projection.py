"""Where tracklets lie on a page."""

import numpy as np
import torch

from mmagga.retrieval import Embeddings, project


def people(persons=6, each=4):
    """Persons far apart, and two distractors."""
    g = np.random.default_rng(0)
    pids = np.r_[np.repeat(np.arange(1, persons + 1), each), 0, 0]
    centres = 10 * np.eye(persons + 1, 16)
    vectors = centres[pids] + 0.01 * g.standard_normal((len(pids), 16))
    return Embeddings(*map(torch.from_numpy, (vectors.astype(np.float32), pids, pids % 2 + 1)))


def test_those_with_most_tracklets_are_shown_and_no_distractor():
    embeddings = people()
    keep = torch.arange(len(embeddings.pids)) != 5  # person 2 has one tracklet less
    points = project(Embeddings(*(part[keep] for part in embeddings)), persons=5)
    assert sorted(points["pid"].unique()) == [1, 3, 4, 5, 6]
    assert points.attrs["perplexity"] == (len(points) - 1) / 3


def test_neighbours_stay_neighbours():
    points = project(people())
    xy = points[["tsne_x", "tsne_y"]].to_numpy()
    distance = np.linalg.norm(xy[:, None] - xy, axis=2) + np.diag(np.full(len(xy), np.inf))
    assert (points["pid"].to_numpy()[distance.argmin(1)] == points["pid"]).all()


def test_there_is_one_map():
    assert project(people()).equals(project(people()))
