"""Things that stand around: scenery far behind the walkers, and what comes between them and us."""

import math
from collections.abc import Callable
from typing import NamedTuple

from mmagga.data.synthetic.cameras import Spot, View
from mmagga.data.synthetic.dice import Dice
from mmagga.data.synthetic.noise import wave
from mmagga.data.synthetic.paint import Canvas, Colour, Surface, ball, board, limb, mix, shadow
from mmagga.data.synthetic.people import COLOURS

BESIDE = ("bin", "planter", "bollard", "sign", "bush", "banner", "branch")
"""What a walker towards us may come past closely."""
OBSTACLES = (*BESIDE, "pole", "pillar", "car")
"""What can hide a walker across: thin and wide, low, high and all the way up."""


class Site(NamedTuple):
    """Where a thing stands: its picture, the view, the foot point and its own dice."""

    canvas: Canvas
    view: View
    right: float
    away: float
    foot: Spot
    dice: Dice
    label: int | None

    def box(
        self,
        low: float,
        high: float,
        left: float,
        right: float,
        *,
        colour: Colour,
        rounding: float = 0.0,
        taper: float = 1.0,
        fall: float = 0.82,
        grain: float = 0.05,
    ) -> None:
        """Paint an upright board, metres up and aside from the foot; `taper` scales its top."""
        light = self.view.camera.light
        tone = light.ambient + light.sun * (light.front + 0.35 * max(light.up, 0))
        bottom = self.view.project(self.right, low, self.away)
        top = self.view.project(self.right, high, self.away)
        scale = self.foot.scale
        x = self.foot.x
        corners = [
            (x + left * scale * taper, top.y),
            (x + right * scale * taper, top.y),
            (x + right * scale, bottom.y),
            (x + left * scale, bottom.y),
        ]
        board(
            self.canvas,
            corners,
            colour,
            label=self.label,
            rounding=rounding * scale,
            shade=(tone, tone * fall),
            grain=grain,
        )

    def post(
        self, low: float, high: float, aside: float, radius: float, *, texture: object
    ) -> None:
        """Paint a round upright post."""
        bottom = self.view.project(self.right, low, self.away)
        top = self.view.project(self.right, high, self.away)
        scale, x = self.foot.scale, self.foot.x + aside * self.foot.scale
        limb(
            self.canvas,
            (x, top.y),
            (x, bottom.y),
            [(0.0, radius * scale), (1.0, radius * scale)],
            texture=texture,
            light=self.view.camera.light,
            label=self.label,
            flat=(True, True),
            length=high - low,
            half_width=radius,
            scale=scale,
        )

    def blob(self, up: float, aside: float, wide: float, tall: float, *, colour: Colour) -> None:
        """Paint a ball of leaves."""
        at = self.view.project(self.right + aside, up, self.away)
        ball(
            self.canvas,
            at.at,
            (wide * at.scale, tall * at.scale),
            texture=colour,
            light=self.view.camera.light,
            label=self.label,
        )

    def foliage(self, up: float, wide: float, tall: float, *, count: int, colour: Colour) -> None:
        """Paint many balls of leaves, brighter towards the top and the front."""
        for number in range(count):
            x, y = self.dice.uniform(-1, 1), self.dice.uniform(-1, 1)
            reach = math.sqrt(1 - y * y)
            tone = 0.62 + 0.5 * number / count + 0.18 * y + self.dice.uniform(-0.1, 0.1)
            size = self.dice.uniform(0.16, 0.30) * min(wide, tall)
            shade = (colour[0] * tone, colour[1] * tone, colour[2] * tone)
            self.blob(up + y * tall * 0.8, x * wide * 0.85 * reach, size * 1.2, size, colour=shade)

    def shade(self, width: float, strength: float = 0.4) -> None:
        """Paint the contact shadow."""
        half = width * self.foot.scale
        left, right = (self.foot.x - half, self.foot.y), (self.foot.x + half, self.foot.y)
        shadow(self.canvas, left, right, 0.3 * self.foot.scale, flatness=0.4, strength=strength)
        shadow(self.canvas, right, left, 0.3 * self.foot.scale, flatness=0.4, strength=strength)


def draw(
    canvas: Canvas,
    view: View,
    kind: str,
    *,
    right: float,
    away: float,
    dice: Dice,
    label: int | None,
) -> None:
    """Paint one thing whose foot stands at metres (right, away)."""
    _KINDS[kind](Site(canvas, view, right, away, view.project(right, 0.0, away), dice, label))


