"""The parts of one person: placed in three dimensions, painted from the farthest to the nearest."""

import math
from collections.abc import Callable
from typing import NamedTuple

from mmagga.data.synthetic.cameras import Spot, View
from mmagga.data.synthetic.paint import Canvas, Colour, Texture, ball, board, limb
from mmagga.data.synthetic.walk import Point

Knots = list[tuple[float, float]]
"""Outline of a part: (position from top to bottom, radius in metres)."""


class Stance(NamedTuple):
    """Where a person is, where he is heading (a unit vector on the ground), and in which pose."""

    right: float
    away: float
    heading: tuple[float, float]
    phase: float


class Parts:
    """Collects parts; `nearer` is what a part is moved towards us, in metres, for sorting only."""

    def __init__(
        self, canvas: Canvas, view: View, stance: Stance, *, label: int | None, fold_seed: int
    ) -> None:
        self.canvas, self.view, self.stance = canvas, view, stance
        self.label, self.fold_seed = label, fold_seed
        self.light = view.camera.light
        distance = math.sqrt(stance.right * stance.right + stance.away * stance.away)
        to_us = (-stance.right / distance, -stance.away / distance)
        ahead = stance.heading
        self.facing = (
            ahead[0] * to_us[0] + ahead[1] * to_us[1],  # 1: we see the face
            ahead[1] * to_us[0] - ahead[0] * to_us[1],  # 1: walks to the right
        )
        self._paints: list[tuple[float, Callable[[], None]]] = []

    def _labelled(self, label: int) -> int:
        return label if self.label is None else self.label

    def paint(self) -> None:
        """Paint everything, the farthest first."""
        self.canvas.figure[:] = 0
        for _, paint in sorted(self._paints, key=lambda part: -part[0]):
            paint()

    def spot(self, point: Point) -> Spot:
        """Project a point of the body."""
        forward, left, up = point
        ahead = self.stance.heading
        right = self.stance.right + forward * ahead[0] - left * ahead[1]
        away = self.stance.away + forward * ahead[1] + left * ahead[0]
        return self.view.project(right, up, away)

    def span(self, side: float, deep: float) -> float:
        """Half the width one sees of an ellipse with half axes to the side and forward."""
        side, deep = side * self.facing[0], deep * self.facing[1]
        return math.sqrt(side * side + deep * deep)

    def dim(self, point: Point) -> float:
        """Light that reaches a limb: less on the side of the body that is turned away."""
        turned = point[1] * self.facing[1] > 0.03 * abs(self.facing[1])
        return 0.84 if turned else 1.0

    def limb(
        self,
        top: Point,
        bottom: Point,
        knots: Knots,
        texture: Texture | Colour,
        *,
        label: int,
        nearer: float = 0.0,
        half_width: float = 0.1,
        flat: tuple[bool, bool] = (False, False),
        folds: float = 0.0,
        dim: float = 1.0,
    ) -> None:
        """Add a rounded solid around the axis top-bottom."""
        a, b = self.spot(top), self.spot(bottom)
        scale = (a.scale + b.scale) / 2
        squares = [(p - q) * (p - q) for p, q in zip(top, bottom)]
        light = self.light._replace(sun=self.light.sun * dim, ambient=self.light.ambient * dim)

        def paint() -> None:
            limb(
                self.canvas,
                a.at,
                b.at,
                [(t, radius * scale) for t, radius in knots],
                texture=texture,
                light=light,
                label=self._labelled(label),
                facing=self.facing,
                length=math.sqrt(sum(squares)),
                half_width=half_width,
                scale=scale,
                flat=flat,
                halo=0.045 * scale,
                folds=folds,
                fold_seed=self.fold_seed,
            )

        self._paints.append(((a.away + b.away) / 2 - nearer, paint))

    def ball(
        self,
        centre: Point,
        across: float,
        tall: float,
        texture: Texture | Colour,
        *,
        label: int,
        nearer: float = 0.0,
    ) -> None:
        """Add an ellipsoid with these half axes on the picture."""
        spot = self.spot(centre)
        drop = self.view.camera.height - centre[2]
        sight = math.sqrt(drop * drop + spot.away * spot.away)

        def paint() -> None:
            ball(
                self.canvas,
                spot.at,
                (across * spot.scale, tall * spot.scale),
                texture=texture,
                light=self.light,
                label=self._labelled(label),
                facing=self.facing,
                tilt=(spot.away / sight, drop / sight),
                scale=spot.scale,
                halo=0.03 * spot.scale,
            )

        self._paints.append((spot.away - nearer, paint))

    def box(
        self,
        centre: Point,
        half: tuple[float, float, float],
        colour: Colour,
        *,
        label: int,
        nearer: float,
    ) -> None:
        """Add a bag with a flap: half sizes to the side, forward and up."""
        spot = self.spot(centre)
        wide, tall = self.span(half[0], half[1]) * spot.scale, half[2] * spot.scale
        x, y = spot.at
        shade = self.light.ambient + 0.6 * self.light.sun

        def paint() -> None:
            for low, flare, bright, halo in ((y + tall, 1.06, 1.0, 2.0), (y, 0.96, 1.18, 0.0)):
                corners = [(x - wide, y - tall), (x + wide, y - tall)]
                corners += [(x + wide * flare, low), (x - wide * flare, low)]
                tones = (shade * bright, shade * (bright if bright > 1 else 0.72))
                board(
                    self.canvas,
                    corners,
                    colour,
                    label=self._labelled(label),
                    shade=tones,
                    halo=halo,
                )

        self._paints.append((spot.away - nearer, paint))

    def line(self, a: Spot, b: tuple[float, float], colour: Colour, label: int) -> None:
        """Add a strap from a point of the body to a pixel."""
        radius = 0.009 * a.scale

        def paint() -> None:
            limb(
                self.canvas,
                a.at,
                b,
                [(0.0, radius), (1.0, radius)],
                texture=colour,
                light=self.light,
                label=self._labelled(label),
            )

        self._paints.append((a.away - 0.02, paint))
