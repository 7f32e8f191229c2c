"""Which device computes, in which precision, and with which of torch's global switches."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from mmagga.config import HardwareConfig
from mmagga.errors import MmaggaError


def resolve_device(name: str) -> torch.device:
    """Turn "auto" into cuda where there is one; MmaggaError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise MmaggaError(f"no device is called {name!r}: use cpu, cuda or auto") from None
    if device.type == "cuda" and (device.index or 0) >= (found := torch.cuda.device_count()):
        raise MmaggaError(f"there is no {name} here, torch finds {found} GPUs: use cpu or auto")
    return device


def precision(hardware: HardwareConfig, device: torch.device) -> str:
    """Turn "auto" into bf16 on a GPU that has it, and into float32 elsewhere."""
    if hardware.precision != "auto":
        return hardware.precision
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return "bf16" if fast else "float32"


def autocast(hardware: HardwareConfig, device: torch.device) -> AbstractContextManager:
    """Compute the backbone in the precision that was chosen; head and losses stay in float32."""
    enabled = precision(hardware, device) == "bf16"
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


@contextmanager
def settings(hardware: HardwareConfig, device: torch.device) -> Iterator[None]:
    """Set torch's global switches for a run, and put them back."""
    if device.type != "cuda":
        yield
        return
    if hardware.deterministic:
        # cuBLAS reads it when it starts; without it, it refuses to be deterministic.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    strict = torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark = not hardware.deterministic
    cudnn.allow_tf32 = matmul.allow_tf32 = hardware.tf32
    torch.use_deterministic_algorithms(hardware.deterministic)
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
        torch.use_deterministic_algorithms(strict)