_PAINTS = (
    "red",
    "navy",
    "green",
    "mustard",
    "teal",
    "burgundy",
    "white",
    "charcoal",
    "blue",
    "orange",
)
_LEAVES: tuple[Colour, ...] = (
    (0.24, 0.42, 0.14),
    (0.30, 0.46, 0.18),
    (0.18, 0.36, 0.16),
    (0.42, 0.46, 0.16),
)


def _ringed(a: Colour, b: Colour, period: float) -> Callable[[Surface], object]:
    def texture(s: Surface) -> object:
        return mix(a, b, wave(s.along * s.length, period, 2 / s.scale / period))

    return texture


def _pole(site: Site) -> None:
    site.shade(0.05)
    grey = site.dice.uniform(0.3, 0.6)
    metal = (grey, grey, grey * 1.04)
    ringed = site.dice.chance(0.3)
    site.post(
        0,
        4.5,
        0,
        site.dice.uniform(0.05, 0.09),
        texture=_ringed((0.85, 0.85, 0.83), COLOURS["red"], 0.5) if ringed else metal,
    )
    site.post(0, 0.25, 0, 0.11, texture=(grey * 0.7, grey * 0.7, grey * 0.7))


def _pillar(site: Site) -> None:
    site.shade(0.25)
    grey = site.dice.uniform(0.55, 0.75)
    half = site.dice.uniform(0.15, 0.24)
    site.box(0, 4.6, -half, half, colour=(grey, grey * 0.98, grey * 0.94), fall=0.9, grain=0.04)
    site.box(0, 4.6, -half, -half * 0.55, colour=(grey * 0.78, grey * 0.77, grey * 0.75), fall=0.9)
    if site.dice.chance(0.5):
        paint = COLOURS[site.dice.pick(_PAINTS)]
        site.box(0.9, 1.35, -half, half, colour=paint, fall=0.95)


def _bin(site: Site) -> None:
    site.shade(0.22)
    colour = COLOURS[site.dice.pick(("green", "charcoal", "navy", "teal", "mustard"))]
    tall, half = site.dice.uniform(0.85, 1.15), site.dice.uniform(0.24, 0.34)
    site.box(0, tall, -half * 0.88, half * 0.88, colour=colour, taper=1.1, rounding=0.0)
    dark = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6)
    site.box(tall - 0.04, tall + 0.06, -half * 1.06, half * 1.06, colour=dark, rounding=0.04)
    site.box(
        tall - 0.32, tall - 0.20, -half * 0.6, half * 0.6, colour=(0.85, 0.85, 0.82), rounding=0.02
    )


def _planter(site: Site) -> None:
    site.shade(0.3)
    half = site.dice.uniform(0.30, 0.45)
    tall = site.dice.uniform(0.42, 0.60)
    site.foliage(tall + 0.30, half * 1.1, 0.42, count=26, colour=site.dice.pick(_LEAVES))
    clay = site.dice.pick(((0.62, 0.36, 0.25), (0.55, 0.55, 0.53), (0.35, 0.33, 0.32)))
    site.box(0, tall, -half * 0.85, half * 0.85, colour=clay, taper=1.18)
    site.box(tall - 0.07, tall + 0.02, -half * 1.05, half * 1.05, colour=clay, rounding=0.02)


def _bollard(site: Site) -> None:
    site.shade(0.1)
    site.post(0, 0.95, 0, 0.11, texture=_ringed(COLOURS["charcoal"], COLOURS["yellow"], 0.6))
    site.blob(0.95, 0, 0.11, 0.07, colour=COLOURS["charcoal"])


def _sign(site: Site) -> None:
    site.shade(0.08)
    site.post(0, 1.9, 0, 0.03, texture=(0.5, 0.5, 0.52))
    low = site.dice.uniform(0.75, 1.25)
    half, high = site.dice.uniform(0.24, 0.36), low + site.dice.uniform(0.45, 0.75)
    colour = COLOURS[site.dice.pick(_PAINTS)]
    site.box(low, high, -half, half, colour=(0.93, 0.93, 0.90), rounding=0.05, fall=0.95)
    site.box(
        low + 0.04, high - 0.04, -half + 0.04, half - 0.04, colour=colour, rounding=0.03, fall=0.95
    )
    for line in range(3):
        top = high - 0.12 - 0.11 * line
        wide = half * (0.7 - 0.12 * line)
        site.box(
            top - 0.045,
            top,
            -half * 0.72,
            -half * 0.72 + 2 * wide,
            colour=(0.95, 0.94, 0.9),
            grain=0,
        )


