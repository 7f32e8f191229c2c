"""Trained network, untrained network and non-learned baselines, on the same queries: CSV.

    python benchmarks/yardsticks.py --root data/synthetic-demo --out data/results/demo.csv
    python benchmarks/yardsticks.py --dataset prid2011 --root FOLDER --scratch --out FILE \
        --splits 0 1 2

Each seed (or split) trains the DEMO network once, with `--scratch` a second time from random
weights; runs that exist are not trained again.
"""

import dataclasses
from pathlib import Path

import pandas as pd
import tyro

from mmagga.config import DEMO
from mmagga.data import load_tracklets
from mmagga.data.files.index import checked
from mmagga.model.build import untrained_like
from mmagga.retrieval import Protocol, bootstrap, evaluate
from mmagga.retrieval.embedding import query_and_gallery
from mmagga.retrieval.yardsticks import yardsticks
from mmagga.runs import Run
from mmagga.system.files import write_csv
from mmagga.training import train


def main(
    root: Path,
    out: Path,
    dataset: str = "synthetic",
    seeds: tuple[int, ...] = (0, 1, 2),
    splits: tuple[int, ...] = (),
    scratch: bool = False,
    runs: Path = Path("runs"),
) -> None:
    """Compare on one data set, over seeds or, where `splits` are named, over splits."""
    rows: list[dict] = []
    without_learning: dict[int, dict] = {}  # by split: they do not depend on the seed
    for seed, split in [(0, s) for s in splits] or [(s, 0) for s in seeds]:
        config = dataclasses.replace(DEMO, dataset=dataset, root=root, seed=seed, split=split)
        tracklets = checked(load_tracklets(dataset, root, split))
        run = train(config, Run.of(config, runs).folder, tracklets=tracklets)
        size, protocol = (config.height, config.width), Protocol.for_tracklets(tracklets)
        model = run.load_model()
        if split not in without_learning:
            without_learning[split] = yardsticks(tracklets, size)
        pair = query_and_gallery(model, tracklets, config)
        untrained = query_and_gallery(untrained_like(model, config), tracklets, config)
        methods = {"trained": (pair, run), "untrained": (untrained, None)}
        if scratch:
            random = dataclasses.replace(config.model, weights=None)
            config = dataclasses.replace(config, model=random)
            run = train(config, Run.of(config, runs).folder, tracklets=tracklets)
            pair = query_and_gallery(run.load_model(), tracklets, config)
            methods["trained from random weights"] = pair, run
        methods |= {name: (pair, None) for name, pair in without_learning[split].items()}
        for name, (embeddings, of) in methods.items():
            scores = evaluate(*embeddings, protocol)
            interval = bootstrap(scores.per_query)
            row = {"dataset": dataset, "seed": seed, "split": split, "method": name}
            row |= {"mAP": scores.mAP, "mAP_low": interval.low, "mAP_high": interval.high}
            row |= {"rank1": scores.rank(1), "mINP": scores.mINP}
            if of is not None:
                dead = of.records("epochs")[-1]["health"]["dead"]
                row |= {"dead": max(dead.values()), "run": of.folder.name}
            rows.append(row)
            print(rows[-1], flush=True)
            write_csv(out, pd.DataFrame(rows).round(4))
    table = pd.DataFrame(rows).groupby("method")[["mAP", "rank1"]].agg(["mean", "std"])
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    tyro.cli(main)
