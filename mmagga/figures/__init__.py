"""Every picture of the kit: arrays and tables in, a figure out; nothing is computed here."""

from mmagga.figures.ablations import ablation_figure, curves_figure
from mmagga.figures.attention import attention_sheet
from mmagga.figures.battery import forest_figure, harm_figure, robustness_figure
from mmagga.figures.data import batch_sheet, dataset_figure, mask_sheet, tracklet_sheet
from mmagga.figures.evaluation import (
    camera_figure,
    cmc_band_figure,
    cost_figure,
    distance_figure,
    embedding_figure,
)
from mmagga.figures.health import dead_units_figure, health_figure
from mmagga.figures.retrieval import rank_sheet
from mmagga.figures.study import attention_study_figure, parts_figure
from mmagga.figures.style import save, strip
from mmagga.figures.training import learning_curves, matrices_figure
from mmagga.figures.weights import frame_weights_figure, time_ridge, weight_statistics_figure

__all__ = [
    "ablation_figure",
    "attention_sheet",
    "attention_study_figure",
    "batch_sheet",
    "camera_figure",
    "cmc_band_figure",
    "cost_figure",
    "curves_figure",
    "dataset_figure",
    "dead_units_figure",
    "distance_figure",
    "embedding_figure",
    "forest_figure",
    "frame_weights_figure",
    "harm_figure",
    "health_figure",
    "learning_curves",
    "mask_sheet",
    "matrices_figure",
    "parts_figure",
    "rank_sheet",
    "robustness_figure",
    "save",
    "strip",
    "time_ridge",
    "tracklet_sheet",
    "weight_statistics_figure",
]
