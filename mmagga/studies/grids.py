"""Ablations as plain data: a row of a grid is what it changes in a base configuration."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from pathlib import Path
from typing import Any

from mmagga.config import DEMO, PAPER, Config, HardwareConfig, StageConfig, preset, total_epochs
from mmagga.errors import MmaggaError

STUDY = replace(
    DEMO,
    root=Path("data/synthetic-world"),
    stages=(
        StageConfig(epochs=6, lr=1.5e-4, trainable="all_but_mma"),
        StageConfig(epochs=1, lr=2.5e-3, trainable="mma"),
        StageConfig(epochs=3, lr=3e-5, trainable="all"),
    ),
    milestones=(4,),
    eval_every=2,
    hardware=HardwareConfig(),
)
"""`DEMO` on the rendered preset `world`, 37 steps an epoch: the base of the committed studies."""

STUDY_SHORT = replace(
    STUDY,
    stages=tuple(replace(stage, epochs=epochs) for stage, epochs in zip(STUDY.stages, (3, 1, 1))),
    milestones=(2,),
    eval_every=5,
)
"""Half as many steps: a run takes 20 to 30 minutes of one CPU core."""

BASES = {"demo": DEMO, "study": STUDY, "short": STUDY_SHORT, "paper": PAPER}

Change = Any | Callable[[Config], Any]
"""A field's new value, or how it follows from the base."""


@dataclass(frozen=True)
class Grid:
    """A question, and the runs that answer it."""

    question: str
    rows: Mapping[str, Mapping[str, Change]]
    """Label: what it changes, by the names of the flags, such as {"model.pooling": "mean"}.
    The first row is the one that the others are compared with."""
    ticks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Part of the method: the labels of the rows that have it."""
    contrasts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name of a comparison: the label of a row, and of the row it is compared with."""


def _subsets(names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))


def _all_at_once(base: Config) -> tuple[StageConfig, ...]:
    return (StageConfig(total_epochs(base), base.stages[0].lr, "all"),)


_GRANULARITIES = {" + ".join(("global", *some)): some for some in _subsets(("p3", "p1", "p2"))}
_PLAIN = {"loss.smoothing": 0.0, "loss.triplet": "none", "loss.center": 0.0}
_NO_METRIC = {"loss.triplet": "none", "loss.center": 0.0}

_MODULES = {
    "baseline": {"model.name": "baseline"},
    "+ MG": {"model.mma": "stripes", "model.pooling": "mean"},
    "+ MMA": {"model.pooling": "mean"},
    "+ GGA": {"model.mma": "stripes"},
    "MMA-GGA": {},
}


def _at_rate(rate: float) -> Callable[[Config], tuple[StageConfig, ...]]:
    """Train the first stage at `rate`, and the last one in its proportion to the first."""

    def stages(base: Config) -> tuple[StageConfig, ...]:
        factor = rate / base.stages[0].lr
        return tuple(
            stage if stage.trainable == "mma" else replace(stage, lr=stage.lr * factor)
            for stage in base.stages
        )

    return stages


def _stage_2_times(factor: float) -> Callable[[Config], tuple[StageConfig, ...]]:
    return lambda base: tuple(
        replace(stage, lr=factor * stage.lr) if stage.trainable == "mma" else stage
        for stage in base.stages
    )


