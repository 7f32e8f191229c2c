"""MMA-GGA for video person re-identification: data, model, training, evaluation, attention.

Begin with `mmagga.config`, `mmagga.data.load_tracklets`, `mmagga.training.train` and
`mmagga.retrieval.evaluate`; the notebooks walk through them in this order.
"""

__version__ = "0.2.0"
