"""A run's configuration as plain frozen data; change one field with `dataclasses.replace`.

`PAPER` is the authors' setting to the letter, `DEMO` the same method small enough for two CPU
cores. The command line, its `--help` and a run's `config.json` all come from these classes.
"""

import dataclasses
import hashlib
import json
import math
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mmagga.errors import SettingError


@dataclass(frozen=True)
class ModelConfig:
    """Which network. The defaults are the authors'; the other values are the ablations."""

    name: Literal["mmagga", "baseline"] = "mmagga"
    """MMA-GGA, or the AGW-like baseline it is compared with."""
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet50"
    """The torchvision ResNet below the head."""
    weights: str | None = None
    """Start the trunk from: nothing, a torchvision name such as IMAGENET1K_V1, RENDERED_V1 (the
    kit's own ResNet-18 trunk), a run folder, a checkpoint, or a file with a state dict."""
    weights_head: bool = False
    """Of a run or checkpoint, also take the head, except its classifiers."""
    width: int = 1024
    """Features a branch; the embedding has one such slice for each branch."""
    non_local: Literal[0, 1, "half"] = 1
    """Inner channels of the non-local blocks: 0 for no blocks, 1 (authors' code), half for C/2."""
    granularities: tuple[str, ...] = ("p1", "p2", "p3")
    """Part granularities beside the global branch: p1 has 4 stripes, p2 8, p3 2."""
    mma: Literal["learned", "stripes"] = "learned"
    """Cells to parts: by the learned MMA matrices, or by fixed horizontal stripes."""
    pooling: Literal["gga", "attention", "mean"] = "gga"
    """Parts to clip: global-guided attention, a scorer without the guide, or the mean."""
    temperature: float = 1.0
    """Divides GGA's cosine before the softmax; at 1 no weight exceeds e times another."""
    gem_p: float = 3.0
    """Exponent of the generalised-mean pooling."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to a training clip."""

    flip: float = 0.5
    """Probability of a horizontal flip."""
    pad: int = 10
    """Pixels of border before the random crop back to size."""
    erase: float = 0.5
    """Probability of random erasing."""
    tone: float = 0.0
    """Spread of a random change of light and colour, the same for all frames of a clip: logarithm
    of the gain of each channel, and half that of the contrast. 0, the authors', changes nothing."""
    per_clip: bool = False
    """Draw once for the whole clip; the authors draw for every frame on its own."""


@dataclass(frozen=True)
class LossConfig:
    """The total is Σ cross-entropy + triplet + `center` x centre loss."""

    smoothing: float = 0.1
    """Label smoothing of the cross-entropy."""
    triplet: Literal["official", "stable", "none"] = "official"
    """Weighted regularised triplet: the authors' form, softmax over true negatives, or none."""
    center: float = 0.0005
    """Weight of the centre loss; its own optimiser is not slowed by it."""
    center_lr: float = 0.5
    """Learning rate of the centres' SGD."""


@dataclass(frozen=True)
class StageConfig:
    """One training stage: a fresh optimiser and a fresh learning-rate schedule."""

    epochs: int
    """Epochs of this stage."""
    lr: float
    """Learning rate at the start of the stage."""
    trainable: Literal["all", "mma", "all_but_mma"] = "all"
    """What is trained; of the rest only BatchNorm statistics change, as in the authors' code."""


@dataclass(frozen=True)
class HardwareConfig:
    """How the device computes. The defaults suit the device: a CPU or a GPU."""

    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of the backbone; auto is bf16 on a GPU that has it and on a CPU with AMX, else float32."""
    tf32: bool = True
    """On a GPU, multiply float32 in TF32: ten bits of mantissa, several times the speed."""
    compile: bool = False
    """Compile the backbone with torch.compile: a minute at the start, faster steps after it."""
    recompute: bool = False
    """Keep no activations inside the ResNet's layers and compute them again: less memory."""
    sync_batchnorm: bool = False
    """With several processes: BatchNorm over all of them; the authors' is local to each."""
    deterministic: bool = False
    """On a GPU: only algorithms that give the same bits each time."""


