"""The controls of the browser, and where they stand; what they do is the widget's."""

from typing import Any

from ipywidgets import (
    Box,
    Button,
    Checkbox,
    Dropdown,
    FloatLogSlider,
    FloatSlider,
    HBox,
    IntProgress,
    IntSlider,
    Label,
    Layout,
    Play,
    Text,
    VBox,
    Widget,
    jslink,
)

from mmagga.browser.paint import BRUSH_WIDTH, PAIR_WIDTH, WIDTH
from mmagga.browser.picture import Download, Names, Picture
from mmagga.browser.state import BrowserState
from mmagga.browser.view import KINDS, OCCLUDERS, Brush, part_name
from mmagga.retrieval.queries import FILTERS

TOP = 10
"""Tracklets of the rank list that are shown; the first match comes eleventh if it is not there."""
SWAPS = {
    "as trained (GGA)": "gga",
    "uniform": "uniform",
    "oracle: 0 on occluders": "oracle",
    "permuted": "permuted",
    "inverted": "inverted",
    "the frames' weights": "frames",
}
"""What the browser says -> the swap."""
_COVER = {"nothing": ""} | {f"a {name}" if name not in ("grey", "noise") else name: name
                              for name in OCCLUDERS}  # fmt: skip
_TILE = WIDTH // (TOP + 1)
_NAMES = {
    "split": "split",
    "rule": "order of the queries",
    "show": "which queries to show",
    "query": "query",
    "goto": "go to a person, track or file",
    "clip": "clip of the query",
    "other-clip": "clip of the gallery tracklet",
    "frame": "frame",
    "map": "kind of map",
    "part": "branch",
    "opacity": "opacity of the map",
    "swap": "weights",
    "temperature": "temperature",
    "both": "other weights for the gallery too",
    "progress": "progress of looking at the gallery",
    "occluder": "cover with",
    "every": "cover every frame",
    "top": "top of the covered rectangle",
    "height": "height of the covered rectangle",
    "left": "left side of the covered rectangle",
    "width": "width of the covered rectangle",
    "call": "the line of Python that opens this view",
}
"""Names for screen readers, by the class of the control."""


