"""Weights and inputs of the parity pack, made by the formulas of `parity/README.md`."""

from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from mmagga.model import make_baseline, make_mmagga
from mmagga.model.official import official_name

PARITY = Path(__file__).parent / "parity"
IDS, FRAMES = 20, 8

_RESNET_FC = {"base.fc.weight": (1000, 2048), "base.fc.bias": (1000,)}


def load(name):
    """Arrays of a file of the pack, by name."""
    with np.load(PARITY / name) as arrays:
        return {key: arrays[key] for key in arrays.files}


def official_weights(model):
    """The authors' state dict of a model like this one, under their names; it reads no values."""
    ours = model.state_dict()
    shapes = {official_name(name, model): tuple(value.shape) for name, value in ours.items()}
    return {name: official_entry(name, shape) for name, shape in (shapes | _RESNET_FC).items()}


def official_entry(name, shape):
    """One tensor of the authors' state dict."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.tensor(0)
    if name == "global_pool.p":
        return torch.full(shape, 3.0)
    z = np.random.RandomState(crc32(name.encode())).standard_normal(shape).astype(np.float32)
    z = torch.from_numpy(z)
    if leaf == "running_var":
        return 1 + 0.2 * z.abs()
    if leaf in ("running_mean", "bias"):
        return 0.1 * z
    if name.startswith("mgcov"):
        return mma_start(name) + 0.05 * z
    if name.endswith("bn3.weight"):
        return 0.25 + 0.05 * z
    norms = (".bn", "downsample.1.", ".W.1.")
    if any(part in name for part in norms) or name.startswith(("bnneck1", "bottleneck")):
        return 1 + 0.1 * z
    return z * (1 / np.prod(shape[1:])) ** 0.5


def mma_start(name):
    """The matrix before any training, written out cell by cell."""
    rows, columns, own, other = {
        "mgcov1": (4, 2, 0.5, 0.01),
        "mgcov2": (8, 4, 0.25, 0.001),
        "mgcov3": (2, 1, 1.0, 0.1),
    }[name]
    cells = range(rows * columns)
    return torch.tensor([[own if c // columns == r else other for c in cells] for r in range(rows)])


def clips(shape, seed):
    """Clips (b, t, 3, 256, 128): coarse cells of 32x32 pixels plus fine noise."""
    rng = np.random.RandomState(seed)
    coarse = rng.standard_normal((*shape[:3], 8, 4)).astype(np.float32)
    fine = rng.standard_normal(shape).astype(np.float32)
    return torch.from_numpy(np.kron(coarse, np.ones((32, 32), np.float32)) + np.float32(0.3) * fine)


def feature_maps():
    """Maps (2, 8, 2048, 16, 8) for the head alone: of the clip, of the frame, of the row."""
    rng = np.random.RandomState(1000)
    shapes = (2, 1, 2048, 16, 8), (2, 8, 2048, 1, 1), (2, 8, 2048, 16, 1)
    a, b, c = (torch.from_numpy(rng.standard_normal(s).astype(np.float32)) for s in shapes)
    return (a + b + c).clamp(min=0)


def official_mmagga():
    """The authors' MMA-GGA state dict of the pack."""
    with torch.device("meta"):
        model = make_mmagga(IDS, FRAMES)
    return official_weights(model)


def official_baseline():
    """The authors' baseline state dict of the pack."""
    with torch.device("meta"):
        model = make_baseline(IDS)
    return official_weights(model)


def relative(ours, theirs):
    """‖ours − theirs‖ / ‖theirs‖."""
    ours, theirs = (torch.as_tensor(v).detach().double() for v in (ours, theirs))
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} beside {tuple(theirs.shape)}"
    return ((ours - theirs).norm() / theirs.norm()).item()
