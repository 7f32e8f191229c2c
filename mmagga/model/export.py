"""A network as an ONNX file: clips in, embeddings out, checked against torch."""

import logging
import os
import tempfile
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmagga.errors import MmaggaError, NumericError
from mmagga.system.files import commit

TOLERANCE = 1e-4
"""Largest difference of an embedding from torch's, as a share of its largest number."""


class _Embedder(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor:
        return self.model(clips).embedding


def export_onnx(
    model: nn.Module,
    path: str | Path,
    *,
    frames: int,
    size: tuple[int, int],
    batches: tuple[int, ...] = (1, 3),
) -> dict[int, float]:
    """Write the network as ONNX and run it in onnxruntime beside torch, on the CPU.

    Input "clips" is float32 (B, T, 3, H, W), normalised as `mmagga.data.augment.normalize` does;
    output "embedding" is (B, D), not of length 1. B is free; T is `frames` and (H, W) is `size`.

    Returns the largest difference from torch's embeddings of random clips, as a share of the
    largest number in them, for each of `batches`. Raises MmaggaError without the packages of the
    extra "onnx", and NumericError where a difference exceeds `TOLERANCE`; no file is left then.
    """
    onnxruntime = _packages()
    embedder = _Embedder(deepcopy(model).cpu()).eval()
    draw = torch.Generator().manual_seed(0)
    clips = {b: torch.randn(b, frames, 3, *size, generator=draw) for b in {2, *batches}}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        file = Path(folder) / "network.onnx"
        _export(embedder, clips[2], file)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        differences = {}
        for batch in batches:
            expected = embedder(clips[batch])
            (found,) = session.run(["embedding"], {"clips": clips[batch].numpy()})
            error = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
            differences[batch] = float(error)
        if not max(differences.values()) <= TOLERANCE:
            raise NumericError(f"ONNX differs from torch: {differences}, allowed is {TOLERANCE}")
        content = file.read_bytes()
    commit(path, lambda out: out.write(content), need=len(content))
    return differences


def _export(embedder: nn.Module, clips: Tensor, file: Path) -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            embedder,
            (clips,),
            file,
            input_names=["clips"],
            output_names=["embedding"],
            dynamic_shapes={"clips": {0: torch.export.Dim("batch", min=1, max=4096)}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _packages() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise MmaggaError(
            f"the package {error.name!r} is missing: python -m pip install 'mmagga[onnx]', or in "
            "this folder python -m pip install -e '.[onnx]'"
        ) from error
    os.environ.setdefault("ORT_LOGGING_LEVEL", "3")
    return onnxruntime
