"""The paper's size on rendered people: ResNet-50, 256x128, 8 frames, 64 clips a step.

    python benchmarks/paper_size.py --work gpu-work --out results [--tiny --device cpu]

Renders 300 training and 100 test people at 256x128 on all cores, packs their frames raw, times the
loader that feeds the device, trains the baseline from random weights and MMA-GGA from its trunk at
the authors' rate. paper_size.csv has a row for each network: scores with intervals, speed, health.
"""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro

from mmagga.config import PAPER, Config, HardwareConfig, StageConfig
from mmagga.data import Tracklets, load_tracklets
from mmagga.data.clips import train_loader
from mmagga.data.files.index import checked
from mmagga.data.files.packed import pack
from mmagga.data.synthetic import SyntheticSpec, render
from mmagga.retrieval import bootstrap
from mmagga.runs import Run
from mmagga.training import train

SPEC = SyntheticSpec(
    300, 100, cameras=6, tracklets=(4, 5), frames=(8, 16), height=256, width=128, seed=20
)
TINY = SyntheticSpec(4, 3, cameras=2, tracklets=(2, 3), frames=(3, 4), height=256, width=128)


def main(
    work: Path,
    out: Path,
    device: Literal["cuda", "cpu"] = "cuda",
    epochs: tuple[int, int] = (36, 24),
    workers: int = 12,
    tiny: bool = False,
) -> None:
    """Train both networks, `epochs` of each; each result is written when it is there."""
    root = render(work / ("paper-tiny" if tiny else "paper"), TINY if tiny else SPEC)
    tracklets = checked(load_tracklets("synthetic", root))
    packed = work / "paper.pack"
    if not packed.exists():
        pack(tracklets, packed, (256, 128))
    base = replace(
        PAPER, dataset="synthetic", root=root, packed=packed, device=device, workers=workers,
        hardware=HardwareConfig("bf16" if device == "cuda" else "float32"), eval_every=6,
        eval_batch=64, checkpoint_every=1e9,
        model=replace(PAPER.model, weights=None),
    )  # fmt: skip
    if tiny:
        epochs, small = (1, 1), replace(base.model, backbone="resnet18", width=32)
        base = replace(base, frames=2, ids_per_batch=2, clips_per_id=2, workers=0, model=small)
    rows = [{"what": "loader"} | loading(tracklets, base)]
    first, last = epochs
    stages = (StageConfig(first, 3.5e-4),)
    baseline = replace(
        base, model=replace(base.model, name="baseline"), stages=stages, warmup=100,
        milestones=(round(0.7 * first), round(0.9 * first)),
    )  # fmt: skip
    rows.append({"what": "baseline"} | trained(baseline, work / "paper-baseline", tracklets))
    pd.DataFrame(rows).to_csv(out / "paper_size.csv", index=False)
    start = replace(base.model, weights=str(work / "paper-baseline"))
    method = replace(
        base, model=start, milestones=(round(0.75 * last),),
        stages=(StageConfig(last, 1.5e-4, "all_but_mma"), StageConfig(1, 2.5e-3, "mma")),
    )  # fmt: skip
    rows.append({"what": "MMA-GGA"} | trained(method, work / "paper-mmagga", tracklets))
    pd.DataFrame(rows).to_csv(out / "paper_size.csv", index=False)
    print(pd.DataFrame(rows).T.to_string())


def loading(tracklets: Tracklets, config: Config, batches: int = 20) -> dict[str, float]:
    """Time the loader alone, after its processes have started."""
    loader = train_loader(tracklets.split("train"), config, stop_epoch=3)
    next(loader)
    began, count = time.perf_counter(), 0
    for batch in loader:
        count += batch.clips.shape[0] * batch.clips.shape[1]
        batches -= 1
        if not batches:
            break
    loader.close()
    return {"frames_per_second": round(count / (time.perf_counter() - began), 1)}


def trained(config: Config, folder: Path, tracklets: Tracklets) -> dict[str, object]:
    """Train and describe one network: percent, frames a second, health as JSON."""
    run: Run = train(config, folder, tracklets=tracklets)
    timing, metrics = run.read("timing"), run.load_metrics()
    interval = bootstrap(pd.read_csv(folder / "queries.csv"))
    steady = timing.iloc[1:] if len(timing) > 1 else timing
    return {
        "mAP": round(100 * metrics["mAP"], 1),
        "low": round(100 * interval.low, 1),
        "high": round(100 * interval.high, 1),
        "rank-1": round(100 * metrics["rank-1"], 1),
        "steps": metrics["step"],
        "frames_per_second": round(steady["frames"].sum() / steady["seconds"].sum(), 1),
        "peak_gb": round(timing.get("peak_bytes", pd.Series([0])).max() / 1e9, 2),
        "health": json.dumps(run.records("epochs")[-1]["health"]),
    }


if __name__ == "__main__":
    tyro.cli(main)
