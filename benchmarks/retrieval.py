"""Evaluation at MARS size against plain NumPy loops over the queries, alternating in one run.

    python benchmarks/retrieval.py
    python benchmarks/retrieval.py --scaling

Each round times our evaluation, a bare float32 and a bare float64 matrix product of all queries
with all they search (the least that any exact distance costs), and the first queries of two loops.
Medians of the rounds and ratios to ours go to `--out` with the largest difference of AP and INP
and our peak memory; benchmarks/README.md shows them. `--scaling` evaluates galleries of a thousand
to a million rows instead.
"""

import argparse
import datetime
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmagga.retrieval import PROTOCOLS, Embeddings, evaluate
from mmagga.system.files import write_csv


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


def compare(args: argparse.Namespace) -> None:
    """Time ours, the products and the loops."""
    g = np.random.default_rng(0)
    query = made(args.queries, args.dim, 626, g)
    query[1][query[1] == 0] = 1
    gallery = made(args.gallery, args.dim, 626, g)
    sides = [Embeddings(*map(torch.from_numpy, side)) for side in (query, gallery)]
    data = peak()
    scores = evaluate(*sides, PROTOCOLS["mars"])
    memory = peak()
    print(f"{scores}\npeak memory {memory:.2f} GB, {data:.2f} of it before the evaluation began")

    searched = tuple(np.concatenate(pair) for pair in zip(gallery, query))
    first, few = (tuple(part[:n] for part in query) for n in (args.loop, args.loop // 4))
    work = {
        "ours": lambda: evaluate(*sides, PROTOCOLS["mars"]),
        "float32 product": lambda: product(query[0], searched[0], torch.float32),
        "float64 product": lambda: product(query[0], searched[0], torch.float64),
        "matrix-vector loop": lambda: plain_loop(first, searched, True),
        "subtraction loop": lambda: plain_loop(few, searched, False),
    }
    share = {"matrix-vector loop": len(first[0]), "subtraction loop": len(few[0])}
    ours = scores.per_query[["average_precision", "inp"]].to_numpy()
    rows = []
    for run in range(1, args.runs + 1):
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(args.rounds):
            for name, do in work.items():
                start = time.perf_counter()
                found = do()
                scale = args.queries / share.get(name, args.queries)
                seconds[name].append((time.perf_counter() - start) * scale)
                if name in share:
                    difference = np.abs(found - ours[: share[name]]).max()
                    assert difference < 1e-6, f"{name}: AP or INP differs by {difference:.1e}"
        for name, values in seconds.items():
            low, middle, high = statistics.quantiles(values, n=4)
            row = {"run": run, "work": name, "seconds": middle, "seconds_q1": low}
            row |= {"seconds_q3": high, "times_ours": middle / statistics.median(seconds["ours"])}
            rows.append(row | {"peak_gb": memory if name == "ours" else None})
    table = pd.DataFrame(rows).assign(
        threads=torch.get_num_threads(), queries=args.queries, gallery=args.gallery, dim=args.dim,
        rounds=args.rounds, date=datetime.date.today().isoformat(),
    )  # fmt: skip
    print(table.iloc[:, :7].to_string(index=False, float_format="{:.4g}".format))
    write_csv(args.out, table, digits=4)
    print(f"written: {args.out}")


def product(a: np.ndarray, b: np.ndarray, dtype: torch.dtype, chunk: int = 1024) -> None:
    """Multiply, a block at a time, and keep nothing."""
    left, right = torch.from_numpy(a).to(dtype), torch.from_numpy(b)
    for start in range(0, len(right), chunk):
        _ = left @ right[start : start + chunk].to(dtype).T


def peak() -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def scaling(queries: int, dim: int) -> None:
    """Evaluate memory-mapped galleries of growing size."""
    g = np.random.default_rng(0)
    query = Embeddings(*map(torch.from_numpy, made(queries, dim, 10**5, g)))
    print(f"{queries} queries of {dim} numbers")
    for rows in (10**3, 10**4, 10**5, 10**6):
        vectors, pids, camids = made(rows, dim, 10**5, g)
        pids[:queries] = query.pids  # everyone has a match
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/vectors.npy", vectors)
            del vectors
            mapped = np.load(f"{folder}/vectors.npy", mmap_mode="r")
            gallery = Embeddings(mapped, torch.from_numpy(pids), torch.from_numpy(camids))
            start = time.perf_counter()
            evaluate(query, gallery, PROTOCOLS["query_gallery"])
            seconds = time.perf_counter() - start
        print(f"gallery {rows:9,}{seconds:8.2f} s{1e9 * seconds / queries / rows:8.1f} ns a pair, "
              f"peak {peak():.2f} GB", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1980)
    parser.add_argument("--gallery", type=int, default=9330)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--loop", type=int, default=100, help="queries a loop is timed on")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=2, help="the whole table so many times")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--out", type=Path, default=Path("data/results/speed-retrieval.csv"))
    parser.add_argument("--scaling", action="store_true", help="grow the gallery, dim 64")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.scaling:
        scaling(min(args.queries, 500), 64)
    else:
        compare(args)


if __name__ == "__main__":
    main()
