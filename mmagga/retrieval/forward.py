"""Forward passes in evaluation mode, in smaller batches where the device's memory is short."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmagga.data.augment import normalize
from mmagga.errors import ResourceError
from mmagga.system.shortage import out_of_memory


def forward_within_memory(
    model: nn.Module, clips: Tensor, limit: int, device: torch.device | str
) -> tuple[Tensor, int]:
    """Embed (B, T, 3, H, W) uint8 clips, at most `limit` at once; return (B, D) and the limit."""
    parts: list[Tensor] = []
    start = 0
    while start < len(clips):
        embedding = _try_forward(model, clips[start : start + limit], device)
        if embedding is not None:
            parts.append(embedding)
            start += limit
        elif limit == 1:
            raise ResourceError(
                f"One clip of shape {tuple(clips.shape[1:])} does not fit in the memory "
                f"of {device}: free some of it, or evaluate on the CPU."
            )
        else:
            limit = max(1, min(limit, len(clips) - start) // 2)
            torch.cuda.empty_cache()  # nothing happens where CUDA was never used
    return torch.cat(parts), limit


def _try_forward(model: nn.Module, clips: Tensor, device: torch.device | str) -> Tensor | None:
    """Embed clips; None where memory ran out: returning frees the tensors."""
    try:
        clips = clips.to(device, non_blocking=True)
        return model(normalize(clips)).embedding.float().cpu()
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        return None


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while. Flags are kept module by module: a part may be frozen."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag
