"""Evaluation at MARS size against a plain NumPy loop over the queries, in one run.

    python benchmarks/retrieval.py

Prints our time (best of 3), our peak memory, the loop's time (from its first queries), the ratio,
and the largest difference of AP and INP between the two.
"""

import argparse
import resource
import time

import numpy as np
import torch

from mmagga.retrieval import PROTOCOLS, Embeddings, evaluate


def made(n: int, dim: int, ids: int, g: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Unit vectors around a centre for each person; person 0 is a distractor."""
    centres = np.random.default_rng(7).standard_normal((ids + 1, dim), dtype=np.float32)
    pids = g.integers(0, ids + 1, n)
    vectors = 0.1 * centres[pids] + g.standard_normal((n, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, pids, g.integers(1, 7, n)


def plain_loop(query: tuple, gallery: tuple, product: bool) -> np.ndarray:
    """AP and INP of each query: all distances, a stable sort, the camera rule, the hits."""
    vectors, pids, camids = gallery
    rows = []
    for q, pid, camid in zip(*query):
        distance = 2 - 2 * (vectors @ q) if product else ((vectors - q) ** 2).sum(1)
        order = np.argsort(distance, kind="stable")
        order = order[~((pids[order] == pid) & (camids[order] == camid))]
        ranks = np.flatnonzero(pids[order] == pid) + 1
        rows.append((np.mean(np.arange(1, len(ranks) + 1) / ranks), len(ranks) / ranks[-1]))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1980)
    parser.add_argument("--gallery", type=int, default=9330)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--loop", type=int, default=100, help="queries the plain loop is timed on")
    args = parser.parse_args()

    g = np.random.default_rng(0)
    query = made(args.queries, args.dim, 626, g)
    query[1][query[1] == 0] = 1
    gallery = made(args.gallery, args.dim, 626, g)
    sides = [Embeddings(*map(torch.from_numpy, side)) for side in (query, gallery)]
    times = []
    for _ in range(3):
        start = time.perf_counter()
        scores = evaluate(*sides, PROTOCOLS["mars"])
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{scores}\nours {min(times):.2f} s (runs {times}), peak {peak:.2f} GB")

    some = tuple(part[: args.loop] for part in query)
    searched = tuple(np.concatenate(pair) for pair in zip(gallery, query))
    ours = scores.per_query[["average_precision", "inp"]].to_numpy()[: args.loop]
    for product in (True, False):
        start = time.perf_counter()
        theirs = plain_loop(some, searched, product)
        loop = (time.perf_counter() - start) * args.queries / args.loop
        name = "matrix-vector" if product else "subtraction"
        print(f"{name} loop {loop:.0f} s: {loop / min(times):.0f} times ours,", end=" ")
        print(f"largest difference {np.abs(theirs - ours).max():.1e}")


if __name__ == "__main__":
    main()
