"""A network that computes faster or in less memory with the same result: layout, folding."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
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
    """Convert weights, and so maps, to channels_last, and non-local blocks to their lean form."""
    model.to(memory_format=torch.channels_last)
    for module in model.modules():
        if lean and isinstance(module, NonLocal) and module.theta.out_channels == 1:
            module.__class__ = LeanNonLocal  # the same parameters


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


class LeanNonLocal(NonLocal):
    """`NonLocal` with one inner channel, in two passes over the maps instead of some twenty.

    The result differs by rounding. Not for a BatchNorm that several processes share.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Map channels_last (N, C, h, w) to the same shape, positions as rows of one matrix."""
        rows = maps.permute(0, 2, 3, 1)  # (N, h, w, C)
        convs = (self.theta, self.phi, self.g)
        weight = torch.cat([conv.weight.flatten(1) for conv in convs])  # (3, C)
        bias = torch.cat([conv.bias for conv in convs])
        three = F.linear(rows, weight, bias).to(self.norm.weight.dtype)  # (N, h, w, 3)
        theta, phi, g = three.unbind(3)
        read = theta * (phi * g).mean((1, 2), keepdim=True)
        read, scale, shift = self._normalised(read)
        basis = torch.stack([read, torch.ones_like(read)], 3).flatten(0, 2)  # (N·h·w, 2)
        change = torch.stack([scale, shift])  # (2, C)
        basis, change = basis.to(maps.dtype), change.to(maps.dtype)
        changed = torch.addmm(rows.flatten(0, 2), basis, change)  # product and sum in one pass
        return changed.view(rows.shape).permute(0, 3, 1, 2)

    def _normalised(self, read: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (N, h, w), (C,), (C,): norm(back(read)) is their read·scale + shift.

        Channel c of back(read) is weight_c·read + bias_c: its mean and variance follow from those
        of `read`, and no map of C channels is needed.
        """
        norm = self.norm
        weight, bias = (p.flatten().to(read.dtype) for p in (self.back.weight, self.back.bias))
        if not self.training:
            scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
            return read, scale * weight, norm.bias + scale * (bias - norm.running_mean)
        variance, mean = torch.var_mean(read, correction=0)
        with torch.no_grad():
            count = read.numel()
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(weight * mean + bias, norm.momentum)
            unbiased = weight.square() * variance * count / (count - 1)
            norm.running_var.lerp_(unbiased, norm.momentum)
        scale = norm.weight * weight * (weight.square() * variance + norm.eps).rsqrt()
        return read - mean, scale, norm.bias