@dataclass(frozen=True)
class Config:
    """A whole run: data, network, training and evaluation."""

    dataset: str = "mars"
    """Name of the data set: see `mmagga.data.DATASETS`."""
    root: Path = Path("data/mars")
    """Folder that holds the data set."""
    packed: Path | None = None
    """A pack of the data set's frames (see `data pack`), to read from instead of its files."""
    split: int = 0
    """Which of the ten splits, for data sets that have them."""
    frames: int = 8
    """T, frames per clip."""
    height: int = 256
    """Pixels."""
    width: int = 128
    """Pixels."""
    official_clips: bool = True
    """Clip starts as the authors draw them, which never gives the last window; False gives all."""
    ids_per_batch: int = 16
    """P, identities per batch."""
    clips_per_id: int = 4
    """K, tracklets of each identity in a batch."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes to training clips."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The losses."""
    stages: tuple[StageConfig, ...] = (
        StageConfig(epochs=150, lr=1.5e-4, trainable="all_but_mma"),
        StageConfig(epochs=150, lr=2.5e-2, trainable="mma"),
        StageConfig(epochs=100, lr=1.5e-5, trainable="all"),
    )
    """The training stages, in order."""
    milestones: tuple[int, ...] = (51, 101, 151, 200)
    """Epochs of a stage at which the learning rate falls to a tenth."""
    warmup: int = 0
    """Steps at the start of each stage over which the learning rate rises linearly to its value."""
    weight_decay: float = 5e-4
    """Of Adam."""
    eval_every: int = 50
    """Epochs between evaluations; the last one of each stage has one, too. 0 leaves only the last
    of all."""
    eval_batch: int = 32
    """Clips a forward pass in evaluation; memory, not results, depends on it."""
    seed: int = 0
    """Every random draw follows from it."""
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    """How the device computes."""
    checkpoint_every: float = 60.0
    """Seconds between checkpoints, besides one at the end of each stage and on a stop."""
    keep_optimizer: bool = False
    """Keep the optimisers' state, and the checkpoint before the last, once the run is finished."""
    workers: int | None = None
    """Processes that read frames, by default one for each CPU up to 8: speed, no result."""
    device: str = "auto"
    """cpu, cuda, or auto: cuda where there is one."""
    compare_frames: bool = True
    """Compare size and times of every frame with the index before starting."""
    tensorboard: bool = False
    """Also write the log for TensorBoard, into the run folder."""

    def compares_frames(self) -> bool:
        """Return whether frame files are looked at before the work; those of a pack are not."""
        return self.compare_frames and self.packed is None


PAPER = Config(model=ModelConfig(weights="IMAGENET1K_V1"))

DEMO = Config(
    dataset="synthetic",
    root=Path("data/synthetic-demo"),
    frames=4,
    height=128,
    width=64,
    ids_per_batch=8,
    clips_per_id=2,
    model=ModelConfig(backbone="resnet18", width=256, weights="RENDERED_V1"),
    augment=AugmentConfig(pad=5),
    stages=(
        StageConfig(epochs=12, lr=1.5e-4, trainable="all_but_mma"),
        StageConfig(epochs=1, lr=2.5e-3, trainable="mma"),
        StageConfig(epochs=3, lr=3e-5, trainable="all"),
    ),
    milestones=(9,),
    eval_every=16,
    hardware=HardwareConfig(deterministic=True),
)


def preset(dataset: str, root: Path) -> Config:
    """Return the configuration to begin with: `DEMO` for the built-in data, `PAPER` for real ones.

    The authors' launch file has batches of 64 clips for MARS and 32 for iLIDS-VID; the other
    two sets follow the one they resemble.
    """
    if dataset == DEMO.dataset:
        return replace(DEMO, root=Path(root))
    small = dataset in ("ilids_vid", "prid2011")
    return replace(PAPER, dataset=dataset, root=Path(root), ids_per_batch=8 if small else 16)


_ANY = math.inf
_RANGES = {
    "split": (0, _ANY),
    "frames": (1, _ANY),
    "height": (1, _ANY),
    "width": (1, _ANY),
    "ids_per_batch": (1, _ANY),
    "clips_per_id": (1, _ANY),
    "warmup": (0, _ANY),
    "weight_decay": (0, _ANY),
    "eval_every": (0, _ANY),
    "eval_batch": (1, _ANY),
    "seed": (0, 2**63 - 1),
    "workers": (0, 1024),
    "checkpoint_every": (0, _ANY),
    "model.width": (1, _ANY),
    "model.temperature": (0.01, _ANY),
    "model.gem_p": (1e-6, _ANY),
    "augment.flip": (0, 1),
    "augment.pad": (0, _ANY),
    "augment.erase": (0, 1),
    "augment.tone": (0, _ANY),
    "loss.smoothing": (0, 1),
    "loss.center": (0, _ANY),
    "loss.center_lr": (0, _ANY),
}
"""The smallest and the largest value of each number."""


def check_settings(config: Config) -> None:
    """Raise SettingError for a number that is out of range, infinite or NaN."""
    if not config.stages:
        raise SettingError("stages: at least 1, not 0")
    numbers = [(name, operator.attrgetter(name)(config), *ends) for name, ends in _RANGES.items()]
    numbers = [number for number in numbers if number[1] is not None]  # None: chosen by the kit
    numbers += [("milestones", milestone, 0, _ANY) for milestone in config.milestones]
    for stage in config.stages:
        numbers.append(("the epochs of a stage", stage.epochs, 1, _ANY))
        numbers.append(("the learning rate of a stage", stage.lr, 0, _ANY))
    for name, value, low, high in numbers:
        if not (low <= value <= high and math.isfinite(value)):
            wanted = f"at least {low}" if high == _ANY else f"from {low} to {high}"
            raise SettingError(f"{name}: {wanted}, not {value}")
    if config.ids_per_batch * config.clips_per_id < 2:
        raise SettingError("ids_per_batch × clips_per_id: at least 2 clips, not 1")


