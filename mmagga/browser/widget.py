"""The widget: what a change of one of the controls does. Everything else is elsewhere.

Text that comes from the data goes into Labels, Buttons and text nodes, which show it as it is: a
file whose name looks like HTML is a file with a strange name. Errors go into the status line.
"""

import asyncio
import os
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets import Button

from mmagga.browser.controls import TOP, Panel
from mmagga.browser.embedding_map import embedding_map
from mmagga.browser.paint import Spot, png
from mmagga.browser.render import MARKS, beside, paste_grid, stack
from mmagga.browser.search import look_up
from mmagga.browser.state import BrowserState, Reweighting
from mmagga.browser.view import Brush, Settings, View, compose, describe, marks, tile, who
from mmagga.data.tracklets import Tracklets
from mmagga.retrieval.queries import FILTERS, RULES, ordered
from mmagga.runs.run import Run
from mmagga.system.files import commit

_OPTIONS = {
    "split": "split", "rule": "rule", "show": "show", "clip": "clip", "other_clip": "other_clip",
    "frame": "frame", "map": "kind", "part": "part", "opacity": "opacity", "weights": "swap",
    "temperature": "temperature", "cover": "occluder", "every": "every", "both": "both",
}  # fmt: skip
"""Options of the constructor that are controls: the control's name."""