def _bush(site: Site) -> None:
    site.shade(0.4)
    half, tall = site.dice.uniform(0.35, 0.6), site.dice.uniform(0.40, 0.65)
    site.foliage(tall * 0.85, half, tall, count=46, colour=site.dice.pick(_LEAVES))


def _banner(site: Site) -> None:
    low = site.dice.uniform(0.85, 1.45)
    half, colour = site.dice.uniform(0.25, 0.45), COLOURS[site.dice.pick(_PAINTS)]
    pale = (0.94, 0.93, 0.88)
    site.box(low, 4.0, -half, half, colour=colour, fall=0.92, grain=0.07)
    site.box(low + 0.12, low + 0.2, -half, half, colour=pale, fall=0.95)
    site.blob(low + 0.62, 0, half * 0.5, half * 0.5, colour=pale)
    site.blob(low + 0.62, 0, half * 0.28, half * 0.28, colour=colour)


def _branch(site: Site) -> None:
    low = site.dice.uniform(1.0, 1.5)
    leaf = site.dice.pick(_LEAVES)
    site.foliage(low + 0.75, site.dice.uniform(0.4, 0.65), 0.8, count=56, colour=leaf)


def _car(site: Site) -> None:
    colour = COLOURS[site.dice.pick(_PAINTS)]
    nose = 1.0 if site.dice.chance(0.5) else -1.0  # which way it looks
    dark = (colour[0] * 0.72, colour[1] * 0.72, colour[2] * 0.72)
    site.shade(1.7, 0.5)

    def side(
        low: float, high: float, ends: tuple[float, float], paint: Colour, **how: float
    ) -> None:
        left, right = sorted(end * nose for end in ends)
        site.box(low, high, left, right, colour=paint, **how)

    for wheel in (-1.28, 1.30):
        site.blob(0.31, wheel * nose, 0.31, 0.31, colour=(0.10, 0.10, 0.11))
    site.box(0.86, 1.42, -1.05 - 0.15 * nose, 1.05 - 0.15 * nose, colour=dark, taper=0.72)
    site.box(
        0.90, 1.36, -0.95 - 0.15 * nose, -0.05 - 0.15 * nose, colour=(0.20, 0.25, 0.30), taper=0.78
    )
    site.box(
        0.90, 1.36, 0.04 - 0.15 * nose, 0.94 - 0.15 * nose, colour=(0.24, 0.29, 0.34), taper=0.78
    )
    side(0.26, 0.92, (-2.05, 2.10), colour, rounding=0.20, fall=0.7, grain=0.02)
    side(0.50, 0.53, (-1.9, 1.9), dark, grain=0)
    for wheel in (-1.28, 1.30):
        site.blob(0.31, wheel * nose, 0.30, 0.30, colour=(0.09, 0.09, 0.10))
        site.blob(0.31, wheel * nose, 0.17, 0.17, colour=(0.62, 0.63, 0.65))
    side(0.62, 0.78, (1.86, 2.09), (0.96, 0.95, 0.84), rounding=0.05)
    side(0.62, 0.80, (-2.05, -1.90), (0.75, 0.10, 0.10), rounding=0.05)


def _tree(site: Site) -> None:
    site.shade(0.3)
    site.post(0, 2.4, 0, 0.16, texture=(0.36, 0.27, 0.20))
    site.foliage(3.2, 1.9, 1.6, count=110, colour=site.dice.pick(_LEAVES))


def _lamp(site: Site) -> None:
    site.shade(0.05)
    site.post(0, 3.6, 0, 0.06, texture=(0.22, 0.23, 0.25))
    site.blob(3.7, 0, 0.20, 0.16, colour=(1.0, 0.96, 0.86))


def _bench(site: Site) -> None:
    site.shade(0.7)
    wood = (0.55, 0.36, 0.21)
    for leg in (-0.7, 0.7):
        site.box(0, 0.45, leg - 0.04, leg + 0.04, colour=(0.22, 0.22, 0.24))
    for low in (0.40, 0.56, 0.70):
        site.box(low, low + 0.10, -0.85, 0.85, colour=wood, fall=0.9)


_KINDS: dict[str, Callable[[Site], None]] = {
    "pole": _pole,
    "pillar": _pillar,
    "bin": _bin,
    "planter": _planter,
    "bollard": _bollard,
    "sign": _sign,
    "bush": _bush,
    "banner": _banner,
    "branch": _branch,
    "car": _car,
    "tree": _tree,
    "lamp": _lamp,
    "bench": _bench,
}
