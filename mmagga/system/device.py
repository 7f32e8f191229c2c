"""Which device computes, in which precision, and with which of torch's global switches."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from mmagga.config import HardwareConfig
from mmagga.errors import SettingError


def resolve_device(name: str) -> torch.device:
    """Turn "auto" into cuda where there is one.

    Raises:
        SettingError: there is no such device here; the message names those there are.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    found = devices()
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")  # never among those found
    numbered = f"{device.type}:{device.index or 0}"
    if numbered not in found and (device.type not in found or device.index is not None):
        raise SettingError(f"there is no device {name!r} here: use {', '.join(found)} or auto")
    return device


def devices() -> list[str]:
    """List the devices that torch finds here: cpu, cuda:0, …, xpu:0, …, mps."""
    found = ["cpu"]
    for kind in ("cuda", "xpu"):
        found += [f"{kind}:{i}" for i in range(getattr(torch, kind).device_count())]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def precision(hardware: HardwareConfig, device: torch.device) -> str:
    """Turn "auto" into bf16 on a GPU or CPU that multiplies it fast, and float32 elsewhere."""
    if hardware.precision != "auto":
        return hardware.precision
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = device.type == "cpu" and _has_amx()
    return "bf16" if fast else "float32"


def _has_amx() -> bool:
    """Whether the CPU multiplies bf16 in tiles, unless ATEN_CPU_CAPABILITY forbids it to torch."""
    allowed = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    return allowed and torch.cpu._is_amx_tile_supported()


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
