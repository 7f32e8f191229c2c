"""The built-in data set: rendered people walk past rendered cameras, and masks say what is where.

    from mmagga.data.synthetic import render
    render("data/synthetic-demo", "demo")     # a minute on two cores, then read it like MARS

Everything follows from one seed. People are three-dimensional skeletons dressed in textured solids
(`walk`, `garments`, `figure`), cameras are pinholes before scenes in true perspective (`cameras`,
`scenes`, `props`), `paint` puts both on a canvas, `plan` says who is filmed where, `film` films it
and `layout` writes it down. Arithmetic is kept to what IEEE 754 fixes to the bit, so the pixels are
the same on every machine and for any number of workers.
"""

from mmagga.data.synthetic.film import render_tracklet
from mmagga.data.synthetic.labels import LABELS, OCCLUDER, PALETTE, read_masks
from mmagga.data.synthetic.layout import render, verify
from mmagga.data.synthetic.plan import PRESETS, SyntheticSpec, TrackletPlan, plans
from mmagga.data.synthetic.tables import RENDERER

__all__ = [
    "LABELS",
    "OCCLUDER",
    "PALETTE",
    "PRESETS",
    "RENDERER",
    "SyntheticSpec",
    "TrackletPlan",
    "plans",
    "read_masks",
    "render",
    "render_tracklet",
    "verify",
]
