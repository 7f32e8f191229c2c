"""A run as one command line: `parse` reads what stands after `mmagga train`, `command` writes it.

Every field of a configuration is a flag, so a run can be handed to any scheduler as one line.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import tyro

from mmagga.config import DEMO, PAPER, Config, StageConfig
from mmagga.runs.run import RUNS

PRESETS = {
    "demo": ("Minutes on two CPU cores, on the built-in data.", DEMO),
    "paper": ("The authors' setting to the letter: 400 epochs, for a GPU.", PAPER),
}

# A field that may be None or something else is a flag, no verb of its own.
_FLAT = (tyro.conf.AvoidSubcommands,)


@dataclass(frozen=True)
class Job(Config):
    """A configuration, and the folder that the run's own is made in."""

    runs: Path = RUNS
    """Folder of the run folders."""
    steal: bool = False
    """Take a run folder over from another machine that no longer works on it."""


def parse(args: Sequence[str], description: str | None = None) -> tuple[Config, Path, bool]:
    """Read the words after `train`: the configuration, the folder of the runs, and `steal`."""
    with _stages():
        job = tyro.cli(
            _jobs(), prog="mmagga train", description=description, args=args, config=_FLAT
        )
    values = _shallow(job)
    runs, steal = values.pop("runs"), values.pop("steal")
    return Config(**values), runs, steal


def command(config: Config, runs: Path = RUNS) -> list[str]:
    """Return the words `train PRESET --flag value …` that `parse` turns into this very run."""
    by_preset = {
        name: [*_flags(Job(**_shallow(config), runs=runs), Job(**_shallow(base)))]
        for name, (_, base) in PRESETS.items()
    }
    nearest = min(by_preset, key=lambda name: len(by_preset[name]))
    return ["train", nearest, *by_preset[nearest]]


def _jobs() -> Any:
    """Return tyro's type for what follows `train`: the choice of a preset, and its fields."""
    jobs = {name: Job(**_shallow(config)) for name, (_, config) in PRESETS.items()}
    texts = {name: text for name, (text, _) in PRESETS.items()}
    return tyro.extras.subcommand_type_from_defaults(jobs, texts)


def _flags(config: Any, base: Any, prefix: str = "") -> Iterator[str]:
    """Return the words for every field in which two configurations differ."""
    for field in fields(config):
        name = field.name.replace("_", "-")
        value, other = getattr(config, field.name), getattr(base, field.name)
        if is_dataclass(value):
            yield from _flags(value, other, f"{prefix}{name}.")
        elif value == other:
            continue
        elif isinstance(value, bool):
            yield f"--{prefix}{'' if value else 'no-'}{name}"
        else:
            yield f"--{prefix}{name}"
            yield from map(_word, value if isinstance(value, tuple) else [value])


def _word(value: Any) -> str:
    if isinstance(value, StageConfig):
        return f"{value.epochs}:{value.lr!r}:{value.trainable}"
    return value.as_posix() if isinstance(value, Path) else str(value)


def _stages() -> tyro.constructors.ConstructorRegistry:
    """Teach tyro that a stage is one word, such as 18:0.001:all: their number can change then."""
    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def stage(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
        if info.type is not StageConfig:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar="EPOCHS:LR:{all,mma,all_but_mma}",
            instance_from_str=lambda words: _stage(words[0]),
            is_instance=lambda value: isinstance(value, StageConfig),
            str_from_instance=lambda value: [_word(value)],
        )

    return registry


def _stage(word: str) -> StageConfig:
    epochs, lr, trainable = word.split(":")
    if trainable not in ("all", "mma", "all_but_mma"):
        raise ValueError(f"a stage trains all, mma or all_but_mma, not {trainable}")
    return StageConfig(int(epochs), float(lr), trainable)  # type: ignore[arg-type]


def _shallow(config: Config) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
