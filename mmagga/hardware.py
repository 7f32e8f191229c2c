"""How the device computes: precision, determinism, and memory against time."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmagga.config import HardwareConfig
from mmagga.errors import MmaggaError
from mmagga.model import Output
from mmagga.model.backbone import NonLocal, fold_batchnorm
from mmagga.trees import tree_cat


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


def prepare(model: nn.Module, hardware: HardwareConfig) -> None:
    """Set the model up as the configuration says; its parameters and their names stay.

    Raises MmaggaError for options that do not go together.
    """
    if hardware.compile and (hardware.recompute or hardware.chunk or hardware.sync_batchnorm):
        raise MmaggaError(
            "hardware.compile does not go with recompute, chunk or sync_batchnorm: choose"
        )
    device = next(model.parameters()).device
    # In float32 on a CPU channels_last gains a tenth, but BatchNorm rounds far more in it.
    if device.type == "cuda" or precision(hardware, device) == "bf16":
        _by_rows(model, lean=not hardware.sync_batchnorm)
    if hardware.compile:
        model.backbone.compile()
    if hardware.recompute:
        for name, layer in model.backbone.named_children():
            if name.startswith("layer"):
                layer.forward = partial(_recomputed, type(layer).forward, layer)


def for_embedding(model: nn.Module, hardware: HardwareConfig, device: torch.device) -> nn.Module:
    """Give a copy of the model, on `device`, that embeds faster and cannot be trained.

    The backbone's BatchNorms are multiplied into its convolutions, maps are channels_last, and for
    bf16 the convolutions' weights are rounded once for all. In float32 embeddings differ by about
    1e-6 of their size.
    """
    fast = deepcopy(model.to(device)).eval()
    fold_batchnorm(fast.get_submodule("backbone"))
    if precision(hardware, device) == "bf16":
        for module in fast.backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.to(torch.bfloat16)
    _by_rows(fast)
    return fast


def _by_rows(model: nn.Module, lean: bool = True) -> None:
    """Lay weights, and with them maps, out as channels_last, in which `NonLocal` can be lean."""
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, NonLocal):
            module.lean = lean


def forward(model: nn.Module, clips: Tensor, chunk: int) -> Output:
    """Run clips (B, T, 3, H, W) through the network, at most `chunk` at once where it is not 0.

    In chunks only the outputs are kept, and a chunk is computed again in the backward pass.
    """
    if not chunk or len(clips) <= chunk:
        return model(clips)
    parts = clips.split(chunk)
    return tree_cat([_recomputed(type(model).__call__, model, part) for part in parts])


def _recomputed(function: Callable, module: nn.Module, x: Tensor) -> Any:
    """Call `function(module, x)` and keep nothing but x; random draws and statistics stay."""
    if not torch.is_grad_enabled():
        return function(module, x)
    contexts = partial(_contexts, module)
    return checkpoint(function, module, x, use_reentrant=False, context_fn=contexts)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), _unobserved(module)


@contextmanager
def _unobserved(module: nn.Module) -> Iterator[None]:
    """While entered, BatchNorm uses a batch's statistics without counting them a second time."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked -= 1
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