class Panel(VBox):
    """An empty panel with a line that says how things stand; `fill` puts the controls in."""

    def __init__(self) -> None:
        super().__init__(layout=Layout(width=f"{WIDTH + 8}px"))
        self.add_class("mm-browser")
        self.status = _label("mm-status", "480px")

    def fill(self, state: BrowserState, rules: dict[str, str], rule: str, title: str) -> None:
        """Make the controls that this state has an answer to, and put them in place."""
        self._make_queries(state, rules, rule)
        self._make_maps(state)
        self._make_brush()
        self._make_pictures()
        self._arrange(title)

    def _make_queries(self, state: BrowserState, rules: dict[str, str], rule: str) -> None:
        splits = ["test", "train"] if len(state.tracklets.split("train")) else ["test"]
        self.split = _control(Dropdown, "split", "split", "120px", options=splits)
        self.rule = _control(Dropdown, "rule", "queries", "232px", options=rules, value=rule)
        self.show = _control(Dropdown, "show", "show", "186px", options=FILTERS)
        self.nothing = _label("mm-nothing", "250px")
        self.query = _control(IntSlider, "query", "query", "400px", min=1, max=1)
        self.goto = _control(
            Text, "goto", "go to", "210px", placeholder="person, track or file",
            continuous_update=False,
        )  # fmt: skip
        self.where = _label("mm-where", "220px")
        self.about, self.result = _label("mm-about"), _label("mm-result")

    def _make_maps(self, state: BrowserState) -> None:
        config = state.config
        self.clip = _control(IntSlider, "clip", "clip", "150px", min=1, max=1)
        self.other_clip = _control(IntSlider, "other-clip", "gallery clip", "196px", min=1, max=1)
        self.frame = _control(IntSlider, "frame", "frame", "166px", min=1, max=config.frames)
        self.play = Play(min=1, max=config.frames, interval=500, repeat=True)
        self.play.add_class("mm-play")
        jslink((self.play, "value"), (self.frame, "value"))
        self.opacity = _control(
            FloatSlider, "opacity", "opacity", "164px", min=0.0, max=1, value=1, step=0.05
        )
        self.kind = _control(Dropdown, "map", "map", "244px", options=KINDS)
        parts = {"all": "all"} | {part_name(name): name for name in state.head.grids}
        self.part = _control(Dropdown, "part", "part", "160px", options=parts)
        swaps = {t: n for t, n in SWAPS.items() if n != "oracle" or state.has_masks}
        self.swap = _control(Dropdown, "swap", "weights", "206px", options=swaps)
        self.temperature = _control(
            FloatLogSlider, "temperature", "temperature ×", "214px", min=-1.5, max=0.5, step=0.05,
            value=1, readout_format=".2f",
        )  # fmt: skip
        self.both = _control(Checkbox, "both", "for the gallery too", indent=False)
        self.both.disabled = not state.holds_gallery
        self.progress = IntProgress(max=1000, layout=Layout(width="160px", display="none"))
        self.progress.add_class("mm-progress")
        self.stop = Button(description="Stop", layout=Layout(width="60px", display="none"))
        self.stop.add_class("mm-stop")

    def _make_brush(self) -> None:
        width = f"{BRUSH_WIDTH - 4}px"
        self.occluder = _control(Dropdown, "occluder", "cover with", width, options=_COVER)
        self.every = _control(Checkbox, "every", "in every frame", indent=False)
        default = Brush()
        self.place = {
            name: _control(
                FloatSlider, name, name, "204px", min=0 if name in ("top", "left") else 0.05, max=1,
                step=0.01, value=getattr(default, name), readout_format=".0%",
                continuous_update=False,
            )
            for name in ("top", "height", "left", "width")
        }  # fmt: skip

    def _make_pictures(self) -> None:
        self.tiles = [Picture() for _ in range(TOP + 1)]
        self.hits = [
            Button(layout=Layout(width=f"{_TILE - 3}px", height="36px", margin="0"))
            for _ in range(TOP + 1)
        ]
        for tile, button in zip(self.tiles, self.hits, strict=True):
            tile.add_class("mm-tile")
            button.add_class("mm-hit")
        self.pair, self.touch, self.map = Picture(), Picture(), Picture()
        for picture, name in ((self.pair, "pair"), (self.touch, "touch"), (self.map, "embedding")):
            picture.add_class(f"mm-{name}")
        self.export = Button(description="Save as PNG", layout=Layout(width="110px"))
        self.export.add_class("mm-save")
        self.download = Download()
        self.draw_map = Button(description="Embedding map", layout=Layout(width="130px"))
        self.draw_map.add_class("mm-draw-map")
        self.call = _control(Text, "call", "", f"{WIDTH}px", disabled=False)

    def _arrange(self, title: str) -> None:
        entries = [
            VBox(pair, layout=Layout(width=f"{_TILE}px", flex="0 0 auto"))
            for pair in zip(self.tiles, self.hits, strict=True)
        ]
        brush = VBox(
            [self.occluder, self.every, self.touch],
            layout=Layout(width=f"{BRUSH_WIDTH + 4}px", flex="0 0 auto"),
        )
        pair = VBox([self.pair], layout=Layout(width=f"{PAIR_WIDTH + 4}px", flex="0 0 auto"))
        self.rank_list = HBox(entries, layout=Layout(flex="0 0 auto"))
        self.main = HBox([pair, brush], layout=Layout(flex="0 0 auto"))
        top = VBox(
            [
                HBox([self.split, self.rule, self.show, self.nothing]),
                HBox([self.query, self.goto, self.where]),
                self.about,
                self.result,
                HBox([self.clip, self.other_clip, self.frame, self.play, self.opacity]),
                HBox([self.kind, self.part, self.swap, self.temperature]),
                HBox(
                    [
                        self.both,
                        self.progress,
                        self.stop,
                        Label(title, layout=Layout(margin="2px 0 0 24px")),
                    ]
                ),
            ],
            layout=Layout(flex="0 0 auto"),
        )
        top.add_class("mm-header")
        self.children = [
            top,
            self.rank_list,
            self.main,
            HBox(list(self.place.values())),
            HBox([self.export, self.download, self.draw_map, self.status]),
            self.call,
            self.map,
            Box([Names(names=_NAMES)], layout=Layout(height="0px")),
        ]


def _label(name: str, width: str = f"{WIDTH}px") -> Label:
    label = Label(layout=Layout(width=width, height="24px"))
    label.add_class(name)
    return label


def _control(
    kind: type[Widget], name: str, description: str = "", width: str = "270px", **options: Any
) -> Any:
    """Make a control that tests find by the class `mm-<name>`."""
    layout = Layout(width="auto" if kind is Checkbox else width)
    control = kind(description=description, layout=layout, **options)
    if kind is not Checkbox:
        control.style.description_width = "initial"
    control.add_class(f"mm-{name}")
    return control
