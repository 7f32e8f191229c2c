"""The built-in data set: rendered people walk past rendered cameras, and masks say what is where.

    from mmagga.data.synthetic import render
    render("data/synthetic-demo", "demo")     # a minute on two cores, then read it like MARS
    render("data/synthetic-prid", "demo", layout="prid2011")   # or like one of three others

Everything follows from one seed. People are three-dimensional skeletons dressed in textured solids
(`walk`, `garments`, `figure`), cameras are pinholes before scenes in true perspective (`cameras`,
`scenes`, `props`), `paint` puts both on a canvas, `plan` says who is filmed where, `film` films it
and `writing` writes it down, under the names that `layouts` has for each kind of set. Arithmetic is
kept to what IEEE 754 fixes to the bit, so the pixels are the same on every machine and for any
number of workers.
"""

from mmagga.data.masks import LABELS, OCCLUDER, PALETTE, read_masks
from mmagga.data.synthetic.counterfactuals import (
    Counterfactual,
    counterfactual,
    tracklet_counterfactual,
)
from mmagga.data.synthetic.film import render_tracklet
from mmagga.data.synthetic.layouts import LAYOUTS
from mmagga.data.synthetic.plan import PRESETS, SyntheticSpec, TrackletPlan, plans
from mmagga.data.synthetic.tables import RENDERER
from mmagga.data.synthetic.writing import render, verify

__all__ = [
    "LABELS",
    "LAYOUTS",
    "OCCLUDER",
    "PALETTE",
    "PRESETS",
    "RENDERER",
    "Counterfactual",
    "SyntheticSpec",
    "TrackletPlan",
    "counterfactual",
    "plans",
    "read_masks",
    "render",
    "render_tracklet",
    "tracklet_counterfactual",
    "verify",
]
