"""The embeddings laid out on a page whose points open their tracklets."""

import numpy as np
from PIL import Image

from mmagga.browser.paint import WIDTH, Spot, canvas, text
from mmagga.browser.state import BrowserState
from mmagga.browser.view import describe
from mmagga.figures.style import BLACK, GREY
from mmagga.retrieval import Embeddings, project

_HEIGHT, _MARGIN, _DOT = 420, 16, 5


def embedding_map(state: BrowserState, query_row: int | None) -> tuple[Image.Image, list[Spot]]:
    """Draw the tracklets of the persons with most of them, by t-SNE, a colour a person.

    Queries are squares. A spot's `what` is the tracklet's row; the one of `query_row` is ringed.
    """
    import torch
    from matplotlib import colormaps

    pids = torch.tensor(np.where(state.named, state.all.pids, 0))
    if len(np.unique(pids[pids > 0])) < 2:  # nobody is named: every track is a person of its own
        pids = torch.tensor(state.all.pids)
    points = project(Embeddings(state.vectors, pids, torch.tensor(state.all.camids)))
    place = points[["tsne_x", "tsne_y"]].to_numpy()
    place = (place - place.min(0)) / np.maximum(np.ptp(place, axis=0), 1e-9)
    room = np.array([WIDTH, _HEIGHT]) - 2 * _MARGIN
    image, draw = canvas(_HEIGHT + 18)
    colours = {pid: k for k, pid in enumerate(sorted(set(points["pid"])))}
    spots = []
    for (x, y), row, pid in zip(place * room + _MARGIN, points["row"], points["pid"], strict=True):
        share = colormaps["tab20"](colours[pid] % 20)
        colour = tuple(int(255 * c) for c in share[:3])
        box = (x - _DOT, y - _DOT, x + _DOT, y + _DOT)
        (draw.rectangle if row >= state.first_query else draw.ellipse)(box, fill=colour)
        if row == query_row:
            draw.ellipse((x - 10, y - 10, x + 10, y + 10), outline=BLACK, width=2)
        corner = (x - _DOT - 1, y - _DOT - 1, 2 * _DOT + 2, 2 * _DOT + 2)
        spots.append(Spot(corner, describe(state, int(row)), what=int(row)))
    perplexity = points.attrs["perplexity"]
    words = (
        f"t-SNE of {len(points)} tracklets of {len(colours)} persons, perplexity {perplexity:.3g}; "
        "squares are queries, a colour is a person. To look at, not evidence."
    )
    text(draw, (0, _HEIGHT), words, 11, colour=GREY, width=WIDTH)
    return image, spots
