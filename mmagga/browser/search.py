"""From words to a tracklet: the field "go to" of the browser."""

import re

import numpy as np

from mmagga.browser.state import BrowserState


def look_up(state: BrowserState, words: str) -> tuple[int | None, str]:
    """Return the row of the tracklet that some words name, a query if there is one, and a note.

    The words are the number of a person or track ("12", "person 12" or "track 12"), or part of the
    name of a file or folder.
    """
    words = words.strip()
    number = re.fullmatch(r"(person|track|)\s*(\d+)", words, re.IGNORECASE)
    names = [str(state.all.names[first]) for first in state.all.table["first"]]
    rows = np.array([], int)
    if number and number[1].lower() != "track":
        rows = np.flatnonzero((state.all.pids == int(number[2])) & state.named)
    if number and not len(rows):
        track = re.compile(rf"_t0*{int(number[2])}_")
        rows = np.array([row for row, name in enumerate(names) if track.search(name)], int)
    elif not number:
        rows = _containing(state, words)
    if not len(rows):
        return None, f"nothing here is named {words!r}"
    queries = rows[rows >= state.first_query]
    row = int(queries[0] if len(queries) else rows[0])
    kind = "query" if len(queries) else "in the gallery, beside the query"
    return row, f"{len(rows)} found; {kind}"


def _containing(state: BrowserState, words: str) -> np.ndarray:
    """Return the rows of tracklets of which any frame's name holds the words."""
    frames = np.flatnonzero([words.lower() in str(name).lower() for name in state.all.names])
    first = state.all.table["first"].to_numpy()
    before, until = (np.searchsorted(frames, edge) for edge in (first, first + state.all.lengths))
    return np.flatnonzero(until > before)
