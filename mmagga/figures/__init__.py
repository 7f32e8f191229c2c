"""Every picture of the kit: arrays and tables in, a figure out; nothing is computed here."""

from mmagga.figures.data import batch_sheet, dataset_figure, describe, mask_sheet, tracklet_sheet
from mmagga.figures.retrieval import cmc_figure, rank_sheet, searched_tracklets
from mmagga.figures.style import save, spread, strip
from mmagga.figures.training import learning_curves, matrices_figure

__all__ = [
    "batch_sheet",
    "cmc_figure",
    "dataset_figure",
    "describe",
    "learning_curves",
    "mask_sheet",
    "matrices_figure",
    "rank_sheet",
    "save",
    "searched_tracklets",
    "spread",
    "strip",
    "tracklet_sheet",
]
