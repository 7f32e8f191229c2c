"""Things to paste in front of people, and where: the randomised half of the experiment.

A pasted occluder makes a pair, the same clip with and without it, and its place is drawn without
regard to person, camera or frame, so that any change of the attention is a response to it.

Kinds: objects (no person, NPO: box, pole, bush), another person (NTP, given as a cut-out), grey,
noise, and the placebo, a patch of the same person from the same place in another frame: it has the
edges of a paste and hides nothing.

None of it was seen in training. Objects are drawn by formulas of their own, in patterns that the
rendered set's props lack (slats, a helix, autumn leaves); persons are cut out of the test set,
whose identities are not the training set's. Grey alone resembles what random erasing writes: it is
there to compare with.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mmagga.attention.maps import projection
from mmagga.data.augment import MEAN
from mmagga.model.backbone import map_size
from mmagga.model.head import Head

OBJECTS = ("box", "pole", "bush")
TEXTURES = (*OBJECTS, "grey", "noise")
AREAS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of a frame that an occluder may cover."""
EDGE = 2
"""Pixels over which a paste fades in, so that no sharp edge gives it away."""

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""
Clip = TypeVar("Clip", np.ndarray, Tensor)


def random_box(size: tuple[int, int], area: float, generator: np.random.Generator) -> Box:
    """Draw a box that covers `area` of a frame of `size` (H, W), its place uniform.

    Its width is 50 to 100 % of the frame's, wider where the height would not suffice.
    """
    if not 0 < area <= 1:
        raise ValueError(f"an area is a share of the frame in (0, 1], not {area}")
    share = max(generator.uniform(0.5, 1), area)
    height = max(1, round(size[0] * area / share))
    width = max(1, round(size[1] * share))
    top, left = generator.random(2) * (size[0] - height + 1, size[1] - width + 1)
    return int(top), int(left), height, width


def random_frames(
    count: int, hit: int, generator: np.random.Generator, contiguous: bool | None = None
) -> list[int]:
    """Draw which `hit` of `count` frames are covered, ascending: in a row or scattered.

    None draws which of the two, with even chances.
    """
    in_a_row = generator.random() < 0.5
    start = int(generator.integers(count - hit + 1))
    scattered = sorted(generator.permutation(count)[:hit].tolist())
    if in_a_row if contiguous is None else contiguous:
        return list(range(start, start + hit))
    return scattered


def paste(
    clip: Clip,
    occluder: str | np.ndarray,
    frames: Sequence[int],
    box: Box,
    *,
    generator: np.random.Generator,
) -> tuple[Clip, np.ndarray]:
    """Paste an occluder onto some frames of a clip; the clip given stays as it is.

    Args:
        clip: (T, 3, H, W) or (T, H, W, 3) uint8, array or tensor.
        occluder: "box", "pole", "bush", "grey", "noise", "placebo", or a cut-out (h, w, 4) uint8,
            see `cut_out`; it is scaled to cover the box, and what stands over is cut off.
        frames: which of the T.
        box: where, in pixels.
        generator: for what is drawn at random; the occluder is the same in all frames, the noise
            and the placebo's source frame are not.

    Returns:
        The new clip, in the form it came in, and its mask (T, H, W) bool: what was covered.

    Raises:
        ValueError: an unknown occluder, a frame or box outside the clip, or a placebo for a clip
            of one frame.
    """
    pixels, channels_first = _channels_last(clip)
    _check_place(pixels.shape, frames, box)
    out, mask = pixels.copy(), np.zeros(pixels.shape[:3], bool)
    top, left, height, width = box
    place = slice(top, top + height), slice(left, left + width)
    if isinstance(occluder, str) and occluder in OBJECTS:
        occluder = texture(occluder, (height, width), generator)
    elif isinstance(occluder, np.ndarray):
        occluder = _fitted(occluder, (height, width), generator)
    for t in frames:
        patch = _patch(pixels, occluder, t, box, generator=generator)  # (h, w, 4)
        alpha = _faded(patch[..., 3], box, pixels.shape[1:3])
        below = pixels[t][place].astype(np.float32)
        blend = below + alpha[..., None] * (patch[..., :3].astype(np.float32) - below)
        out[t][place] = blend.round().astype(np.uint8)
        mask[t][place] = alpha >= 0.5
    out = out.transpose(0, 3, 1, 2) if channels_first else out
    if isinstance(clip, Tensor):
        return torch.from_numpy(np.ascontiguousarray(out)).to(clip.device), mask
    return out, mask


