"""The widget: what a change of one of the controls does. Everything else is elsewhere.

Text that comes from the data goes into Labels and Buttons, which show it as it is: a file whose
name looks like HTML is a file with a strange name. Errors go into the status line.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pandas as pd
from ipywidgets import Button

from mmagga.browser.controls import Panel
from mmagga.browser.paint import png
from mmagga.browser.render import paste_grid, stack
from mmagga.browser.state import BrowserState, Reweighting
from mmagga.browser.view import Brush, Settings, View, compose, tile
from mmagga.data.tracklets import Tracklets
from mmagga.retrieval.queries import RULES, ordered
from mmagga.runs.run import Run
from mmagga.system.files import commit


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
    step is quick, except for the first look at a tracklet.

    Args:
        run: an MMA-GGA run, or its folder. A baseline has no attention, and the widget says so.
        tracklets: the data set; by default read from where the run's configuration has it.
        other: a second run on the same data, to see where the two differ most.
        rule: which query comes first, a value of `queries.RULES`.
        seed: of the random order.
        exports: folder of saved pictures; by default `browser` in the run's folder.
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
    ) -> None:
        super().__init__()
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
        rules = {text: name for text, name in RULES.items() if self._answers(name)}
        self.fill(
            self.state, rules, rule, f"{self.run.folder.name} · checkpoint {self.state.checkpoint}"
        )
        self._observe()
        self._reorder()

    def _answers(self, rule: str) -> bool:
        """Whether this data set and these runs have what a rule goes by."""
        if rule == "occluded":
            return self.state.has_masks
        return rule != "change" or self.other is not None

    def _observe(self) -> None:
        for control in (self.rule, self.show):
            control.observe(self._reorder, "value")
        self.split.observe(self._resplit, "value")
        self.query.observe(self._requery, "value")
        self.both.observe(self._gallery_too, "value")
        for control in (self.clip, self.other_clip, self.frame, self.kind, self.part, self.opacity,
                        self.swap, self.temperature, self.occluder, self.every,
                        *self.place.values()):  # fmt: skip
            control.observe(self._redraw, "value")
        for k, button in enumerate(self.hits):
            button.on_click(partial(self._choose, k))
        self.export.on_click(self._save)

    # --- what a change does ---------------------------------------------------------------------

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
        if name not in self.states:
            self.status.value = "embedding the training persons …"
            self.states[name] = BrowserState(self.run, self._tracklets, name)
        self.state = self.states[name]
        with self._quiet():
            self.show.value = "all"
            self.both.value &= self.state.holds_gallery
            self.both.disabled = not self.state.holds_gallery
        self._gallery_for_both()
        self._reorder()

    @reported
    def _reorder(self, change: Any = None) -> None:
        if self._quiet_now:
            return
        state, rule = self.state, self.rule.value
        if rule == "occluded":
            self.status.value = "reading masks …"
        order = ordered(
            state.per_query, rule, show=self.show.value, seed=self.seed,
            occluded=state.occluded if rule == "occluded" else None,
            other=self._theirs() if rule == "change" else None,
        )  # fmt: skip
        if not len(order):
            self.status.value = "no query passes this filter; those before it stay"
            return
        self.order = order
        with self._quiet():
            self.query.value, self.query.max = 1, len(self.order)
        self._requery()

    @reported
    def _requery(self, change: Any = None) -> None:
        if self._quiet_now:
            return
        self.pick = None
        seen = self.state.seen(self.state.first_query + int(self.order[self.query.value - 1]))
        with self._quiet():
            self.clip.value = self.other_clip.value = 1
            self.clip.max = len(seen.frames)
        self._redraw()

    @reported
    def _choose(self, k: int, button: Button) -> None:
        self.pick = int(self.view.found.rows[k])
        with self._quiet():
            self.other_clip.value = 1
        self._redraw()

    @reported
    def _gallery_too(self, change: Any) -> None:
        self._gallery_for_both()
        self._redraw()

    def _gallery_for_both(self) -> None:
        if self.both.value:
            self.state.load_gallery(
                lambda share: setattr(self.status, "value", f"looking at the gallery: {share:.0%}")
            )

    @reported
    def _redraw(self, change: Any = None) -> None:
        if self._quiet_now:
            return
        forwards = self.state.forwards
        if self.kind.value in ("gradcam", "referee"):
            self.status.value = "computing …"
        self.view = compose(self.state, self.settings)
        self.pick = self.view.pick
        with self._quiet():
            self.other_clip.max = len(self.state.seen(self.pick).frames)
        self._show(self.view)
        new = self.state.forwards - forwards
        self.status.value = f"{new} clips went through the network" if new else "from memory"

    def _show(self, view: View) -> None:
        row = self.state.first_query + self.settings.query
        place = f"{self.query.value} of {len(self.order)}"
        self.about.value = f"Query {place}: {view.query}"
        self.result.value = view.result
        self._show_tile(0, row, None, False, 10)
        found = view.found
        for k, button in enumerate(self.hits):
            there = k < len(found.rows)
            for widget in (self.tiles[k + 1], button):
                widget.layout.visibility = "visible" if there else "hidden"
            if not there:
                continue
            hit, match = int(found.rows[k]), bool(found.matches[k])
            chosen = hit == view.pick
            self._show_tile(k + 1, hit, match, chosen)
            camera = self.state.all.camids[hit]
            mark = "✓" if match else "✗"
            button.description = f"{k + 1} {mark}  {found.distances[k]:.4f} · cam {camera}"
            button.button_style = "info" if chosen else ""
        self.pair.value, self.touch.value = png(view.pair), png(view.touch)

    def _show_tile(self, place: int, *what: Any) -> None:
        """Draw a tile, unless it is there already."""
        key = (self.state.split, *what)
        if self._shown.get(place) != key:
            self.tiles[place].value = png(tile(self.state, *what))
            self._shown[place] = key

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
            both=self.both.value,
            brush=brush,
        )

    @reported
    def _save(self, button: Button) -> None:
        self.status.value = f"saved {self.save()}"

    def save(self) -> Path:
        """Write the view as one PNG with where it comes from, under it and in the file; its path.

        The text chunks of the file hold the same, by name.
        """
        row = self.state.first_query + self.settings.query
        facts = {
            "run": self.run.folder.name,
            "checkpoint": self.state.checkpoint,
            "data": f"{self.state.config.dataset}, {self.state.split} split",
            "query": self.about.value,
            "result": self.result.value,
            "scale": self.view.scale,
            "settings": str(self.settings),
        }
        strips = [tile(self.state, row, None, False, count=10)]
        found = self.view.found
        labels = [button.description for button in self.hits]
        tiles = [
            tile(self.state, int(hit), bool(match), int(hit) == self.view.pick)
            for hit, match in zip(found.rows, found.matches, strict=True)
        ]
        page = stack(
            [*strips, paste_grid(tiles, labels), self.view.pair, self.view.touch],
            [f"{name}: {value}" for name, value in facts.items()],
        )
        clip = f"clip{self.settings.clip + 1}-{self.settings.kind}"
        path = (
            self.exports / f"{self.state.split}-query{self.settings.query}-{self.pick}-{clip}.png"
        )
        commit(path, lambda file: file.write(png(page, facts)))
        return path

    def _theirs(self) -> pd.DataFrame:
        """Give the second run's results on this split, query by query."""
        split = self.state.split
        if split not in self._others:
            self._others[split] = BrowserState(self.other, self._tracklets, split).per_query
        return self._others[split]


def _run(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else Run(Path(run))