def reported(method: Callable) -> Callable:
    """Show an error in the status line instead of losing it in the kernel's log."""

    @wraps(method)
    def wrapper(self: "AttentionBrowser", *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.trace = traceback.format_exc()
            self.status.value = f"{type(error).__name__}: {error}"

    return wrapper


class AttentionBrowser(Panel):
    """Look at what a run looks at: queries, rank lists, pairs, other weights and a brush.

    Opening embeds the test split, unless the run folder has its embeddings already. After that a
    step is quick, except for the first look at a tracklet. `call` shows the line of Python that
    opens the view as it is now.

    Args:
        run: an MMA-GGA run, or its folder. A baseline has no attention, and the widget says so.
        tracklets: the data set; by default read from where the run's configuration has it.
        other: a second run on the same data, to see where the two differ most.
        rule: which query comes first, a value of `queries.RULES`.
        seed: of the random order.
        exports: folder of saved pictures; by default `browser` in the run's folder.
        query: the query to open, numbered from 0 in the data set's order; by default the first
            of the rule.
        pick: row of the tracklet beside it, as in the rank list; by default the first found.
        box: left, top, width and height of the covered rectangle, as shares of the frame.
        view: what the other controls are set to: split, show, clip, other_clip, frame (from 1),
            map (a value of `view.KINDS`), part, opacity, weights (a value of `controls.SWAPS`),
            temperature, both, cover (one of `view.OCCLUDERS`), every.

    Raises:
        TypeError: an unknown option.
        ValueError: a query that does not exist.
    """

    def __init__(
        self,
        run: Run | Path | str,
        tracklets: Tracklets | None = None,
        *,
        other: Run | Path | str | None = None,
        rule: str = "worst",
        seed: int = 0,
        exports: Path | str | None = None,
        query: int | None = None,
        pick: int | None = None,
        box: tuple[float, float, float, float] | None = None,
        **view: Any,
    ) -> None:
        super().__init__()
        unknown = sorted(set(view) - set(_OPTIONS))
        if unknown:
            raise TypeError(f"no option is named {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
        self.run, self.other = _run(run), other and _run(other)
        self.seed, self.trace = seed, ""
        self.exports = Path(exports or self.run.folder / "browser")
        self._tracklets, self._quiet_now = tracklets, False
        try:
            self.states = {"test": BrowserState(self.run, tracklets)}
        except ValueError as error:  # a network without attention
            self.children = [self.status]
            self.status.value = f"Nothing to browse: {error}"
            return
        self.state = self.states["test"]
        self._others: dict[str, pd.DataFrame] = {}
        self._shown: dict[int, tuple] = {}
        self._loading: Iterator[float] | None = None
        self.rows: list[int] = []
        rules = {text: name for text, name in RULES.items() if self._answers(name)}
        self.fill(
            self.state, rules, rule, f"{self.run.folder.name} · checkpoint {self.state.checkpoint}"
        )
        self._defaults = {name: self._control(name).value for name in _OPTIONS}
        self._observe()
        self._open(query, pick, box, view)

    def _answers(self, rule: str) -> bool:
        """Whether this data set and these runs have what a rule goes by."""
        if rule == "occluded":
            return self.state.has_masks
        return rule != "change" or self.other is not None

    def _control(self, option: str) -> Any:
        return getattr(self, _OPTIONS[option])

    def _open(
        self, query: int | None, pick: int | None, box: tuple[float, ...] | None,
        view: dict[str, Any],
    ) -> None:  # fmt: skip
        """Set the controls to a view, and show it."""
        first = {name: view.pop(name) for name in ("split", "show") if name in view}
        self.split.value = first.get("split", "test")
        with self._quiet():
            self.show.value = first.get("show", "all")
        self._reorder()
        if query is not None:
            self._go_to_query(query)
        with self._quiet():
            if box is not None:
                self._set_box(box)
            for name in [n for n in _OPTIONS if n in view and "clip" not in n]:
                self._control(name).value = view[name]
        if self.both.value:
            for _ in self.state.load_gallery():
                pass
        self.pick = pick
        self._redraw()
        if "clip" in view or "other_clip" in view:  # they reach as far as the tracklets
            with self._quiet():
                self.clip.value = view.get("clip", 1)
                self.other_clip.value = view.get("other_clip", 1)
            self._redraw()

    def _observe(self) -> None:
        for control in (self.rule, self.show):
            control.observe(self._reorder, "value")
        self.split.observe(self._resplit, "value")
        self.query.observe(self._requery, "value")
        self.goto.observe(self._go, "value")
        self.both.observe(self._gallery_too, "value")
        self.occluder.observe(self._cover, "value")
        for control in (self.clip, self.other_clip, self.frame, self.kind, self.part, self.opacity,
                        self.swap, self.temperature, self.every, *self.place.values()):  # fmt: skip
            control.observe(self._redraw, "value")
        for k, (picture, button) in enumerate(zip(self.tiles, self.hits, strict=True)):
            button.on_click(partial(self._choose, k))
            picture.picked = partial(self._choose, k)
        self.pair.picked = self.touch.picked = self._click
        self.pair.dragged = self.touch.dragged = self._drag
        self.map.picked = self._jump
        self.export.on_click(self._save)
        self.draw_map.on_click(self._draw_map)
        self.stop.on_click(self._stop)

    # --- which query ----------------------------------------------------------------------------

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Set several controls, and answer once."""
        before, self._quiet_now = self._quiet_now, True
        try:
            yield
        finally:
            self._quiet_now = before

    @reported
    def _resplit(self, change: Any) -> None:
        name = self.split.value
        self._stop()
        if name not in self.states:
            self.status.value = "embedding the training persons …"
            self.states[name] = BrowserState(self.run, self._tracklets, name)
        self.state = self.states[name]
        with self._quiet():
            self.show.value = "all"
            self.both.value = False
            self.both.disabled = not self.state.holds_gallery
        self.map.show(b"", "")
        self._reorder()

    @reported
    def _reorder(self, change: Any = None) -> None:
        if self._quiet_now:
            return
        state, rule = self.state, self.rule.value
        if rule == "occluded":
            self.status.value = "reading masks …"
        self.order = ordered(
            state.per_query, rule, show=self.show.value, seed=self.seed,
            occluded=state.occluded if rule == "occluded" else None,
            other=self._theirs() if rule == "change" else None,
        )  # fmt: skip
        with self._quiet():
            self.query.value, self.query.max = 1, max(1, len(self.order))
        self._requery()

    @reported
    def _requery(self, change: Any = None) -> None:
        if self._quiet_now:
            return
        self.pick = None
        if not len(self.order):
            self._show_nothing()
            return
        seen = self.state.seen(self.state.first_query + int(self.order[self.query.value - 1]))
        with self._quiet():
            self.clip.value = self.other_clip.value = 1
            self.clip.max = len(seen.frames)
        self._redraw()

    def _show_nothing(self) -> None:
        """Empty the view where no query passes the filter, and say so beside the filter."""
        name = next(text for text, value in FILTERS.items() if value == self.show.value)
        self.nothing.value = f"No query: {name}"
        for box in (self.rank_list, self.main):
            box.layout.visibility = "hidden"
        self.about.value = self.result.value = self.call.value = self.status.value = ""

    @reported
    def _go(self, change: Any) -> None:
        """Open what the field "go to" names; a gallery tracklet comes beside the query."""
        if not self.goto.value.strip():
            self.where.value = ""
            return
        row, self.where.value = look_up(self.state, self.goto.value)
        if row is not None:
            self._jump(row)

    @reported
    def _jump(self, row: int) -> None:
        """Open a tracklet: a query as the query, another beside it."""
        query = row - self.state.first_query
        if query >= 0:
            self._go_to_query(query)
        elif len(self.order):
            self._beside(row)

    def _go_to_query(self, query: int) -> None:
        place = np.flatnonzero(self.order == query)
        if not len(place):
            if not 0 <= query < len(self.state.per_query):
                raise ValueError(
                    f"there are {len(self.state.per_query)} queries, numbered from 0; "
                    f"{query} is none of them"
                )
            self.show.value = "all"  # the filter hides it
            place = np.flatnonzero(self.order == query)
        self.query.value = int(place[0]) + 1

    # --- what a change does ---------------------------------------------------------------------

    @reported
    def _choose(self, k: int, _: Any = None) -> None:
        self._beside(self.rows[k])

    def _beside(self, row: int) -> None:
        """Put a tracklet beside the query."""
        self.pick = row
        with self._quiet():
            self.other_clip.value = 1
        self._redraw()

    @reported
    def _click(self, what: Any) -> None:
        """Choose the frame that was clicked."""
        if what[0] == "frame":
            self.frame.value = what[1] + 1

    @reported
    def _drag(self, what: Any, box: tuple[float, ...]) -> None:
        """Cover the rectangle that was dragged, with a box if nothing else is chosen."""
        with self._quiet():
            if what[0] == "frame":
                self.frame.value = what[1] + 1
            self.occluder.value = self.occluder.value or "box"
            self._set_box(box)
        self._redraw()

    def _set_box(self, box: tuple[float, ...]) -> None:
        for name, share in zip(("left", "top", "width", "height"), box, strict=True):
            self.place[name].value = round(share, 2)

    @reported
    def _cover(self, change: Any) -> None:
        """Start with a whole person where the rectangle is still as it was at first."""
        places = {name: slider.value for name, slider in self.place.items()}
        default = {name: getattr(Brush(), name) for name in places}
        if change["new"] == "person" and places == default and not self._quiet_now:
            with self._quiet():
                self._set_box((0.3, 0.1, 0.7, 0.9))
        self._redraw()

    @reported
    def _gallery_too(self, change: Any) -> None:
        """Look at the gallery, a tracklet at a time between which a click on Stop is heard."""
        if self._quiet_now:
            return
        if not self.both.value:
            self._stop()
            self._redraw()
            return
        self._loading = self.state.load_gallery()
        self._show_progress(0.0)
        try:
            asyncio.get_running_loop().create_task(self._load())
        except RuntimeError:  # no kernel: nobody can click
            for share in self._loading:
                self._show_progress(share)
            self._loaded()

    async def _load(self) -> None:
        loading = self._loading
        try:
            for share in loading:
                self._show_progress(share)
                await asyncio.sleep(0.01)
                if self._loading is not loading:
                    return
            self._loaded()
        except Exception as error:
            self.trace = traceback.format_exc()
            self._stop()
            self.status.value = f"{type(error).__name__}: {error}"

    def _loaded(self) -> None:
        self._loading = None
        self._show_progress(None)
        self._redraw()

    def _show_progress(self, share: float | None) -> None:
        """Show the share of the gallery that was looked at; None when there is nothing to show."""
        for control in (self.progress, self.stop):
            control.layout.display = "none" if share is None else None
        self.progress.value = round(1000 * (share or 0))

    @reported
    def _stop(self, button: Button | None = None) -> None:
        """Stop looking at the gallery; what was looked at is kept."""
        if self._loading is None:
            return
        self._loading = None
        self._show_progress(None)
        with self._quiet():
            self.both.value = False

    @reported
    def _redraw(self, change: Any = None) -> None:
        if self._quiet_now or not len(self.order):
            return
        forwards = self.state.forwards
        if self.kind.value in ("gradcam", "occlusion"):
            self.status.value = "computing …"
        self.view = compose(self.state, self.settings)
        self.pick = self.view.pick
        with self._quiet():
            self.other_clip.max = len(self.state.seen(self.pick).frames)
        self._show(self.view)
        new = self.state.forwards - forwards
        self.status.value = f"{new} clips went through the network" if new else "from memory"

    # --- what is shown --------------------------------------------------------------------------

    def _show(self, view: View) -> None:
        query = self.settings.query
        self.nothing.value = ""
        for box in (self.rank_list, self.main):
            box.layout.visibility = "visible"
        self.about.value = (
            f"Query {self.query.value} of {len(self.order)}, number {query}: {view.query}"
        )
        self.result.value = view.result
        self._show_rank_list(view)
        self.pair.show(png(view.pair.image), view.summary, view.pair.spots)
        self.touch.show(png(view.touch.image), self._brush_words(), view.touch.spots)
        self.call.value = self.line

    def _brush_words(self) -> str:
        covered = f"covered with {self.occluder.value}" if self.occluder.value else "not covered"
        return f"Frame {self.frame.value} of the query, {covered}, and the weights of its bands"

    def _show_rank_list(self, view: View) -> None:
        """Show the first ten, and the first match after them if it is not among them."""
        found = view.found
        rows, ranks = [int(row) for row in found.rows], list(range(1, len(found.rows) + 1))
        distances = [float(distance) for distance in found.distances]
        if found.first is not None and found.first > TOP:
            rows.append(found.first_row)
            ranks.append(found.first)
            distances.append(found.first_distance)
        self.rows = rows
        query_row = self.state.first_query + self.settings.query
        known = marks(self.state, query_row, np.array(rows))
        for k, button in enumerate(self.hits):
            there = k < len(rows)
            for widget in (self.tiles[k], button):
                widget.layout.visibility = "visible" if there else "hidden"
            if there:
                self._show_hit(
                    k,
                    rank=ranks[k],
                    row=rows[k],
                    distance=distances[k],
                    match=known[k],
                    chosen=rows[k] == view.pick,
                )

    def _show_hit(
        self, k: int, *, rank: int, row: int, distance: float, match: bool | None, chosen: bool
    ) -> None:
        words = f"rank {rank}: {describe(self.state, row)}, distance {distance:.4f}"
        key = (self.state.split, words, match, chosen)
        if self._shown.get(k) != key:
            image = tile(self.state, row, match, selected=chosen)
            spot = Spot((0, 0, *image.size), words, what=k)
            self.tiles[k].show(png(image), words, [spot])
            self._shown[k] = key
        button = self.hits[k]
        button.description = f"{rank} {MARKS[match]} {distance:.3f}\n{who(self.state, row)}"
        button.tooltip = words
        button.button_style = "info" if chosen else ""

    @reported
    def _draw_map(self, button: Button) -> None:
        self.status.value = "laying the embeddings out …"
        row = self.state.first_query + self.settings.query if len(self.order) else None
        image, spots = embedding_map(self.state, row)
        words = "Embeddings of the persons with most tracklets, by t-SNE; a click opens one"
        self.map.show(png(image), words, spots)
        self.status.value = "a click on the map opens that tracklet"

    @property
    def settings(self) -> Settings:
        """What the controls say now."""
        brush = None
        if self.occluder.value:
            place = {name: slider.value for name, slider in self.place.items()}
            brush = Brush(self.occluder.value, every=self.every.value, **place)
        return Settings(
            query=int(self.order[self.query.value - 1]),
            pick=self.pick,
            clip=self.clip.value - 1,
            other_clip=self.other_clip.value - 1,
            frame=self.frame.value - 1,
            kind=self.kind.value,
            part=self.part.value,
            opacity=self.opacity.value,
            swap=Reweighting(self.swap.value, round(self.temperature.value, 4)),
            both=self.both.value and self._loading is None,
            brush=brush,
        )

    @property
    def line(self) -> str:
        """The line of Python that opens this view again."""
        words = [_place(self.run)] + ["tracklets"] * (self._tracklets is not None)
        if self.other:
            words.append(f"other={_place(self.other)}")
        if self.seed:
            words.append(f"seed={self.seed}")
        words.append(f"query={self.settings.query}")
        if self.pick != self.rows[0]:
            words.append(f"pick={self.pick}")
        for name in _OPTIONS:
            value = self._control(name).value
            value = round(value, 4) if isinstance(value, float) else value
            if value != self._defaults[name] or (name == "rule" and value != "worst"):
                words.append(f"{name}={value!r}")
        if self.occluder.value:
            box = tuple(self.place[name].value for name in ("left", "top", "width", "height"))
            words.append(f"box={box}")
        return f"AttentionBrowser({', '.join(words)})"

    # --- saving ---------------------------------------------------------------------------------

    @reported
    def _save(self, button: Button) -> None:
        if not len(self.order):
            self.status.value = "nothing is shown, and nothing was saved"
            return
        path = self.save()
        self.download.value, self.download.name = path.read_bytes(), path.name
        self.status.value = f"saved {path}"

    def save(self) -> Path:
        """Write the view as one PNG with where it comes from, under it and in the file; its path.

        The text chunks of the file hold the same, by name.
        """
        page, facts = self._page()
        clip = f"clip{self.settings.clip + 1}-{self.settings.kind}"
        path = (
            self.exports / f"{self.state.split}-query{self.settings.query}-{self.pick}-{clip}.png"
        )
        commit(path, lambda file: file.write(png(page, facts)))
        return path

    def _page(self) -> tuple[Any, dict[str, str]]:
        """Draw the whole view on one page, and list where it comes from."""
        facts = {
            "run": self.run.folder.name,
            "checkpoint": self.state.checkpoint,
            "data": f"{self.state.config.dataset}, {self.state.split} split",
            "query": self.about.value,
            "result": self.result.value,
            "scale": self.view.scale,
            "settings": str(self.settings),
            "view": self.line,
        }
        query_row = self.state.first_query + self.settings.query
        strip = tile(self.state, query_row, None, selected=False, count=10, mark=False)
        known = marks(self.state, query_row, np.array(self.rows))
        tiles = [
            tile(self.state, row, match, selected=row == self.view.pick)
            for row, match in zip(self.rows, known, strict=True)
        ]
        ranks = paste_grid(tiles, [button.description for button in self.hits])
        main = beside([self.view.pair.image, self.view.touch.image])
        lines = [f"{name}: {value}" for name, value in facts.items()]
        return stack([strip, ranks, main], lines), facts

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Add the picture of the view for pages that cannot show widgets."""
        bundle = super()._repr_mimebundle_(**options)
        if bundle and getattr(self, "rows", None):
            bundle["image/png"] = b64encode(png(self._page()[0])).decode()
        return bundle

    def _theirs(self) -> pd.DataFrame:
        """Return the second run's results on this split, query by query."""
        split = self.state.split
        if split not in self._others:
            self._others[split] = BrowserState(self.other, self._tracklets, split).per_query
        return self._others[split]


def _place(run: Run) -> str:
    """Write a run's folder as Python, relative to the current folder where it is not far away."""
    near = os.path.relpath(run.folder)
    return repr(near if near.count("..") < 2 else str(run.folder))


def _run(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run(Path(run))