def _channels_last(clip: np.ndarray | Tensor) -> tuple[np.ndarray, bool]:
    pixels = clip.cpu().numpy() if isinstance(clip, Tensor) else clip
    if pixels.ndim != 4 or pixels.dtype != np.uint8 or 3 not in (pixels.shape[1], pixels.shape[3]):
        raise ValueError(
            "a clip to paste on is uint8 of shape (T, 3, H, W) or (T, H, W, 3); "
            f"got {pixels.dtype} {pixels.shape}"
        )
    channels_first = pixels.shape[1] == 3
    return (pixels.transpose(0, 2, 3, 1) if channels_first else pixels), channels_first


def _check_place(shape: tuple[int, ...], frames: Sequence[int], box: Box) -> None:
    top, left, height, width = box
    inside = (
        top >= 0
        and left >= 0
        and 0 < height <= shape[1] - top
        and 0 < width <= shape[2] - left
        and all(0 <= t < shape[0] for t in frames)
    )
    if not inside:
        raise ValueError(
            f"box {box} and frames {list(frames)} do not lie in a clip of {shape[0]} frames of "
            f"{shape[1]}x{shape[2]} pixels"
        )


def _patch(
    pixels: np.ndarray,
    occluder: str | np.ndarray,
    t: int,
    box: Box,
    *,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return what covers frame t: (h, w, 4) uint8, as large as the box."""
    top, left, height, width = box
    if isinstance(occluder, np.ndarray):
        return _as_bright(occluder, pixels[t])
    if occluder == "placebo":
        others = [s for s in range(len(pixels)) if s != t]
        if not others:
            raise ValueError("a placebo comes from another frame, and the clip has only one")
        source = pixels[others[generator.integers(len(others))]]
        return _opaque(source[top : top + height, left : left + width])
    return texture(occluder, (height, width), generator)


def _fitted(patch: np.ndarray, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Scale a cut-out to cover `size` (h, w), its shape kept, and draw which part is shown."""
    scale = max(side / of for side, of in zip(size, patch.shape))
    # The division may end a rounding error outside.
    across, down = min(size[1] / scale, patch.shape[1]), min(size[0] / scale, patch.shape[0])
    left, top = generator.random(2) * (patch.shape[1] - across, patch.shape[0] - down)
    part = (left, top, left + across, top + down)
    return np.array(Image.fromarray(patch).resize(size[::-1], Image.Resampling.BILINEAR, part))


def _as_bright(patch: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Scale a patch to the mean of a frame, at most twofold: brightness must not give it away."""
    solid = patch[..., :3][patch[..., 3] > 127]
    mean = solid.mean() if solid.size else frame.mean()
    gain = np.clip(frame.mean() / max(mean, 1.0), 0.5, 2.0)
    matched = (patch[..., :3] * gain).clip(0, 255).round().astype(np.uint8)
    return np.dstack([matched, patch[..., 3]])


def _faded(alpha: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """Fade a patch's alpha (h, w) at the box's edges, except where these are the frame's: 0..1."""
    top, left, height, width = box
    rows, columns = _ramp(top, height, size[0]), _ramp(left, width, size[1])
    return alpha.astype(np.float32) / 255 * np.minimum(rows[:, None], columns)


def _ramp(start: int, length: int, limit: int) -> np.ndarray:
    steps = np.arange(length) + 1
    rising = np.full(length, EDGE + 1) if start == 0 else steps
    falling = np.full(length, EDGE + 1) if start + length == limit else steps[::-1]
    return np.minimum(np.minimum(rising, falling) / (EDGE + 1), 1).astype(np.float32)


# --- what is pasted -----------------------------------------------------------------------------


def texture(kind: str, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Draw an object, grey or noise of `size` (h, w): (h, w, 4) uint8, the last its opacity."""
    h, w = size
    if kind == "grey":  # what random erasing leaves, as a colour
        return _opaque(np.broadcast_to(np.uint8(np.multiply(MEAN, 255).round()), (h, w, 3)))
    if kind == "noise":
        return _opaque(generator.integers(0, 256, (h, w, 3), dtype=np.uint8))
    if kind not in OBJECTS:
        raise ValueError(
            f"an occluder is one of {', '.join((*TEXTURES, 'placebo'))} or a cut-out, not {kind!r}"
        )
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    draw = {"box": _box, "pole": _pole, "bush": _bush}[kind]
    return draw(x / max(w - 1, 1), y / max(h - 1, 1), generator)


def _box(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw a crate of slats across, with a frame and a diagonal."""
    slats = generator.integers(4, 8)
    tone = generator.uniform(0.75, 1.1, slats)[np.minimum((y * slats).astype(int), slats - 1)]
    gap = np.abs(y * slats - np.round(y * slats)) < 0.08
    beam = (np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) < 0.1) | (abs(x - y) < 0.08)
    wood = np.array([generator.uniform(140, 200), generator.uniform(90, 140), 60])
    rgb = np.where(beam, 0.8, np.where(gap, 0.3, tone))[..., None] * wood  # (h, w, 3)
    return _opaque(rgb)


def _pole(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw a round column with a helix of two colours, lit from the side."""
    turns, lean = generator.integers(3, 7), generator.uniform(0.5, 1.5)
    band = np.floor(turns * y + lean * np.arcsin(2 * x - 1) / np.pi) % 2 > 0
    colours = generator.uniform(30, 240, (2, 3))
    light = 0.45 + 0.55 * np.sqrt(np.clip(1 - (2 * x - 0.7) ** 2 / 2, 0, 1))
    return _opaque(light[..., None] * np.where(band[..., None], colours[0], colours[1]))


def _bush(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw autumn leaves, discs over one another, with a ragged outline."""
    rgb, alpha = np.zeros((*x.shape, 3)), np.zeros(x.shape)
    for _ in range(120):
        cx, cy, r = *generator.uniform(0, 1, 2), generator.uniform(0.08, 0.16)
        leaf = (x - cx) ** 2 + (y - cy) ** 2 < r * r
        rgb[leaf] = np.array([190, 90, 30]) * generator.uniform(0.5, 1.3)
        alpha[leaf] = 255
    return np.dstack([rgb.clip(0, 255), alpha]).astype(np.uint8)


def _opaque(rgb: np.ndarray) -> np.ndarray:
    solid = np.full(rgb.shape[:2], 255)
    return np.dstack([np.clip(rgb, 0, 255), solid]).astype(np.uint8)


def cut_out(frame: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Cut a person out of a frame (H, W, 3): (h, w, 4) uint8, the last its opacity.

    `mask` (H, W) bool says where the person is; without one, or where it is empty, the middle of
    the frame is taken as a rectangle, 80 % high and 60 % wide.
    """
    if mask is None or not mask.any():
        h, w = frame.shape[:2]
        return _opaque(frame[h // 10 : h - h // 10, w // 5 : w - w // 5])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return np.dstack([frame[inside], np.uint8(255) * mask[inside]])


# --- who is covered -----------------------------------------------------------------------------


def token_shares(masks: np.ndarray | Tensor, head: Head) -> dict[str, Tensor]:
    """Return the share of each token's cells a mask covers: (B, T, P) a branch, "global" (B, T, 1).

    `masks` (B, T, H, W), bool or shares, are averaged over the feature map's positions, and these
    are weighed as the MMA matrices read them, see `maps.projection`.
    """
    covered = _shares(masks, head)
    size = map_size(*covered.shape[-2:])
    cells = F.adaptive_avg_pool2d(covered, size)  # (B, T, h, w)
    places: Mapping[str, Tensor] = projection(head, size)
    return {name: torch.einsum("bthw,khw->btk", cells, p) for name, p in places.items()}


def band_shares(masks: np.ndarray | Tensor, head: Head) -> dict[str, Tensor]:
    """Return which share of each token's nominal band a mask covers; shapes as `token_shares`.

    Part k of P is the k-th of P equal bands here, whatever MMA has learned to read: the same tokens
    for every network, so that networks can be compared token by token.
    """
    covered = _shares(masks, head)
    return {
        name: F.adaptive_avg_pool2d(covered, (rows, 1)).squeeze(3)  # (B, T, P)
        for name, (rows, _) in head.grids.items()
    }


def _shares(masks: np.ndarray | Tensor, head: Head) -> Tensor:
    return torch.as_tensor(masks, device=head.bnneck.weight.device).float()
