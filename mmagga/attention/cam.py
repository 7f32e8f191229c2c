"""Attribution without attention weights: Grad-CAM of a similarity, and occlusion by blocks.

Shape letters: B clips, T frames, H W image, C channels, h w feature map, D embedding.
"""

import copy
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmagga.attention.maps import look_at_maps, look_at_tokens, require_attention
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Tokens, tree_map


def similarity_cam(
    model: ClipModel,
    clips: Tensor,
    target_vector: Tensor,
    method: Literal["gradcam", "hirescam"] = "gradcam",
) -> Tensor:
    """Compute Grad-CAM (1610.02391) or HiResCAM (2011.08891) of a similarity: (B, T, h, w).

    The layer is the last of the backbone, the score ⟨embedding / |embedding|, target⟩. Negative
    values are cut off, as both methods do, and nothing else is scaled: frames and clips keep their
    importance and may be compared. HiResCAM's values sum, before the cut, to the derivative of the
    score by a common factor on all feature maps; Grad-CAM's have no unit.

    The network is left alone: its maps are computed without gradients, and the grad-cam package,
    which hooks layers, sets modes and fills gradients, works on a copy of the head.

    Args:
        model: in evaluation mode; its parameters may be frozen.
        clips: (B, T, 3, H, W), normalised.
        target_vector: (D,) or (B, D): a unit vector, or the right person's minus the hardest
            other's.
        method: "gradcam" weighs a channel by its mean gradient over the clip, "hirescam" multiplies
            each position by its own gradient.

    Raises:
        ValueError: an unknown method, no attention, or training mode.
    """
    from pytorch_grad_cam import GradCAM, HiResCAM

    methods = {"gradcam": GradCAM, "hirescam": HiResCAM}
    if method not in methods:
        raise ValueError(f"method is one of {', '.join(methods)}, not {method!r}")
    require_attention(model)
    with torch.inference_mode():
        maps = model.maps(clips)  # (B, T, C, h, w)
    with torch.inference_mode(False), torch.enable_grad():
        score = _Score(model.head, target_vector.clone())
        video = maps.to(target_vector.dtype, copy=True).transpose(1, 2).requires_grad_()
        cam = methods[method](score, [score.layer])
        cam(video, targets=[lambda similarity: similarity] * len(maps))
    # What the call returns is stretched to [0, 1] clip by clip; this is what it stretches.
    kept = cam.activations_and_grads
    activations, gradients = kept.activations[0].numpy(), kept.gradients[0].numpy()
    values = cam.get_cam_image(video, score.layer, None, activations, gradients, eigen_smooth=False)
    return torch.from_numpy(np.maximum(values, 0)).to(clips.device)  # (B, T, h, w)


class _Score(nn.Module):
    """Feature maps as a video (B, C, T, h, w) to similarities (B,).

    In this shape the grad-cam package sees one picture with time as a dimension; with frames as a
    batch it would scale each to the same maximum.
    """

    def __init__(self, head: Head, target: Tensor) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.head = copy.deepcopy(head).requires_grad_(False)
        self.target = target

    def forward(self, video: Tensor) -> Tensor:
        embedding = self.head(self.layer(video).transpose(1, 2)).embedding
        return (F.normalize(embedding) * self.target).sum(1)


# --- occlusion ----------------------------------------------------------------------------------


@torch.inference_mode()
def occlusion_map(
    model: ClipModel,
    clips: Tensor,
    gallery: Tensor,
    *,
    block: int = 32,
    batch: int = 32,
) -> Tensor:
    """Cover a block of one frame after the other; how much does the similarity drop?

    Signed: above 0 the block spoke for the match, below 0 against it. Like the similarity-based
    saliency maps of XAITK, which cut off the negative half. A covered block has the mean colour of
    ImageNet. Only the covered frame goes through the backbone again: a frame's feature map does
    not depend on the others.

    Args:
        model: in evaluation mode.
        clips: (B, T, 3, H, W), normalised.
        gallery: (D,) or (B, D) unit vectors, or differences of two.
        block: side of the square in pixels.
        batch: frames in the backbone at once.

    Returns:
        (B, T, rows, columns): similarity of the whole clip minus that of the covered one.

    Raises:
        ValueError: blocks do not fit the image, no attention, or training mode.
    """
    require_attention(model)
    corners, grid = _corners(tuple(clips.shape[-2:]), block)
    gallery = gallery.expand(len(clips), -1)
    drops = clips.new_empty(*clips.shape[:2], len(corners))
    for i in range(len(clips)):
        whole = look_at_maps(model.head, model.maps(clips[i : i + 1]))
        before = F.normalize(whole.embedding) @ gallery[i]
        for t in range(clips.shape[1]):
            for start in range(0, len(corners), batch):
                some = corners[start : start + batch]
                covered = _cover(clips[i, t], some, block)
                tokens = _replace_frame(whole.tokens, t, _frame_tokens(model, covered))
                embedding = look_at_tokens(model.head, tokens).embedding
                after = F.normalize(embedding) @ gallery[i]
                drops[i, t, start : start + len(some)] = before - after
    return drops.unflatten(2, grid)


def _corners(size: tuple[int, int], block: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Return the upper left corners of all blocks, row by row, and how many rows and columns."""
    if any(side % block for side in size):
        raise ValueError(
            f"blocks of {block} pixels do not fill an image of {size[0]}x{size[1]}: choose a block "
            "that divides both sides"
        )
    tops, lefts = (range(0, side, block) for side in size)
    return [(top, left) for top in tops for left in lefts], (len(tops), len(lefts))


def _cover(frame: Tensor, corners: list[tuple[int, int]], block: int) -> Tensor:
    """Copy a frame (3, H, W) once for each corner and cover the block there: (n, 3, H, W)."""
    frames = frame.repeat(len(corners), 1, 1, 1)
    for covered, (top, left) in zip(frames, corners, strict=True):
        covered[:, top : top + block, left : left + block] = 0  # normalised: the mean colour
    return frames


def _frame_tokens(model: ClipModel, frames: Tensor) -> Tokens:
    """Compute the tokens of n single frames (n, 3, H, W): (n, D) and (n, P, D) each."""
    n, clip = len(frames), model.head.frames
    maps = model.maps(frames.unsqueeze(0))[0]  # (n, C, h, w)
    # The head reads clips of T frames, but its tokens are a frame's own: any T will do.
    maps = torch.cat([maps, maps[:1].expand(-n % clip, -1, -1, -1)])
    tokens = model.head.tokens(maps.unflatten(0, (-1, clip)))
    return tree_map(lambda x: x.flatten(0, 1)[:n], tokens)


def _replace_frame(tokens: Tokens, t: int, frame: Tokens) -> Tokens:
    """Copy one clip's tokens n times, with those of frame t replaced by n others."""

    def replaced(whole: Tensor, new: Tensor) -> Tensor:
        whole = whole.repeat(len(new), *[1] * (whole.ndim - 1))
        whole[:, t] = new
        return whole

    return tree_map(replaced, tokens, frame)
