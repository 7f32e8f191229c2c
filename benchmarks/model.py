"""Training steps and embeddings against a plain transcription and a bare ResNet-50, in one run.

    python benchmarks/model.py [--device cpu] [--repeats 4] [--runs 2] [--compile]

Of each kind of work all variants take turns, so that a busy machine slows them alike:

    plain   benchmarks/plain.py in float32 (on a GPU with TF32), default Adam
    ours    the kit: its training step, and its embedding of clips of many tracklets in one batch
    bare    ResNet-50 with stride 1 alone under ours' options: forward and backward, no losses and
            no optimiser; in evaluation with its BatchNorms folded. What ours cannot beat.

On a CPU with one thread the clock is the process's own CPU time. `--out` gets one row for each
variant and run; benchmarks/README.md shows the rows of data/results (`benchmarks/readme.py`).
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from plain import Plain, embed_tracklet
from torch import Tensor, nn

from mmagga.config import PAPER, Config, HardwareConfig
from mmagga.data.clips import dense_clips
from mmagga.model.backbone import Backbone
from mmagga.model.build import from_scratch
from mmagga.model.fast import for_embedding, prepare
from mmagga.system.device import autocast, settings
from mmagga.system.files import write_csv
from mmagga.training import train_step
from mmagga.training.state import TrainState, initial_state, make_optimizer

NUM_IDS = 625
PLAIN = replace(from_scratch(PAPER), hardware=HardwareConfig(precision="float32"))
MARS_CLIPS = 400 * 2500
MARS_FRAMES = 8 * 657_709


@dataclass(frozen=True)
class Size:
    """How much is done at a time."""

    clips: int
    frames: int
    lengths: tuple[int, ...]
    """Frames of the tracklets that are embedded; they make whole batches of `clips` clips."""


SIZES = {
    "cpu": Size(clips=4, frames=4, lengths=(3, 18, 7)),  # 1 + 5 + 2 clips
    "cuda": Size(clips=64, frames=8, lengths=(920, 58, 34, 8, 3, 2, 59, 60, 19, 75, 200, 98)),
}


class Bare(nn.Module):
    """ResNet-50 with stride 1 in its last layer, and nothing else."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone("resnet50", non_local=0)

    def forward(self, clips: Tensor) -> Tensor:
        return self.backbone(clips.flatten(0, 1))


# --- the work -----------------------------------------------------------------------------------


def training(size: Size, device: torch.device, compiled: bool) -> dict[str, Callable[[], object]]:
    """One training step of each variant."""
    clips = torch.randn(size.clips, size.frames, 3, 256, 128, device=device)
    labels = torch.arange(size.clips, device=device) // 2
    config = replace(PLAIN, frames=size.frames)

    plain = initial_state(config, NUM_IDS, device)
    optimizer = torch.optim.Adam(plain.model.parameters(), lr=1e-4, weight_decay=5e-4)
    plain = TrainState(Plain(plain.model), plain.centers, optimizer, plain.center_optimizer)
    steps = {"plain": _bind(train_step, plain, clips, labels, config)}
    for name, chosen in _options(config, compiled).items():
        state = initial_state(chosen, NUM_IDS, device)
        state.optimizer = make_optimizer(state.model, chosen.stages[-1], chosen)
        prepare(state.model, chosen.hardware)
        steps[f"ours, {name}"] = _bind(train_step, state, clips, labels, chosen)
        bare = Bare().to(device)
        prepare(bare, chosen.hardware)
        steps[f"bare, {name}"] = _bind(_forward_backward, bare, clips, chosen)
    return steps


def _forward_backward(bare: Bare, clips: Tensor, config: Config) -> None:
    with autocast(config.hardware, clips.device):
        maps = bare(clips)
    maps.backward(torch.ones_like(maps))
    bare.zero_grad(set_to_none=True)


def embedding(size: Size, device: torch.device) -> dict[str, Callable[[], object]]:
    """Embed some tracklets: plainly one by one, otherwise their clips in constant batches."""
    tracklets = [torch.randn(n, 3, 256, 128, device=device) for n in size.lengths]
    config = replace(PLAIN, frames=size.frames)
    model = initial_state(config, NUM_IDS, device).model.eval()
    plain = Plain(model)

    def one_by_one() -> None:
        for frames in tracklets:
            embed_tracklet(plain, frames, size.frames)

    work = {"plain": one_by_one}
    for name, chosen in _options(config).items():
        for who, network in ("ours", model), ("bare", Bare()):
            fast = for_embedding(network, chosen.hardware, device)
            work[f"{who}, {name}"] = _bind(_in_batches, fast, tracklets, size, chosen)
    return work


