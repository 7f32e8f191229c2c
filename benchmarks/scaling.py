"""How each kind of work grows: one curve each, with the line of ideal growth.

    python benchmarks/scaling.py [--repeats 3] [--out data/results/speed-scaling.csv]
                                 [--figure figures/scaling.png]

The clock is CPU time on one thread, so that a busy machine does not count. Networks are small ones
(ResNet-18): it is their growth that counts here; benchmarks/model.py times the paper's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from mmagga.config import DEMO
from mmagga.data.clips import epoch_batches, training_labels
from mmagga.data.synthetic import PRESETS, render
from mmagga.data.tracklets import make_tracklets
from mmagga.figures.style import COLOURS, GREY, STYLE, save
from mmagga.model import make_mmagga
from mmagga.model.fast import for_embedding
from mmagga.retrieval import PROTOCOLS, Embeddings, evaluate
from mmagga.system.distributed import processes
from mmagga.system.files import write_csv
from mmagga.training import train_step
from mmagga.training.state import initial_state

CPU = torch.device("cpu")
AXES = {
    "table and epoch": "tracklets",
    "exact metrics": "gallery rows, 100 queries",
    "embedding a clip": "frames a clip",
    "embedding a frame": "pixels of a frame",
    "a process's share of a step": "processes",
    "rendering": "frames rendered",
}
"""What is done, and what grows."""


def table_and_epoch() -> Iterator[tuple[int, Callable[[], object]]]:
    """Check the table of a data set with 58 frames a tracklet, and draw one epoch's batches."""
    for count in (100, 1_000, 10_000):
        rows = [("train", i // 10 + 1, i % 6 + 1, 58 * i, 58) for i in range(count)]
        names = [f"{i:07}.jpg" for i in range(58 * count)]

        def build(rows: list = rows, names: list = names) -> None:
            tracklets = make_tracklets("scaling", Path("."), rows, names)
            epoch_batches(training_labels(tracklets)[0], 10, 4, seed=0, epoch=0)

        yield count, build


def exact_metrics() -> Iterator[tuple[int, Callable[[], object]]]:
    """Score 100 queries of 16 numbers, about ten matches each."""
    random = np.random.default_rng(0)

    def made(count: int, ids: int) -> Embeddings:
        vectors = torch.from_numpy(random.standard_normal((count, 16), np.float32))
        pids, camids = random.integers(1, ids + 1, count), random.integers(1, 7, count)
        unit = torch.nn.functional.normalize(vectors)
        return Embeddings(unit, torch.from_numpy(pids), torch.from_numpy(camids))

    for count in (1_000, 10_000, 100_000, 1_000_000):
        ids = count // 10
        pair = made(100, ids), made(count, ids)
        yield count, lambda pair=pair: evaluate(*pair, PROTOCOLS["query_gallery"])


def embedding_a_clip() -> Iterator[tuple[int, Callable[[], object]]]:
    for frames in (2, 4, 8, 16):
        yield frames, _embedding(frames, (128, 64))


def embedding_a_frame() -> Iterator[tuple[int, Callable[[], object]]]:
    for height in (128, 256, 384):
        yield height * height // 2, _embedding(2, (height, height // 2))


def _embedding(frames: int, size: tuple[int, int]) -> Callable[[], object]:
    model = make_mmagga(10, frames, backbone="resnet18", width=256)
    fast, clips = for_embedding(model, DEMO.hardware, CPU), torch.randn(4, frames, 3, *size)

    def embed() -> None:
        with torch.inference_mode():
            fast(clips)

    return embed


def rendering() -> Iterator[tuple[int, Callable[[], object]]]:
    """Render with one worker, files and masks included."""
    for times in (1, 3, 10):
        tiny = PRESETS["tiny"]
        spec = replace(tiny, train_ids=tiny.train_ids * times, test_ids=tiny.test_ids * times)

        def make(spec: object = spec) -> int:
            with tempfile.TemporaryDirectory() as folder:
                root = render(Path(folder, "set"), spec, workers=1, progress=False)
                return sum(1 for _ in root.glob("bbox_*/*/*.jpg"))

        yield make(), make


# --- several processes --------------------------------------------------------------------------


def share_of_a_step(repeats: int) -> Iterator[dict]:
    """CPU time of the first process for a step of 16 clips, alone and as one of two."""
    for count in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        done = subprocess.run(
            [sys.executable, *launch, __file__, "--process", "--repeats", str(repeats)],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        yield _row("a process's share of a step", count, [float(s) for s in done.stdout.split()])


def one_process(repeats: int) -> None:
    with processes() as here:
        state = initial_state(DEMO, 8, CPU)
        labels = torch.arange(16) // 4
        clips = torch.randn(16, DEMO.frames, 3, 128, 64)[here.share(16)]
        for repeat in range(repeats + 1):
            start = time.process_time()
            train_step(state, clips, labels, DEMO)
            if repeat and here.first:
                print(time.process_time() - start)


# --- curves -------------------------------------------------------------------------------------


def timed(work: str, curve: Iterator, repeats: int) -> Iterator[dict]:
    for size, run in curve:
        run()
        seconds = []
        for _ in range(repeats):
            start = time.process_time()
            run()
            seconds.append(time.process_time() - start)
        yield _row(work, size, seconds)


def _row(work: str, size: int, seconds: list[float]) -> dict:
    row = {"work": work, "grows": AXES[work], "size": size, "seconds": statistics.median(seconds)}
    return row | {"fastest": min(seconds), "slowest": max(seconds)}


def draw(table: pd.DataFrame) -> plt.Figure:
    """One picture: time against size, both relative to the smallest, with the ideal line."""
    figure, axes = plt.subplots(figsize=(8, 5))
    ends = []
    for (work, rows), colour in zip(table.groupby("work", sort=False), COLOURS, strict=False):
        first = rows.iloc[0]
        size, grown = rows["size"] / first["size"], rows["seconds"] / first["seconds"]
        spread = [grown - rows["fastest"] / first["seconds"]]
        spread.append(rows["slowest"] / first["seconds"] - grown)
        label = f"{work} ({first['size']:,}–{rows['size'].iloc[-1]:,} {first['grows']})"
        axes.errorbar(size, grown, spread, marker="o", capsize=3, color=colour, label=label)
        ends.append(size.iloc[-1])
    line = np.array([1, max(ends)])
    axes.plot(line, line, "--", color=GREY, label="ideal: twice the size, twice the time")
    axes.plot([1, 2], [1, 0.5], ":", color=GREY, label="ideal: two processes, half each")
    axes.set(xscale="log", yscale="log", xlabel="size, relative to the smallest")
    axes.set(ylabel="CPU time, relative to the smallest", title="How the work grows")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g} ×")
    axes.legend(loc="upper left", fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/results/speed-scaling.csv"))
    parser.add_argument("--figure", type=Path, default=Path("figures/scaling.png"))
    parser.add_argument("--process", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.process:
        one_process(options.repeats)
        return
    curves = {
        "table and epoch": table_and_epoch(),
        "exact metrics": exact_metrics(),
        "embedding a clip": embedding_a_clip(),
        "embedding a frame": embedding_a_frame(),
        "rendering": rendering(),
    }
    rows = []
    for work, curve in curves.items():
        for row in timed(work, curve, options.repeats):
            rows.append(row)
            print(row, flush=True)
    rows += share_of_a_step(options.repeats)
    table = pd.DataFrame(rows)
    write_csv(options.out, table, digits=4)
    plt.rcParams.update(STYLE)
    print(f"written: {options.out}, {save(draw(table), options.figure)}")


if __name__ == "__main__":
    main()
