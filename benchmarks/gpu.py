"""The steps of benchmarks/gpu.sh, each a process with a limit of its own; results as they come.

    tests     the tests marked gpu: parity in float32 and bf16, kill and resume, compile, memory
    speed     benchmarks/model.py: training and embedding against plain and bare ResNet-50
    weights   benchmarks/rendered_v1.py: RENDERED_V1 from nothing
    recipe    the grids `recipe` and `rates` on the preset `tuning`
    modules   the grid `modules` on `world`, three seeds; the whole method on `world-clear`
    battery   benchmarks/attention_study.py on the networks of `modules`
    paper     the paper's size on rendered people: baseline, then MMA-GGA from its trunk

`--out` gets steps.csv (what ran, how long, exit code), a log for each step and the results. Runs
and data stay in `--work`, so that a second call goes on. Steps that no time is left for are named.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import tyro

PYTHON = sys.executable
Step = Literal["tests", "speed", "weights", "recipe", "modules", "battery", "paper"]
STEPS: tuple[Step, ...] = ("tests", "speed", "weights", "recipe", "modules", "battery", "paper")
PROCESSES = 5
"""Small networks that are trained at once: one of them alone leaves a large GPU mostly idle."""


@dataclass
class Options:
    """What to run, for how long, and where."""

    out: Path
    """Folder of the results."""
    steps: tuple[Step, ...] = STEPS
    """Which steps, in this order."""
    minutes: float = 8.0
    """Limit of all steps together; a step that is under way then is stopped."""
    work: Path = Path("gpu-work")
    """Folder of data and runs."""
    device: Literal["cuda", "cpu"] = "cuda"
    """The CPU only to try the script."""
    tiny: bool = False
    """Everything small: the script is tried, nothing is measured."""
    photographs: Path | None = None
    """A folder in PRID 2011's layout, for the scores of the start weights."""


def commands(step: Step, o: Options) -> Iterator[list[str]]:
    """List the command lines of a step, to be run in this order."""
    mmagga, bench = [PYTHON, "-m", "mmagga"], Path(__file__).parent
    places = ["--runs", str(o.work / "runs"), "--out", str(o.out)]
    queue = ["--devices", *["0"] * PROCESSES] if o.device == "cuda" else []
    seeds = ["--seeds", "0"] if o.tiny else ["--seeds", "0", "1", "2"]
    if step == "tests":
        yield [PYTHON, "-m", "pytest", "-m", "gpu", "tests/system/test_gpu.py"]
    elif step == "speed":
        words = ["--device", o.device, "--out", str(o.out / f"speed-{o.device}.csv")]
        yield [PYTHON, str(bench / "model.py"), *words, *(["--repeats", "2", "--runs", "1"]
               if o.tiny else ["--repeats", "8", "--runs", "2", "--compile"])]  # fmt: skip
    elif step == "weights":
        words = ["--data", str(o.work), "--runs", str(o.work / "runs")]
        if o.photographs and not o.tiny:
            words += ["--photographs", str(o.photographs)]
        if o.tiny:
            words += ["--out", str(o.out / "tiny.safetensors"), "--people", "3", "--epochs", "1"]
            words += ["--workers", "0"]
        yield [PYTHON, str(bench / "rendered_v1.py"), "--device", o.device, *words]
    elif step == "recipe":
        root = o.work / "tuning"
        yield [*mmagga, "render", "--root", str(root), "--preset", "tiny" if o.tiny else "tuning"]
        yield [*mmagga, "data", "check", "--dataset", "synthetic", "--root", str(root)]
        for grid in ("recipe", "rates"):
            yield [*mmagga, "ablate", grid, *study(o, root), *places, *queue, "--seeds", "0"]
    elif step == "modules":
        for preset in ("world", "world-clear"):
            root = o.work / preset
            name = "tiny" if o.tiny else preset
            yield [*mmagga, "render", "--root", str(root), "--preset", name]
            yield [*mmagga, "data", "check", "--dataset", "synthetic", "--root", str(root)]
        yield [*mmagga, "ablate", "modules", *study(o, o.work / "world"), *places, *queue, *seeds]
        clear = ["--runs", str(o.work / "runs-clear"), "--out", str(o.out / "clear")]
        yield [
            *mmagga,
            "ablate",
            "whole",
            *study(o, o.work / "world-clear"),
            *clear,
            *queue,
            *seeds,
        ]
    elif step == "battery":
        words = ["--device", o.device, "--work", str(o.work), "--out", str(o.out)]
        yield [PYTHON, str(bench / "attention_study.py"), *words]
    elif step == "paper":
        words = ["--out", str(o.out), "--work", str(o.work), "--device", o.device]
        yield [PYTHON, str(bench / "paper_size.py"), *words, *(["--tiny"] if o.tiny else [])]


def study(o: Options, root: Path) -> list[str]:
    """Words that choose the base of the studies; a tiny run only shows its plan."""
    return ["--base", "study", "--root", str(root), *(["--dry-run"] if o.tiny else [])]


def run(step: Step, o: Options, deadline: float) -> dict[str, object]:
    """Run a step until it is done or the time is up; its output is shown and kept."""
    began = time.monotonic()
    environment = os.environ | {"MMAGGA_CACHE": str(o.work / "cache")}
    code: int | str = 0
    with (o.out / f"{step}.log").open("w", encoding="utf-8") as log:
        for words in commands(step, o):
            print("$", " ".join(words), flush=True)
            log.write(f"$ {' '.join(words)}\n")
            process = subprocess.Popen(
                words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                start_new_session=True,
            )  # fmt: skip
            code = follow(process, log.write, deadline)
            if code:
                break
    return {"step": step, "seconds": round(time.monotonic() - began, 1), "exit": code}


def follow(process: subprocess.Popen, write: Callable[[str], object], deadline: float) -> int | str:
    """Show a process's output and return its exit code, or "time is up"."""
    left = max(1.0, deadline - time.monotonic())
    timer = threading.Timer(left, lambda: os.killpg(process.pid, signal.SIGKILL))
    timer.start()
    for line in process.stdout:
        print(line, end="", flush=True)
        write(line)
    process.wait()
    timer.cancel()
    return "time is up" if time.monotonic() >= deadline else process.returncode


def main(o: Options) -> None:
    """Run the steps in order of value, and write after each what ran."""
    o.out.mkdir(parents=True, exist_ok=True)
    o.work.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * o.minutes
    rows = []
    for step in o.steps:
        if time.monotonic() >= deadline:
            rows.append({"step": step, "seconds": 0.0, "exit": "no time left"})
        else:
            rows.append(run(step, o, deadline))
        table = pd.DataFrame(rows)
        table.to_csv(o.out / "steps.csv", index=False)
        print(table.to_string(index=False), flush=True)
    if any(row["exit"] not in (0, "no time left") for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main(tyro.cli(Options))