@torch.inference_mode()
def _in_batches(model: nn.Module, tracklets: list[Tensor], size: Size, config: Config) -> None:
    with autocast(config.hardware, tracklets[0].device):
        for clips in _batches(tracklets, size):
            model(clips)


def _batches(tracklets: list[Tensor], size: Size) -> Iterator[Tensor]:
    waiting = []
    for frames in tracklets:
        for numbers in dense_clips(len(frames), size.frames):
            waiting.append(frames[numbers])
            if len(waiting) == size.clips:
                yield torch.stack(waiting)
                waiting = []
    if waiting:
        yield torch.stack(waiting)


def _options(config: Config, compiled: bool = False) -> dict[str, Config]:
    options = {"float32": HardwareConfig(precision="float32"), "bf16": HardwareConfig("bf16")}
    if compiled:
        options["bf16 compiled"] = HardwareConfig("bf16", compile=True)
    return {name: replace(config, hardware=hardware) for name, hardware in options.items()}


def _bind(function: Callable, *arguments: object) -> Callable[[], object]:
    return lambda: function(*arguments)


# --- the clock ----------------------------------------------------------------------------------


def measure(
    work: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time the variants in turn; the first call of each is reported apart."""
    cuda = device.type == "cuda"
    clock = time.process_time if not cuda and torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in work}
    memory = dict.fromkeys(work, float("nan"))
    for _ in range(repeats + 1):
        for name, run in list(work.items()):
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            start = clock()
            try:
                run()
            except torch.OutOfMemoryError:
                print(f"{name}: does not fit in the device's memory")
                del work[name], seconds[name]
                continue
            if cuda:
                torch.cuda.synchronize()
                memory[name] = torch.cuda.max_memory_allocated() / 1e9
            seconds[name].append(clock() - start)
    found = {}
    for name, (first, *values) in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4)
        found[name] = {"seconds": middle, "seconds_q1": low, "seconds_q3": high}
        found[name] |= {"first_call": first, "peak_gb": memory[name]}
    return found


def rows(kind: str, size: Size, found: dict[str, dict[str, float]]) -> Iterator[dict]:
    """Add to each variant its ratios, and the hours that full MARS would take at its pace."""
    clips = sum(-(-n // size.frames) for n in size.lengths)
    for name, values in found.items():
        variant, _, options = name.partition(", ")
        row = {"work": kind, "variant": variant, "options": options or "float32"} | values
        if "plain" in found:
            row["times_plain"] = found["plain"]["seconds"] / values["seconds"]
        bare = found.get(f"bare, {options}")
        if variant == "ours" and bare:
            row["share_of_bare"] = bare["seconds"] / values["seconds"]
        if kind == "training step":
            # Clips of other lengths cost by the frame.
            row["mars_hours"] = MARS_CLIPS * 8 / (size.clips * size.frames)
        else:
            row["mars_hours"] = MARS_FRAMES / (clips * size.frames)
        row["mars_hours"] *= values["seconds"] / 3600
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=SIZES, default="cpu")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2, help="the whole table so many times")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--compile", action="store_true", help="also ours under torch.compile")
    parser.add_argument("--out", type=Path, help="CSV file; by default data/results/speed-DEVICE")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, size = torch.device(options.device), SIZES[options.device]
    about = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": options.threads,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "clips": size.clips,
        "frames": size.frames,
        "repeats": options.repeats,
    }
    out = options.out or Path(f"data/results/speed-{options.device}.csv")
    table = []
    with settings(PAPER.hardware, device):
        for run in range(1, options.runs + 1):
            for kind in "training step", "embedding":
                if kind == "embedding":
                    work = embedding(size, device)
                else:
                    work = training(size, device, options.compile)
                for row in rows(kind, size, measure(work, options.repeats, device)):
                    table.append({"run": run} | row | about)
                    print(pd.Series(row).to_frame().T.to_string(header=not table[1:]), flush=True)
                del work
                write_csv(out, pd.DataFrame(table), digits=4)
    print(f"written: {out}")


if __name__ == "__main__":
    main()
