"""Three small widgets: a picture that can be clicked, a link to download, names of controls."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bytes, Dict, List, Unicode

from mmagga.browser.paint import Spot

_HERE = Path(__file__).parent


class Picture(anywidget.AnyWidget):
    """A PNG with an alternative text and spots; `on_pick` and `on_drag` set who is told.

    A click calls `picked(what)` with the spot's `what`; a rectangle dragged in a spot calls
    `dragged(what, box)`, box being left, top, width and height as shares of the spot.
    """

    _esm = _HERE / "picture.js"
    _css = _HERE / "panel.css"
    value = Bytes().tag(sync=True)
    alt = Unicode().tag(sync=True)
    spots = List().tag(sync=True)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._what: list[Any] = []
        self.picked: Callable[[Any], None] = lambda what: None
        self.dragged: Callable[[Any, tuple[float, ...]], None] = lambda what, box: None
        self.on_msg(self._told)

    def show(self, value: bytes, alt: str, spots: Sequence[Spot] = ()) -> None:
        """Show a PNG file's bytes; a picture that is there already is not sent again."""
        self._what = [spot.what for spot in spots]
        if value != self.value:
            self.value = value
        self.alt, self.spots = alt, [spot.state() for spot in spots]

    def _told(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        number = content.get("spot", -1)
        if not 0 <= number < len(self._what) or self._what[number] is None:
            return
        if "box" in content:
            self.dragged(self._what[number], tuple(map(float, content["box"])))
        else:
            self.picked(self._what[number])


class Download(anywidget.AnyWidget):
    """A link that saves a PNG where the web browser saves its files; hidden without a name."""

    _esm = _HERE / "download.js"
    value = Bytes().tag(sync=True)
    name = Unicode().tag(sync=True)


class Names(anywidget.AnyWidget):
    """Names for screen readers: of each control with the class `mm-<key>`, its `names[key]`."""

    _esm = _HERE / "labels.js"
    names = Dict().tag(sync=True)
