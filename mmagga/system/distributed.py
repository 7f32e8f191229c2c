"""Several processes, one run: `torchrun --nproc-per-node N -m mmagga train …`.

Each process embeds its share of the batch; features and logits are gathered, every process computes
the losses of the whole batch, and gradients are summed. So batch, order and losses are those of one
process whatever the number of processes. With one process every function here returns its argument
unchanged.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmagga.errors import MmaggaError


class World(NamedTuple):
    """Which process of how many this is."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return this process's share of `count` items; MmaggaError if they cannot be divided."""
        if count % self.size:
            raise MmaggaError(
                f"a batch of {count} clips cannot be shared out among {self.size} processes: "
                "choose a number of processes that divides it"
            )
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)


def world() -> World:
    """Return which process this is, of how many."""
    return World(dist.get_rank(), dist.get_world_size()) if _together() else World()


@contextmanager
def processes(device: torch.device | None = None) -> Iterator[World]:
    """Join the other processes if torchrun started several, and leave them at the end.

    NCCL carries tensors of GPUs, gloo those of CPUs; each process takes the GPU of its local rank,
    unless the `device` to work on is not a GPU.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _together():
        yield world()
        return
    backend = "gloo"
    if torch.cuda.is_available() and (device is None or device.type == "cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend)
    try:
        yield world()
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()


# --- a batch ------------------------------------------------------------------------------------


class _Gather(torch.autograd.Function):
    """Concatenate over the processes.

    Each of them computes the same loss from the result, so the gradient of its own share is
    whole already.
    """

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        ctx.mine = slice(dist.get_rank() * len(mine), (dist.get_rank() + 1) * len(mine))
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[ctx.mine]


def gather(mine: Tensor) -> Tensor:
    """Join each process's (B / processes, ...) to (B, ...), with gradients to one's own share."""
    return _Gather.apply(mine) if _together() else mine


def sum_gradients(parameters: list[nn.Parameter]) -> None:
    """Add up the processes' gradients, in one message."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if _together() and gradients:
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))


# --- agreement ----------------------------------------------------------------------------------


def any_of(flag: bool) -> bool:
    """Whether the flag is raised in any process."""
    if not _together():
        return flag
    raised = torch.tensor(int(flag))
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return bool(raised)


def from_first(value: Any) -> Any:
    """Broadcast what the first process has."""
    if not _together():
        return value
    box = [value]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    return box[0]


def collect(value: Any) -> list[Any]:
    """Gather what each process has, in the order of their ranks, in every process."""
    if not _together():
        return [value]
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def share_statistics(model: nn.Module) -> None:
    """Broadcast the first process's buffers: BatchNorm's are local while training."""
    if _together():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


# --- BatchNorm over all processes ---------------------------------------------------------------


class _Sum(torch.autograd.Function):
    """Sum over the processes; each needs the gradients of all."""

    @staticmethod
    def forward(ctx: Any, mine: Tensor) -> Tensor:
        total = mine.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def synchronise_batchnorm(model: nn.Module) -> None:
    """Make every BatchNorm of `model` see the batch of all processes; parameters and names stay.

    Ours, because torch's SyncBatchNorm supports GPUs only and cannot be tested elsewhere.
    """
    if _together():
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.forward = partial(_normalise_together, module)


def _normalise_together(norm: _BatchNorm, x: Tensor) -> Tensor:
    if not norm.training:
        return type(norm).forward(norm, x)
    axes = [d for d in range(x.ndim) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
    count = x.numel() // x.shape[1] * dist.get_world_size()
    wide = x.float()
    mean = _Sum.apply(wide.sum(axes)) / count  # (C,)
    centred = wide - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes)) / count  # (C,)
    if norm.track_running_stats:
        with torch.no_grad():
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
    scale = (variance + norm.eps).rsqrt().view(shape)
    return (centred * scale * norm.weight.view(shape) + norm.bias.view(shape)).to(x.dtype)
