"""Agreement of attribution maps with the measured importance of parts of a rendered person.

A part (bag, hair, the upper or lower garment's colour) is rendered away, all other pixels the same;
the loss of similarity to the person's other tracklets is the importance of the part. The score of a
map is Spearman's correlation between its brightness on the parts of a clip and their importance.
Maps of random blocks score 0.
"""

from contextlib import suppress
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from mmagga.attention.battery.clips import Sample
from mmagga.attention.battery.filmed import FilmedClip, filmed_clips
from mmagga.attention.battery.measures import rank_correlation
from mmagga.attention.battery.observe import one_clip
from mmagga.attention.battery.pooling import clip_values
from mmagga.attention.cam import occlusion_map, similarity_cam
from mmagga.attention.maps import contributions, look_at_maps, project, relative_maps
from mmagga.data.synthetic.plan import PARTS
from mmagga.data.tracklets import spread
from mmagga.model.networks import ClipModel
from mmagga.system.progress import progress

MEASURE = "rank with what parts are worth"
WORTH = "worth of a part"
BLOCKS = 32
"""Side in pixels of the blocks that the occlusion map covers."""
RANDOM_MAPS = 20
LEAST = 30
"""Pixels of a clip that a part must have to count."""


class PartMaterial(NamedTuple):
    """Some clips without each of `PARTS`."""

    rows: list[int]
    """Of the sample."""
    clips: list[dict[str, FilmedClip]]
    """By part: "occluded" is the clip with it, "clean" the one without."""


def part_material(sample: Sample, limit: int) -> PartMaterial:
    """Render at most `limit` clips of a rendered data set without each of `PARTS`."""
    rows: list[int] = []
    if sample.filmed is not None and limit:
        rows = spread(len(sample), min(limit, len(sample)))
    some = sample.tracklets.subset(np.array(rows, int))
    rendered = filmed_clips(some, sample.frames, sample.size, without=PARTS) if rows else []
    clips = [
        {part: rendered[i * len(rows) + k] for i, part in enumerate(PARTS)}
        for k in range(len(rows))
    ]
    return PartMaterial(rows, clips)


def part_values(
    model: ClipModel,
    material: PartMaterial,
    aims: Tensor,
    *,
    seed: int = 0,
    batch: int = 32,
) -> list[pd.DataFrame]:
    """Compare what parts are worth with what maps say of them.

    Args:
        model: in evaluation mode.
        material: the clips.
        aims: (Q, D) unit vectors that each clip of the sample should resemble.
        seed: of the random maps.
        batch: frames in the backbone at once.

    Returns:
        One value per clip, of each map (in the column "branch") and of each part.
    """
    ranks: dict[str, list[float]] = {}
    worths: dict[str, list[float]] = {part: [] for part in PARTS}
    for row, clip in zip(material.rows, progress(material.clips, desc="maps")):
        aim = aims[row]
        worth, where = _worth(model, clip, aim)
        for part in PARTS:
            worths[part].append(worth.get(part, np.nan))
        maps = _maps(model, one_clip(model, clip[PARTS[0]].occluded), aim, batch)
        rng = np.random.default_rng([seed, len(worths[PARTS[0]])])
        found = {name: _agreement(values, where, worth) for name, values in maps.items()}
        shape = next(iter(maps.values())).shape
        found["random blocks"] = float(
            np.mean([_agreement(_blocks(shape, rng), where, worth) for _ in range(RANDOM_MAPS)])
        )
        for name, value in found.items():
            ranks.setdefault(name, []).append(value)
    rows = [clip_values(MEASURE, name, "none", np.array(found)) for name, found in ranks.items()]
    rows += [clip_values(WORTH, "all", part, np.array(found)) for part, found in worths.items()]
    return [frame.assign(clip_row=np.array(material.rows)) for frame in rows if len(frame)]


@torch.inference_mode()
def _worth(
    model: ClipModel, clip: dict[str, FilmedClip], aim: Tensor
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return what each part that is there is worth, and where it is: (T, H, W) bool."""
    there = [part for part in PARTS if clip[part].changed.sum() >= LEAST]
    clips = [clip[PARTS[0]].occluded, *(clip[part].clean for part in there)]
    pixels = torch.cat([one_clip(model, one) for one in clips])  # (1 + parts, T, 3, H, W)
    similarity = F.normalize(model(pixels).embedding) @ aim.to(pixels)  # (1 + parts,)
    loss = (similarity[0] - similarity[1:]).double().cpu().numpy()  # (parts,)
    return dict(zip(there, loss)), {part: clip[part].changed for part in there}


def _maps(model: ClipModel, pixels: Tensor, aim: Tensor, batch: int) -> dict[str, np.ndarray]:
    """Return all maps of a clip: (T, rows, columns) each."""
    aim = aim.to(pixels)
    with torch.inference_mode():
        maps = model.maps(pixels)
        seen, size = look_at_maps(model.head, maps), tuple(maps.shape[-2:])
        found = {
            f"weights {name}": values
            for name, values in relative_maps(seen.attention, model.head, size).items()
        }
        parts = contributions(seen, aim, model.head, centred=True).parts
        found["contributions"] = sum(project(parts, model.head, size).values())
    with suppress(ModuleNotFoundError):  # where the grad-cam package is left out, so is its map
        found["Grad-CAM"] = similarity_cam(model, pixels, aim)
    found["occlusion referee"] = occlusion_map(model, pixels, aim, block=BLOCKS, batch=batch)
    return {name: values[0].double().cpu().numpy() for name, values in found.items()}


def _agreement(values: np.ndarray, where: dict[str, np.ndarray], worth: dict[str, float]) -> float:
    """Correlate what parts are worth with a map's mean on them, by ranks; NaN below three parts."""
    if len(where) < 3:
        return np.nan
    means = [_mean_on(values, mask) for mask in where.values()]
    found = rank_correlation(np.array([means]), np.array([[worth[part] for part in where]]))
    return float(found[0])


def _mean_on(values: np.ndarray, mask: np.ndarray) -> float:
    """Average a map (T, h, w) over a mask (T, H, W) bool."""
    shares = F.adaptive_avg_pool2d(torch.from_numpy(mask).double(), values.shape[1:]).numpy()
    return float((values * shares).sum() / shares.sum())


def _blocks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw a map of random blocks, two rows of positions high and as wide as the image."""
    t, h, _ = shape
    rows = rng.standard_normal((t, -(-h // 2), 1)).repeat(2, 1)[:, :h]  # (t, h, 1)
    return np.broadcast_to(rows, shape)