GRIDS = {
    "modules": Grid(
        "What do MMA and GGA contribute, each alone and together?",
        _MODULES,
        {"MG": ("+ MG", "+ MMA", "+ GGA", "MMA-GGA"), "MMA": ("+ MMA", "MMA-GGA"),
         "GGA": ("+ GGA", "MMA-GGA")},
        {
            "MMA, without GGA": ("+ MMA", "+ MG"),
            "MMA, given GGA": ("MMA-GGA", "+ GGA"),
            "GGA, without MMA": ("+ GGA", "+ MG"),
            "GGA, given MMA": ("MMA-GGA", "+ MMA"),
        },
    ),
    "whole": Grid("The method as it is, for the study of its attention.", {"MMA-GGA": {}}),
    "rates": Grid(
        "Which learning rate suits each row of the modules? On persons outside every test set.",
        {f"{label}, {rate:g}": changes | {"stages": _at_rate(rate)}
         for label, changes in _MODULES.items() for rate in (1.5e-4, 5e-4)},
    ),
    "recipe": Grid(
        "Which settings avoid dead units? On persons outside every test set.",
        {
            "as it is": {},
            "warm-up of 60 steps": {"warmup": 60},
            "no centre loss": {"loss.center": 0.0},
            "no triplet": {"loss.triplet": "none"},
            "P = 4, K = 4": {"ids_per_batch": 4, "clips_per_id": 4},
            "rate 1e-3": {"stages": _at_rate(1e-3)},
            "stage 2 ten times as fast": {"stages": _stage_2_times(10)},
            "from random weights": {"model.weights": None},
            "from random weights, warm-up": {"model.weights": None, "warmup": 120},
            "from random weights, rate 1e-3": {"model.weights": None, "stages": _at_rate(1e-3)},
        },
    ),
    "granularities": Grid(
        "Which granularities are needed? p3 has 2 stripes, p1 4, p2 8.",
        {label: {"model.granularities": some} for label, some in _GRANULARITIES.items()},
        {
            part: [label for label, some in _GRANULARITIES.items() if part in some]
            for part in ("p3", "p1", "p2")
        },
    ),
    "pooling": Grid(
        "Does the guide matter, or attention at all?",
        {how: {"model.pooling": how} for how in ("mean", "attention", "gga")},
    ),
    "temperature": Grid(
        "Does a sharper GGA help? At 1 no weight exceeds e times another.",
        {f"τ = {t}": {"model.temperature": t} for t in (1.0, 0.5, 0.2, 0.1)},
    ),
    "frames": Grid(
        "How many frames per clip, in training and in the test?",
        {f"T = {frames}": {"frames": frames} for frames in (2, 4, 6, 8)},
    ),
    "losses": Grid(
        "What does each loss contribute?",
        {
            "CE": _PLAIN,
            "CE + smoothing": _NO_METRIC,
            "CE + smoothing + triplet (official)": {"loss.center": 0.0},
            "CE + smoothing + triplet (stable)": {"loss.center": 0.0, "loss.triplet": "stable"},
            "CE + smoothing + triplet (official) + centre": {},
        },
    ),
    "stages": Grid(
        "Are three stages worth it? All at once has as many epochs as the three together.",
        {
            "all at once": {"stages": _all_at_once},
            "1": {"stages": lambda base: base.stages[:1]},
            "1–2": {"stages": lambda base: base.stages[:2]},
            "1–3": {},
        },
    ),
    "non_local": Grid(
        "How wide need the non-local blocks be? The authors' code has one channel.",
        {
            "none": {"model.non_local": 0},
            "1 channel": {"model.non_local": 1},
            "C/2 channels": {"model.non_local": "half"},
        },
    ),
    "gem_p": Grid(
        "Which exponent of the generalised mean? 1 is the mean.",
        {f"p = {p}": {"model.gem_p": float(p)} for p in (1, 2, 3, 4, 6)},
    ),
    "augment": Grid(
        "Draw augmentation for every frame, as the authors do, or once for a clip?",
        {"per frame": {}, "per clip": {"augment.per_clip": True}},
    ),
}  # fmt: skip


TUNING = ("rates", "recipe")
"""Grids that choose settings: on the preset `tuning`, whose persons are in no test set."""


def find_grid(name: str) -> Grid:
    """Return a grid by its name; raises MmaggaError with those there are."""
    if name not in GRIDS:
        raise MmaggaError(f"no grid is named {name!r}; there are {', '.join(GRIDS)}")
    return GRIDS[name]


def base_config(base: str, dataset: str | None = None, root: Path | None = None) -> Config:
    """Return one of `BASES`; the paper's on any data set, with the batch its authors use there."""
    config = BASES[base]
    if dataset is not None and dataset != config.dataset:
        if base != "paper":
            raise MmaggaError(f"the base {base} is for the built-in data; for {dataset}: paper")
        config = preset(dataset, Path("data") / dataset)
        if dataset == DEMO.dataset:
            config = replace(PAPER, dataset=dataset, root=config.root)
    return replace(config, root=Path(root)) if root else config


def changed(base: Config, changes: Mapping[str, Change]) -> Config:
    """Apply a row's changes, and leave out the stages in which nothing would learn."""
    config = base
    for name, value in changes.items():
        config = _replace(config, name.split("."), value(base) if callable(value) else value)
    model = config.model
    if model.name == "baseline" or model.mma == "stripes" or not model.granularities:
        stages = tuple(stage for stage in config.stages if stage.trainable != "mma")
        config = replace(config, stages=stages)
    return config


def _replace(config: Any, names: Sequence[str], value: Any) -> Any:
    first, *rest = names
    return replace(
        config, **{first: _replace(getattr(config, first), rest, value) if rest else value}
    )
