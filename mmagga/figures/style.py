"""One look for every picture, and the few shapes that many of them share.

Colours are Okabe and Ito's, which the colour-blind can tell apart; right and wrong are marked by
a tick and a cross as well.
"""

from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mmagga.system.files import write_csv

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
]
COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, RED, BLACK)
GREY = "#6B6B6B"
_MANY_COLOURS = 1 << 15
"""More than any drawing has, fewer than photographs have."""
STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=COLOURS),
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,
}

# Load the backend now: loaded by the first figure, inside `rc_context`, a notebook's would lose
# its interactive mode with the context, and every later figure would not be shown.
plt.switch_backend(plt.get_backend())


def save(
    figure: Figure,
    path: Path,
    numbers: pd.DataFrame | None = None,
    *,
    dpi: int = 90,
    faint: bool = False,
) -> Path:
    """Write a figure as a PNG of 256 colours, a third of the size; the same bytes every time.

    `numbers` go into a CSV file beside it, with six significant digits. `faint` keeps all colours,
    for maps whose differences are in pale ones.
    """
    if numbers is not None:
        write_csv(path.with_suffix(".csv"), numbers, digits=6)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi)
    picture = Image.open(buffer).convert("RGB")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not faint:
        picture = _of_256_colours(picture)
    picture.save(path, optimize=True)
    return path


def _of_256_colours(picture: Image.Image) -> Image.Image:
    """Choose 256 colours by all pixels, or, where photographs have very many, by a seventh of them.

    Maximum coverage keeps a rare colour, such as that of a bag, which median cut would lose, and
    diagonals cross every line. With the whole of a photograph it takes seven times as long and is
    hardly nearer.
    """
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
    if picture.getcolors(_MANY_COLOURS):
        return picture.quantize(256, method, kmeans=1, dither=dither)
    pixels = np.asarray(picture)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    some = Image.fromarray(pixels[None, (rows + columns) % 7 == 0])
    palette = some.quantize(256, method, kmeans=1, dither=dither)
    return picture.quantize(palette=palette, dither=dither)


def strip(frames: np.ndarray, gap: int = 2, columns: int | None = None) -> np.ndarray:
    """Join (n, H, W, 3) bytes to one white-gapped row, wide enough for `columns` frames."""
    n, h, w, _ = frames.shape
    row = np.full((h, (columns or n) * (w + gap) - gap, 3), 255, np.uint8)
    for i, frame in enumerate(frames):
        row[:, i * (w + gap) : i * (w + gap) + w] = frame
    return row


def show_picture(
    axes: Axes, image: np.ndarray, title: str | None = None, **options: object
) -> None:
    """Draw pixels as they are, without ticks or spines."""
    axes.imshow(image, interpolation="nearest", aspect="equal", **options)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title)


def mark_match(axes: Axes, match: bool | None) -> None:
    """Frame a picture: green with a tick, red with a cross, grey with a question mark (None)."""
    colour, sign = {True: (GREEN, "✓"), False: (RED, "✗"), None: (GREY, "?")}[match]
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour, linewidth=3)
    axes.text(
        0.95, 0.02, sign, transform=axes.transAxes, ha="right", va="bottom",
        color="white", fontsize=11, fontweight="bold", family="DejaVu Sans",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
