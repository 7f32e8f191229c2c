"""Reading the authors' checkpoints: their names, our modules, and no foreign code run."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from mmagga.errors import CheckpointError
from mmagga.model.build import make_baseline, make_mmagga
from mmagga.model.networks import MMAGGA, Baseline
from mmagga.model.weights import read_tensors

# Ours -> theirs, by the beginning of the name; the first match counts.
_BACKBONE = {
    "backbone.layer2.non_local2": "NL_2.0",
    "backbone.layer2.non_local3": "NL_2.1",
    "backbone.layer3.non_local3": "NL_3.0",
    "backbone.layer3.non_local4": "NL_3.1",
    "backbone.layer3.non_local5": "NL_3.2",
    "backbone": "base",
}
_HEAD = {
    MMAGGA: {
        "head.mma.p1.matrix": "mgcov1",
        "head.mma.p2.matrix": "mgcov2",
        "head.mma.p3.matrix": "mgcov3",
        "head.project.global_": "downsample0",
        "head.project.p1": "downsample1",
        "head.project.p2": "downsample2",
        "head.project.p3": "downsample3",
        "head.frame_score": "attconv0",
        "head.part_score.p1.part": "gl11",
        "head.part_score.p2.part": "gl22",
        "head.part_score.p3.part": "gl33",
        "head.part_score.p1.guide": "gl01",
        "head.part_score.p2.guide": "gl02",
        "head.part_score.p3.guide": "gl03",
        "head.bnneck": "bnneck1",
        "head.classifiers.global_": "fc_list1.0",
        "head.classifiers.p3": "fc_list1.1",
        "head.classifiers.p1": "fc_list1.2",
        "head.classifiers.p2": "fc_list1.3",
    },
    Baseline: {
        "head.gem_p": "global_pool.p",
        "head.reduce": "reduc.0",
        "head.bnneck": "bottleneck",
        "head.classifier": "classifier.1",
    },
}
_UNUSED = {"base.fc.weight", "base.fc.bias"}  # ResNet's 1000 classes

# What the NumPy scalar `rank1` of a checkpoint is made of, and nothing more.
_SCALAR = np.float64(0).__reduce__()[0]
_ALLOWED = (
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy 1 wrote its name
    (_SCALAR, "numpy._core.multiarray.scalar"),  # as NumPy 2 does
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
)


def load_official(source: str | Path | Mapping[str, Tensor]) -> MMAGGA | Baseline:
    """Build the model of an authors' checkpoint and fill it.

    Args:
        source: the file, which holds a dict with `state_dict`, `rank1` and `epoch` or the state
            dict alone; or the state dict itself. Which of the two models it is, the identities
            and the frames follow from the tensors.

    Returns:
        The model, on the CPU, in training mode like any new module.

    Raises:
        CheckpointError: the file is damaged, contains pickled code, or its tensors are not exactly
            those of a model; the message lists the names, in the authors' spelling.
    """
    state = source if isinstance(source, Mapping) else _read(Path(source))
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    model = _build(state)
    ours = {official_name(name, model): tensor for name, tensor in model.state_dict().items()}
    _check(state, ours)
    for name, tensor in ours.items():
        tensor.copy_(state[name])  # a state dict shares its module's memory
    return model


def official_name(name: str, model: MMAGGA | Baseline) -> str:
    """Translate a name of our state dict into the authors'."""
    for ours, theirs in (_BACKBONE | _HEAD[type(model)]).items():
        if name == ours or name.startswith(ours + "."):
            name = theirs + name.removeprefix(ours)
            break
    if name.startswith("NL_"):
        name = name.replace(".back.", ".W.0.").replace(".norm.", ".W.1.")
    return name


def _build(state: Mapping[str, Tensor]) -> MMAGGA | Baseline:
    """Make an empty model of the kind and sizes that the authors' tensors show."""
    if {"fc_list1.0.weight", "attconv0.weight"} <= state.keys():
        return make_mmagga(len(state["fc_list1.0.weight"]), frames=len(state["attconv0.weight"]))
    if "classifier.1.weight" in state:
        return make_baseline(len(state["classifier.1.weight"]))
    raise CheckpointError(
        "neither MMA-GGA (fc_list1.0.weight, attconv0.weight) nor the baseline "
        f"(classifier.1.weight) is among the names: {', '.join(sorted(state)[:8]) or 'none'} …"
    )


def _check(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError unless the names and shapes agree."""
    known = expected.keys() | _UNUSED
    faults = [f"{name} is missing" for name in expected if name not in state]
    faults += [f"{name} is unexpected" for name in state if name not in known]
    faults += [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise CheckpointError("not an official checkpoint: " + "; ".join(faults[:10]) + more)


def _read(path: Path) -> Mapping[str, Tensor]:
    """Read a checkpoint's `state_dict`, or a state dict alone."""
    checkpoint = read_tensors(path, _ALLOWED)
    if isinstance(checkpoint, Mapping) and "state_dict" in checkpoint:
        checkpoint = checkpoint["state_dict"]
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path} has no `state_dict`; give the authors' checkpoint file")
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in checkpoint.items()):
        raise CheckpointError(f"{path}: its `state_dict` holds more than named tensors")
    return checkpoint