def stage_of(config: Config, epoch: int) -> tuple[int, int]:
    """Return the number of the stage that `epoch` belongs to, and the epoch within it."""
    for number, stage in enumerate(config.stages):
        if epoch < stage.epochs:
            return number, epoch
        epoch -= stage.epochs
    raise ValueError("the epoch is past the last stage")


def total_epochs(config: Config) -> int:
    """Count the epochs of all stages."""
    return sum(stage.epochs for stage in config.stages)


def learning_rates(config: Config) -> list[float]:
    """Return the learning rate of each epoch: a fresh MultiStepLR (x 0.1) in each stage."""
    rates = []
    for stage in config.stages:
        for epoch in range(stage.epochs):
            rates.append(stage.lr * 0.1 ** sum(m <= epoch for m in config.milestones))
    return rates


def warmup_factor(warmup: int, step: int) -> float:
    """Return what the learning rate of a stage's step `step` (from 0) is multiplied by."""
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config dataclass as JSON-ready plain types; paths become POSIX strings."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            return [plain(item) for item in value]
        return value.as_posix() if isinstance(value, Path) else value

    return plain(dataclasses.asdict(config))


def from_dict(values: dict[str, Any]) -> Config:
    """Rebuild a `Config` from the output of `to_dict`.

    A field that is missing takes its default, so configurations of older versions can be read. One
    that is not known (of a newer version, or deleted since) is passed over with a warning.

    Raises:
        SettingError: a value has another type than its field.
    """
    return _read(Config, values, "")


def _read(kind: type, values: Any, path: str) -> Any:
    if not isinstance(values, dict):
        raise SettingError(
            f"{path or 'the configuration'}: expected named fields, found {values!r}"
        )
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := sorted(values.keys() - known):
        where = f" of {path}" if path else ""
        warnings.warn(f"unknown settings{where} are ignored: {', '.join(unknown)}", stacklevel=3)
    read = {name: _value(name, values[name], path) for name in known & values.keys()}
    for name, hint in get_type_hints(kind).items():
        if name in read and not _is_a(read[name], hint):
            where = f"{path}.{name}" if path else name
            raise SettingError(f"{where}: expected {_words(hint)}, found {values[name]!r}")
    try:
        return kind(**read)
    except TypeError as error:
        raise SettingError(f"{path or 'the configuration'}: {error}") from None


def _is_a(value: Any, hint: Any) -> bool:
    """Return whether a value has the type of a field."""
    origin, kinds = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in kinds
    if origin is UnionType:
        return any(_is_a(value, kind) for kind in kinds)
    if origin is tuple:
        return isinstance(value, tuple) and all(_is_a(item, kinds[0]) for item in value)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    return str(hint).replace("typing.", "") if get_args(hint) else hint.__name__


def _value(name: str, value: Any, path: str) -> Any:
    """Turn the plain value of a field back into what the dataclasses hold."""
    path = f"{path}.{name}" if path else name
    if name in _SECTIONS:
        return _read(_SECTIONS[name], value, path)
    if name == "stages":
        stages = value if isinstance(value, list) else [value]
        return tuple(_read(StageConfig, stage, path) for stage in stages)
    if name in ("root", "packed") and isinstance(value, str):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value


_SECTIONS = {
    "model": ModelConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "hardware": HardwareConfig,
}

# Fields that change speed, or where things lie, but not what is computed.
_NOT_SCIENCE = (
    "root", "packed", "workers", "device", "eval_batch", "checkpoint_every", "keep_optimizer",
    "hardware", "tensorboard", "compare_frames",
)  # fmt: skip


def science(config: Config) -> dict[str, Any]:
    """Return what can change the result and differs from the default, as plain types.

    Of the hardware's options those count that change more than the order of rounding.
    """
    plain, default = to_dict(config), to_dict(Config())
    kept = _differences(plain, default, skip=_NOT_SCIENCE)
    hardware = _differences(plain["hardware"], default["hardware"])
    return kept | {
        name: value for name, value in hardware.items() if name in ("precision", "sync_batchnorm")
    }


def _differences(
    plain: dict[str, Any], default: dict[str, Any], skip: Sequence[str] = ()
) -> dict[str, Any]:
    changed = {}
    for name, value in plain.items():
        if name in skip or value == default[name]:
            continue
        nested = isinstance(value, dict)
        changed[name] = _differences(value, default[name]) if nested else value
    return changed


def differences(config: Config, reference: Config) -> dict[str, tuple[Any, Any]]:
    """Return the settings that can change the result and differ: dotted name, (value, reference's).

    A setting that only one of them has, such as a third stage, is None in the other.
    """
    changed = flat(science(config)) | flat(science(reference))
    a, b = (flat(values | values["hardware"]) for values in map(to_dict, (config, reference)))
    return {name: (a.get(name), b.get(name)) for name in changed if a.get(name) != b.get(name)}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names; stages count from 0."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {str(i): item for i, item in enumerate(value)}
        found |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return found


def config_hash(config: Config) -> str:
    """Return twelve hex digits of what `science` returns; the run's identity.

    Defaults are left out, so that a new field does not rename the runs made before it.
    """
    text = json.dumps(science(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
