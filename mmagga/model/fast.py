"""A network that computes faster or in less memory with the same result: layout, folding."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from mmagga.config import HardwareConfig
from mmagga.errors import MmaggaError
from mmagga.model.backbone import NonLocal
from mmagga.system.device import precision


def prepare(model: nn.Module, hardware: HardwareConfig) -> None:
    """Set the model up as the configuration says; its parameters and their names stay.

    Raises MmaggaError for options that cannot be combined.
    """
    if hardware.compile and (hardware.recompute or hardware.sync_batchnorm):
        raise MmaggaError(
            "hardware.compile cannot be combined with recompute or sync_batchnorm: disable one"
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
    """Return a copy of the model, on `device`, that embeds faster and cannot be trained.

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
    """Convert weights, and so maps, to channels_last, and enable the lean form of `NonLocal`."""
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if isinstance(module, NonLocal):
            module.lean = lean


def _recomputed(function: Callable, module: nn.Module, x: Tensor) -> Any:
    """Call `function(module, x)`, store only x for backward, and preserve draws and statistics."""
    if not torch.is_grad_enabled():
        return function(module, x)
    contexts = partial(_contexts, module)
    return checkpoint(function, module, x, use_reentrant=False, context_fn=contexts)


def _contexts(module: nn.Module) -> tuple[AbstractContextManager, AbstractContextManager]:
    return nullcontext(), unobserved(module)


@contextmanager
def unobserved(module: nn.Module) -> Iterator[None]:
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


def fold_batchnorm(module: nn.Module) -> None:
    """Fold each BatchNorm of a ResNet into the preceding convolution: for evaluation only."""
    for parent in list(module.modules()):
        if isinstance(parent, NonLocal):  # it does so by itself
            continue
        # In torchvision's blocks a BatchNorm is declared right after the convolution it follows.
        for (name, conv), (after, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, after, nn.Identity())
