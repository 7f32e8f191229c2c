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
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

import pandas as pd
import tyro

from mmagga.studies.ablations import cells
from mmagga.studies.grids import GRIDS, STUDY

PYTHON = sys.executable
TUNED = ("recipe", "rates")
"""Grids of settings that are tried on people of no test set."""
STUDIED = (("modules", "world"), ("whole", "world-clear"))
"""Grids of the module and attention studies, and the presets they are trained and tested on."""
Step = Literal["tests", "speed", "weights", "recipe", "modules", "battery", "paper"]
STEPS: tuple[Step, ...] = ("tests", "speed", "weights", "recipe", "modules", "battery", "paper")


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


def commands(step: Step, o: Options) -> Iterator[list[list[str]]]:
    """List the command lines of a step in groups: those of a group run at once."""
    mmagga, bench = [PYTHON, "-m", "mmagga"], Path(__file__).parent
    runs = ["--runs", str(o.work / "runs")]
    if step == "tests":
        yield [[PYTHON, "-m", "pytest", "-m", "gpu", "tests/system/test_gpu.py"]]
    elif step == "speed":
        words = ["--device", o.device, "--out", str(o.out / f"speed-{o.device}.csv")]
        few = ["--repeats", "2", "--runs", "1"]
        words += few if o.tiny else ["--repeats", "8", "--runs", "2", "--compile"]
        yield [[PYTHON, str(bench / "model.py"), *words]]
    elif step == "weights":
        words = ["--device", o.device, "--data", str(o.work), *runs]
        if o.photographs and not o.tiny:
            words += ["--photographs", str(o.photographs)]
        if o.tiny:
            words += ["--out", str(o.out / "tiny.safetensors"), "--people", "3", "--epochs", "1"]
            words += ["--workers", "0"]
        yield [[PYTHON, str(bench / "rendered_v1.py"), *words]]
    elif step == "recipe":
        yield worlds(o, "tuning")
        out = ["--out", str(o.out)]
        yield [[*mmagga, "ablate", grid, *study(o, "tuning", "0"), *out] for grid in TUNED]
    elif step == "modules":
        yield worlds(o, "world", "world-clear")
        seeds = ["0"] if o.tiny else ["0", "1", "2"]
        alone = [
            [*mmagga, "ablate", grid, *study(o, name, seed), "--out", f"{o.work}/out-{name}-{seed}"]
            for grid, name in STUDIED
            for seed in seeds
        ]
        yield alone
        yield [
            [*mmagga, "ablate", grid, *study(o, name, *seeds), "--out", str(o.out / name)]
            for grid, name in STUDIED
        ]
    elif step == "battery":
        words = ["--device", o.device, "--root", str(o.work / "world"), "--out", str(o.out)]
        arms = [networks(o, name) for _, name in STUDIED]
        words += [
            "--arm",
            "occluders",
            *arms[0],
            "--arm",
            "clear",
            *arms[1],
            "--taught",
            arms[1][0],
        ]
        yield [[PYTHON, str(bench / "attention_study.py"), *words]]
    elif step == "paper":
        words = ["--out", str(o.out), "--work", str(o.work), "--device", o.device]
        yield [[PYTHON, str(bench / "paper_size.py"), *words, *(["--tiny"] if o.tiny else [])]]


def worlds(o: Options, *presets: str) -> list[list[str]]:
    """Render presets, check their frames and pack them, side by side."""
    mmagga = shlex.join([PYTHON, "-m", "mmagga"])
    group = []
    for preset in presets:
        root, pack = (shlex.quote(str(o.work / name)) for name in (preset, f"{preset}.pack"))
        data, size = f"--dataset synthetic --root {root}", "--height 128 --width 64"
        render = f"render --root {root} --preset {'tiny' if o.tiny else preset}"
        steps = (render, f"data check {data}", f"data pack {data} {size} --out {pack}")
        group.append(["bash", "-c", " && ".join(f"{mmagga} {step}" for step in steps)])
    return group


def study(o: Options, preset: str, *seeds: str) -> list[str]:
    """Words that choose base, data, seeds and runs of an ablation; a tiny run shows its plan."""
    words = ["--base", "study", "--root", str(o.work / preset), "--seeds", *seeds]
    words += ["--packed", str(o.work / f"{preset}.pack"), "--runs", str(o.work / f"runs-{preset}")]
    return words + (["--dry-run"] if o.tiny else [])


def networks(o: Options, preset: str) -> list[str]:
    """List the run folders of the whole method that the step `modules` trained on a preset."""
    runs = o.work / f"runs-{preset}"
    return [str(cell.run.folder) for cell in cells(GRIDS["whole"], STUDY, (0, 1, 2), runs=runs)]


def run(step: Step, o: Options, deadline: float) -> dict[str, object]:
    """Run a step until it is done or the time is up; its output is shown and kept."""
    began = time.monotonic()
    failed: list[int] = []
    with (o.out / f"{step}.log").open("w", encoding="utf-8") as log:
        for group in commands(step, o):
            threads = str(max(1, len(os.sched_getaffinity(0)) // len(group)))
            environment = os.environ | {"MMAGGA_CACHE": str(o.work / "cache")}
            environment |= {"OMP_NUM_THREADS": threads}
            processes = [
                subprocess.Popen(
                    words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                    text=True, start_new_session=True,
                )
                for words in group
            ]  # fmt: skip
            for words in group:
                show("$ " + " ".join(words) + "\n", log)
            readers = [threading.Thread(target=follow, args=(p, log)) for p in processes]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join(max(0.1, deadline - time.monotonic()))
            if time.monotonic() >= deadline:
                for process in processes:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                return {"step": step, "seconds": spent(began), "exit": "time is up"}
            failed = [code for process in processes if (code := process.wait())]
            if failed:
                break
    return {"step": step, "seconds": spent(began), "exit": failed[0] if failed else 0}


def follow(process: subprocess.Popen, log: TextIO) -> None:
    """Show a process's output as it comes."""
    for line in process.stdout:
        show(line, log)


def show(line: str, log: TextIO) -> None:
    """Print a line and keep it."""
    print(line, end="", flush=True)
    log.write(line)
    log.flush()


def spent(began: float) -> float:
    """Return the seconds since `began`."""
    return round(time.monotonic() - began, 1)


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
