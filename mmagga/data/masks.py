"""What the pixels of a mask mean, and where the masks of a tracklet are."""

import numpy as np
from PIL import Image

from mmagga.data.tracklets import Tracklets
from mmagga.errors import DataError

BACKGROUND, OCCLUDER, HEAD, TORSO, ARMS, LEGS, BAG, SHOES = range(8)

LABELS = {
    BACKGROUND: "background",
    OCCLUDER: "occluder",
    HEAD: "head",
    TORSO: "torso",
    ARMS: "arms",
    LEGS: "legs",
    BAG: "bag",
    SHOES: "shoes",
}
"""Label in a mask image -> what it marks. Everything from `HEAD` on is the person."""

PALETTE = {
    BACKGROUND: (24, 26, 32),
    OCCLUDER: (229, 57, 53),
    HEAD: (255, 202, 40),
    TORSO: (38, 166, 154),
    ARMS: (126, 87, 194),
    LEGS: (66, 133, 244),
    BAG: (255, 112, 67),
    SHOES: (174, 213, 129),
}
"""Label -> colour, for the palette of the mask images."""


def has_masks(tracklets: Tracklets) -> bool:
    """Whether the data set was rendered with masks; folders of this name by others do not count."""
    return is_rendered(tracklets) and (tracklets.root / "masks").is_dir()


def is_rendered(tracklets: Tracklets) -> bool:
    """Return whether the kit rendered the data set, so that its clips can be filmed again."""
    return (tracklets.root / "info" / "dataset.json").is_file()


def read_masks(tracklets: Tracklets, row: int) -> np.ndarray:
    """Read the masks of tracklet `row` of a rendered set: (T, H, W) uint8 of `LABELS`.

    Raises DataError where one is missing or damaged.
    """
    files = (path.relative_to(tracklets.root) for path in tracklets.frames(row))
    paths = [tracklets.root / "masks" / f.with_suffix(".png") for f in files]
    try:
        return np.stack([np.asarray(Image.open(path)) for path in paths])
    except (OSError, ValueError) as error:
        raise DataError(
            f"the masks in {paths[0].parent} cannot be read ({error}): render the data set again"
        ) from error


def resize_masks(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring masks (T, H, W, ...) to (height, width) by their nearest pixels."""
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, masks.shape[1:3]))
    return masks[:, rows][:, :, columns]
