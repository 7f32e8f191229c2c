"""What the network looks at: maps, Grad-CAM and occlusion maps."""

from mmagga.attention.cam import occlusion_map, similarity_cam
from mmagga.attention.maps import (
    Contribution,
    Look,
    contributions,
    heatmaps,
    look,
    repeats,
    tracklet_contributions,
)

__all__ = [
    "Contribution",
    "Look",
    "contributions",
    "heatmaps",
    "look",
    "occlusion_map",
    "repeats",
    "similarity_cam",
    "tracklet_contributions",
]
