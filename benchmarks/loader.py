"""Frames per second on one core, from disk to a batch, against Pillow and torchvision.

    python benchmarks/loader.py [--frames 512] [--repeats 7] [--runs 2] [--images FOLDER]

The reference does what the authors' loader does: each frame opened with Pillow, then Resize,
RandomHorizontalFlip, Pad, RandomCrop, ToTensor, Normalize, RandomErasing one by one. Ours reads
whole clips as bytes and augments them as a batch, on the GPU where there is one. All take turns in
one run, so that a busy machine slows them alike; ratios are of medians, with quartiles beside them.
The rows go to `--out`; benchmarks/README.md shows those of data/results (`benchmarks/readme.py`).
"""

import argparse
import cProfile
import datetime
import pstats
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torchvision import transforms as T

from mmagga.config import AugmentConfig
from mmagga.data.augment import ERASE_VALUE, MEAN, STD, apply, draw
from mmagga.data.files.decoding import decode
from mmagga.data.files.packed import pack
from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets, make_tracklets
from mmagga.system.files import write_csv

CLIP = 8
BATCH = 8
"""Clips; a batch is 64 frames."""
WORK = (
    "uint8 clips",
    "augmented batch, all on the core",
    "augmented batch, a GPU augments",
)
"""The last compares what is left to a core when a GPU augments with all that the reference does."""


def write_set(root: Path, frames: int, size: tuple[int, int], images: Path | None) -> Tracklets:
    """Write JPEG frames as MARS has them: of the network's size, quality about 90."""
    found = sorted(p for p in images.rglob("*") if p.suffix in {".jpg", ".png"}) if images else []
    random = np.random.default_rng(0)
    names = [f"{i:06}.jpg" for i in range(frames)]
    for i, name in enumerate(names):
        if found:
            pixels = decode(found[i % len(found)], size)
        else:  # blurred noise: codes to about as many bytes as a photograph
            noise = random.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
            smooth = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
            grain = random.integers(-6, 7, (*size, 3))
            pixels = np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / name, quality=90)
    rows = [("train", i, 1, i * CLIP, CLIP) for i in range(frames // CLIP)]
    return make_tracklets("benchmark", root, rows, names)


def reference(tracklets: Tracklets, size: tuple[int, int]) -> Callable[[bool], None]:
    """Read and transform frame by frame, as the authors' code does."""
    resize = T.Resize(size)
    steps = [T.RandomHorizontalFlip(), T.Pad(10), T.RandomCrop(size), T.ToTensor()]
    steps += [T.Normalize(MEAN, STD), T.RandomErasing(0.5, (0.02, 0.4), (0.3, 3.33), ERASE_VALUE)]
    augment = T.Compose([resize, *steps])
    plain = T.Compose([resize, T.PILToTensor()])

    def run(augmented: bool) -> None:
        transform = augment if augmented else plain
        for batch in _batches(len(tracklets)):
            clips = [
                torch.stack([transform(Image.open(p).convert("RGB")) for p in tracklets.frames(r)])
                for r in batch
            ]
            torch.stack(clips)

    return run


def kit(tracklets: Tracklets, size: tuple[int, int], packed: Path | None) -> Callable[[bool], None]:
    """Read whole clips as bytes, then augment the batch."""
    frames, config = open_frames(tracklets, size, packed), AugmentConfig()

    def run(augmented: bool) -> None:
        for step, batch in enumerate(_batches(len(tracklets))):
            pixels = np.stack([frames.read(row, range(CLIP)) for row in batch])
            clips = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)
            if augmented:
                draws = draw(config, len(batch), CLIP, size, seed=0, epoch=0, step=step)
                apply(clips, draws, config.pad)

    return run


def _batches(rows: int) -> list[range]:
    return [range(start, start + BATCH) for start in range(0, rows, BATCH)]


def measure(
    readers: dict[str, Callable[[bool], None]], augmented: bool, frames: int, repeats: int
) -> dict[str, list[float]]:
    """Give CPU microseconds a frame, one number a repeat; the readers take turns."""
    for run in readers.values():
        run(augmented)
    micros: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, run in readers.items():
            start = time.process_time()
            run(augmented)
            micros[name].append((time.process_time() - start) / frames * 1e6)
    return micros


def rows(title: str, micros: dict[str, list[float]], reference: list[float]) -> Iterator[dict]:
    for name, values in micros.items():
        low, middle, high = statistics.quantiles(values, n=4)
        row = {"work": title, "variant": name, "micros": middle, "micros_q1": low}
        yield row | {"micros_q3": high, "times_plain": statistics.median(reference) / middle}


def show_profile(title: str, run: Callable[[bool], None]) -> None:
    profile = cProfile.Profile()
    profile.runcall(run, True)
    stats = pstats.Stats(profile)
    total = stats.total_tt
    heavy = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:7]
    print(f"\nwhere the time goes, {title} (own time, profiler's cost included)")
    for (file, _, function), (_, _, own, *_) in heavy:
        print(f"{own / total:6.0%}  {Path(file).name} {function}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--runs", type=int, default=2, help="the whole table so many times")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("H", "W"))
    parser.add_argument("--images", type=Path, help="take the frames from here instead of noise")
    parser.add_argument("--out", type=Path, default=Path("data/results/speed-loader.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, frames = tuple(options.size), options.frames // (CLIP * BATCH) * CLIP * BATCH
    with tempfile.TemporaryDirectory() as folder:
        root, packs = Path(folder, "set"), Path(folder, "packs")
        root.mkdir()
        tracklets = write_set(root, frames, size, options.images)
        packed = packs / "all.pack"
        pack(tracklets, packed, size, progress=False)
        files = sum(path.stat().st_size for path in root.iterdir() if path.is_file())
        print(f"{frames} frames of {size[0]}×{size[1]}, {frames // CLIP} clips, one thread")
        print(
            f"bytes a frame: {files / frames:.0f} as files, "
            f"{packed.stat().st_size / frames:.0f} packed"
        )
        readers = {
            "Pillow + torchvision": reference(tracklets, size),
            "files": kit(tracklets, size, None),
            "pack, raw": kit(tracklets, size, packed),
        }
        slow, *ours = readers
        found = []
        for number in range(1, options.runs + 1):
            clips = measure(readers, False, frames, options.repeats)
            finished = measure(readers, True, frames, options.repeats)
            share = {slow: finished[slow], **{name: clips[name] for name in ours}}
            for title, micros in zip(WORK, (clips, finished, share), strict=True):
                found += [{"run": number} | row for row in rows(title, micros, micros[slow])]
        table = pd.DataFrame(found).assign(
            height=size[0], width=size[1], images="photographs" if options.images else "noise",
            frames=frames, repeats=options.repeats, date=datetime.date.today().isoformat(),
        )  # fmt: skip
        print(table.iloc[:, :7].to_string(index=False, float_format="{:.4g}".format))
        write_csv(options.out, table, digits=4)
        print(f"written: {options.out}")
        for name in ("files", "pack, raw"):
            show_profile(name, readers[name])


if __name__ == "__main__":
    main()
