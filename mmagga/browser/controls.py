"""The controls of the browser, and where they stand; what they do is the widget's."""

from typing import Any

from ipywidgets import (
    Button,
    Checkbox,
    Dropdown,
    FloatLogSlider,
    FloatSlider,
    GridBox,
    HBox,
    Image,
    IntSlider,
    Label,
    Layout,
    Play,
    VBox,
    Widget,
    jslink,
)

from mmagga.browser.paint import WIDTH
from mmagga.browser.state import BrowserState
from mmagga.browser.touch import TOUCH_HEIGHT
from mmagga.browser.view import KINDS, OCCLUDERS, TILE, Brush, pair_height
from mmagga.retrieval.queries import FILTERS

TOP = 10
"""Tracklets of the rank list that are shown."""
SWAPS = {
    "GGA, as the model": "gga",
    "uniform": "uniform",
    "oracle: 0 on occluders": "oracle",
    "permuted": "permuted",
    "inverted": "inverted",
    "the frames' weights": "frames",
}
"""What the browser says -> the swap."""
_COVER = {"nothing": ""} | {f"a {name}" if name not in ("grey", "noise") else name: name
                              for name in OCCLUDERS}  # fmt: skip


class Panel(VBox):
    """An empty panel with a line that says how things stand; `fill` puts the controls in."""

    def __init__(self) -> None:
        super().__init__(layout=Layout(width=f"{WIDTH + 8}px"))
        self.add_class("mm-browser")
        self.status = _label("mm-status")

    def fill(self, state: BrowserState, rules: dict[str, str], rule: str, title: str) -> None:
        """Make the controls that this state has an answer to, and put them in place."""
        self._make(state, rules, rule)
        self._arrange(state, title)

    def _make(self, state: BrowserState, rules: dict[str, str], rule: str) -> None:
        config, names = state.config, list(state.head.grids)
        splits = ["test", "train"] if len(state.tracklets.split("train")) else ["test"]
        self.split = _control(Dropdown, "split", "split", "130px", options=splits)
        self.rule = _control(Dropdown, "rule", "queries", options=rules, value=rule)
        self.show = _control(Dropdown, "show", "show", options=FILTERS)
        self.query = _control(IntSlider, "query", "query", min=1, max=1)
        self.clip = _control(IntSlider, "clip", "clip", "200px", min=1, max=1)
        self.other_clip = _control(IntSlider, "other-clip", "its clip", "200px", min=1, max=1)
        self.frame = _control(IntSlider, "frame", "frame", "200px", min=1, max=config.frames)
        self.play = Play(min=1, max=config.frames, interval=500, repeat=True)
        self.play.add_class("mm-play")
        jslink((self.play, "value"), (self.frame, "value"))
        self.kind = _control(Dropdown, "map", "map", options=KINDS)
        parts = {"all": "all"} | {name: name for name in names}
        self.part = _control(Dropdown, "part", "part", options=parts)
        self.opacity = _control(
            FloatSlider, "opacity", "opacity", min=0.0, max=1, value=1, step=0.05
        )
        swaps = {t: n for t, n in SWAPS.items() if n != "oracle" or state.has_masks}
        self.swap = _control(Dropdown, "swap", "weights", options=swaps)
        self.temperature = _control(
            FloatLogSlider, "temperature", "temperature ×", min=-1.5, max=0.5, step=0.05, value=1,
            readout_format=".2f",
        )  # fmt: skip
        self.both = _control(Checkbox, "both", "for the gallery too", indent=False)
        self.both.disabled = not state.holds_gallery
        self.occluder = _control(Dropdown, "occluder", "cover with", options=_COVER)
        self.every = _control(Checkbox, "every", "in every frame", indent=False)
        default = Brush()
        self.place = {
            name: _control(
                FloatSlider, name, name, "204px", min=0 if name in ("top", "left") else 0.05, max=1,
                step=0.05, value=getattr(default, name), readout_format=".0%",
                continuous_update=False,
            )
            for name in ("top", "height", "left", "width")
        }  # fmt: skip
        self.export = Button(description="Save as PNG", layout=Layout(width="120px"))
        self.export.add_class("mm-save")
        self.about, self.result = _label("mm-about"), _label("mm-result")
        self.tiles = [Image(format="png") for _ in range(TOP + 1)]
        self.hits = [Button(layout=Layout(width="163px", margin="0")) for _ in range(TOP)]
        for button in self.hits:
            button.add_class("mm-hit")
        self.pair, self.touch = Image(format="png"), Image(format="png")
        self.pair.add_class("mm-pair")
        self.touch.add_class("mm-touch")

    def _arrange(self, state: BrowserState, title: str) -> None:
        for image, height in ((self.pair, pair_height(state)), (self.touch, TOUCH_HEIGHT)):
            image.layout = Layout(width=f"{WIDTH}px", height=f"{height}px", flex="0 0 auto")
        for image in self.tiles[1:]:
            image.layout = Layout(width="163px", height=f"{TILE + 8}px", object_fit="contain")
        self.tiles[0].layout = Layout(height=f"{TILE + 8}px", align_self="flex-start")
        entries = [VBox(pair) for pair in zip(self.tiles[1:], self.hits, strict=True)]
        grid = GridBox(entries, layout=Layout(grid_template_columns="repeat(5, 167px)"))
        place = list(self.place.values())
        self.children = [
            HBox([Label(title), self.split]),
            HBox([self.rule, self.show, self.query]),
            self.about,
            self.tiles[0],
            self.result,
            grid,
            HBox([self.clip, self.other_clip, self.frame, self.play]),
            HBox([self.kind, self.part, self.opacity]),
            HBox([self.swap, self.temperature, self.both]),
            self.pair,
            HBox([self.occluder, self.every]),
            HBox(place),
            self.touch,
            HBox([self.export, self.status]),
        ]


def _label(name: str) -> Label:
    label = Label(layout=Layout(width=f"{WIDTH}px"))
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
