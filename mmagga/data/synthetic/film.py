"""One tracklet, from its plan to its frames and masks: a pure function of (spec, plan)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mmagga.data.masks import BACKGROUND, HEAD, OCCLUDER
from mmagga.data.synthetic import figure, props, scenes
from mmagga.data.synthetic.cameras import CAMERAS, Camera, View, crop, expose, plate_view
from mmagga.data.synthetic.dice import Dice, cis
from mmagga.data.synthetic.paint import Canvas
from mmagga.data.synthetic.parts import Stance
from mmagga.data.synthetic.people import Person, identity
from mmagga.data.synthetic.plan import OCCLUDER_PART, SyntheticSpec, TrackletPlan

FRAMES_A_SECOND = 10
_DIRECTIONS = {"front": 0.0, "right": 0.5 * math.pi, "back": math.pi, "left": 1.5 * math.pi}
_PATH = 3.6
"""Metres that the longest walk in front of a camera takes."""


class Film(NamedTuple):
    """What was filmed, and what is true about it."""

    frames: np.ndarray
    """(T, H, W, 3) uint8."""
    masks: np.ndarray
    """(T, H, W) uint8, see `LABELS`."""
    occluded: list[float]
    """For each frame the share of the person's pixels that something hides."""
    cut: list[str]
    """For each frame what the box misses: "", "head", "feet" or "head feet"."""
    direction: str
    """Which side of the person is seen: front, back, or walking left or right; "" for nobody."""
    obstacle: str
    """What comes between: one of `props.OBSTACLES`, "person", or "" when nothing was in the way."""


def render_tracklet(spec: SyntheticSpec, plan: TrackletPlan) -> tuple[np.ndarray, np.ndarray]:
    """Render a tracklet: frames (T, H, W, 3) and masks (T, H, W), both uint8."""
    return film(spec, plan)[:2]


def film(spec: SyntheticSpec, plan: TrackletPlan, numbers: Sequence[int] | None = None) -> Film:
    """Render a tracklet and measure what is hidden and what is cut in each frame.

    `numbers` of the frames to render, counted from 0; None renders all of them.
    """
    drawn = list(shots(spec, plan, range(plan.frames) if numbers is None else numbers))
    return Film(
        np.stack([shot.pixels for shot in drawn]),
        np.stack([shot.labels for shot in drawn]),
        [shot.occluded for shot in drawn],
        [shot.cut for shot in drawn],
        drawn[0].direction,
        next((shot.obstacle for shot in drawn if shot.obstacle), ""),
    )


class Shot(NamedTuple):
    """One frame of a tracklet; the fields are those of `Film`, of one frame."""

    scene: np.ndarray
    """(3, H, W) float32, what stood before the lens, without the sensor's blur and noise."""
    pixels: np.ndarray
    """(H, W, 3) uint8, what the camera delivers."""
    labels: np.ndarray
    """(H, W) uint8."""
    occluded: float
    cut: str
    direction: str
    obstacle: str


def shots(spec: SyntheticSpec, plan: TrackletPlan, numbers: Sequence[int]) -> Iterator[Shot]:
    """Render some frames of a tracklet, one after the other."""
    key = (spec.seed, plan.split, plan.pid, plan.camid, plan.number)
    camera, person = CAMERAS[plan.camid - 1], _who(spec, plan)
    sharpness = max(1.0, spec.height / 128)
    plate, whole = scenes.plate(plan.camid - 1, sharpness, spec.seed), plate_view(camera, sharpness)
    walk = _walk(camera, person, plan.frames, Dice("walk", *key))
    boxes = _detector(plan, Dice("detector", *key))
    obstacle = _obstacle(spec, plan, walk, Dice("obstacle", *key)) if person else None
    obstacle = None if spec.without == OCCLUDER_PART else obstacle
    tall = person.height if person else 1.75
    for t in numbers:
        stance, labels = walk.at(t), np.zeros((spec.height, spec.width), np.uint8)
        view = _box(whole, stance, tall=tall, box=boxes[t], spec=spec)
        canvas = Canvas(crop(plate, view, *labels.shape), labels)
        in_front = obstacle is not None and obstacle.away(t) < stance.away
        if obstacle and not in_front:
            obstacle.draw(canvas, view, t, BACKGROUND)
        if person:
            figure.draw(canvas, view, person, stance, without=spec.without)
        visible = labels >= HEAD
        if obstacle and in_front:
            obstacle.draw(canvas, view, t, OCCLUDER)
        hidden = int((visible & (labels == OCCLUDER)).sum())
        scene = canvas.rgb.copy()  # the sensor's blur is worked in place
        yield Shot(
            scene,
            expose(camera, canvas.rgb, Dice("noise", *key, t).bytes(2, 3, *labels.shape)),
            labels,
            hidden / max(int(visible.sum()), 1),
            _cut(view, stance, tall, spec.height) if person else "",
            walk.direction if person else "",
            obstacle.kind if obstacle and OCCLUDER in labels else "",
        )


def _who(spec: SyntheticSpec, plan: TrackletPlan) -> Person | None:
    """Return the person of a tracklet; every third distractor is a detection of nobody."""
    if plan.pid > 0:
        return identity(spec.seed, plan.split, plan.index)
    if plan.pid == 0 and plan.index % 3 == 2:
        return None
    return identity(spec.seed, "distractor" if plan.pid == 0 else "junk", plan.index)


@dataclass(frozen=True)
class _Walk:
    """A straight walk at constant speed, feet not sliding."""

    right: float
    away: float
    heading: tuple[float, float]
    step: float
    """Metres a frame."""
    turn: float
    """Radians of the walk cycle a metre."""
    phase: float
    direction: str

    def at(self, t: float) -> Stance:
        way = self.step * t
        right, away = self.right + way * self.heading[0], self.away + way * self.heading[1]
        return Stance(right, away, self.heading, self.phase + self.turn * way)


def _walk(camera: Camera, person: Person | None, frames: int, dice: Dice) -> _Walk:
    direction = dice.pick(list(_DIRECTIONS))
    cos, sin = cis(_DIRECTIONS[direction] + dice.uniform(-0.5, 0.5))
    heading = (sin, -cos)
    length = min(dice.uniform(1.1, 1.5) / FRAMES_A_SECOND * frames, _PATH) if person else 0.0
    middle = dice.uniform(-camera.aside, camera.aside), dice.uniform(camera.near, camera.far)
    # keep both ends of the walk on the walkable ground
    slack_right = max(camera.aside + 0.4 - abs(heading[0]) * length / 2, 0.0)
    slack_away = max((camera.far - camera.near) / 2 + 0.2 - abs(heading[1]) * length / 2, 0.0)
    centre = (camera.near + camera.far) / 2
    right = min(max(middle[0], -slack_right), slack_right)
    away = min(max(middle[1], centre - slack_away), centre + slack_away)
    return _Walk(
        right - heading[0] * length / 2,
        away - heading[1] * length / 2,
        heading,
        length / frames,
        turn_of(person) if person else 0.0,
        dice.uniform(0, 2 * math.pi),
        direction,
    )


def turn_of(person: Person) -> float:
    """Radians of the walk cycle a metre: steps as wide as the legs swing, so feet do not slide."""
    stride = 4 * 0.49 * person.height * cis(person.stride)[1]
    return 2 * math.pi / stride


# ---- the detector ------------------------------------------------------------------------------


class _Box(NamedTuple):
    """How a detection misses: shares of the person's height to the right, down, and in size."""

    right: float
    down: float
    size: float


_MISSES = {
    "head": _Box(0.0, 0.20, 0.92),
    "feet": _Box(0.0, -0.20, 0.92),
    "tight": _Box(0.0, 0.0, 0.78),
    "wide": _Box(0.0, -0.02, 1.38),
    "left": _Box(-0.13, 0.0, 1.0),
    "right": _Box(0.13, 0.0, 1.0),
}


_JUNK = (
    _Box(0.28, 0.1, 1.0),
    _Box(-0.28, -0.1, 1.0),
    _Box(0.1, 0.35, 0.5),
    _Box(0.0, -0.3, 0.45),
    _Box(0.2, 0.1, 1.9),
)
"""Half of somebody, a fragment, or much too much."""


def _off(box: _Box, miss: _Box) -> _Box:
    return _Box(box.right + miss.right, box.down + miss.down, box.size * miss.size)


def _detector(plan: TrackletPlan, dice: Dice) -> list[_Box]:
    """Let the box drift, and in one of six tracklets miss part of the person for some frames."""
    keys = plan.frames // 5 + 2
    drift = [
        _Box(dice.uniform(-0.05, 0.05), dice.uniform(-0.03, 0.03), dice.uniform(0.95, 1.09))
        for _ in range(keys)
    ]
    missed, start = _MISSES[dice.pick(list(_MISSES))], dice.integer(0, keys - 1)
    if dice.chance(1 / 6):
        drift[start : start + 3] = [_off(box, missed) for box in drift[start : start + 3]]
    if plan.pid < 0:
        bad = dice.pick(_JUNK)
        drift = [_off(box, bad) for box in drift]
    boxes = []
    for t in range(plan.frames):
        key, share = t // 5, t % 5 / 5
        boxes.append(_Box(*(a + (b - a) * share for a, b in zip(drift[key], drift[key + 1]))))
    return boxes


def _box(whole: View, stance: Stance, *, tall: float, box: _Box, spec: SyntheticSpec) -> View:
    """Return the crop of the plate in which the detector believes the person to be."""
    feet = whole.project(stance.right, 0.0, stance.away)
    crown = whole.project(stance.right, tall, stance.away)
    person = feet.y - crown.y
    height = person * 1.13 * box.size
    width = height * spec.width / spec.height
    x = (feet.x + crown.x) / 2 + box.right * person
    y = (feet.y + crown.y) / 2 + (box.down + 0.015) * person
    return View(
        whole.camera,
        whole.focal,
        left=x - width / 2,
        top=y - height / 2,
        zoom=spec.height / height,
        centre=whole.centre,
    )


def _cut(view: View, stance: Stance, tall: float, height: int) -> str:
    crown = view.project(stance.right, tall * 0.97, stance.away).y < 0
    feet = view.project(stance.right, 0.03, stance.away).y > height
    return " ".join(name for name, missed in (("head", crown), ("feet", feet)) if missed)


# ---- what comes between ------------------------------------------------------------------------


class _Obstacle(NamedTuple):
    """Something that is nearer to the camera than the person, at least for a while."""

    kind: str
    away: Callable[[int], float]
    """Metres from the camera in frame t."""
    draw: Callable[[Canvas, View, int, int], None]
    """Paints it as of frame t, with a label."""


def moment(spec: SyntheticSpec, plan: TrackletPlan) -> float:
    """Return the frame number, between two frames as a rule, at which something would pass."""
    dice = Dice("obstacle", spec.seed, plan.split, plan.pid, plan.camid, plan.number)
    dice.chance(spec.occlusion)
    return dice.uniform(0, plan.frames - 1)


def _obstacle(spec: SyntheticSpec, plan: TrackletPlan, walk: _Walk, dice: Dice) -> _Obstacle | None:
    """Draw whether, what and when: the moment is uniform over the tracklet, and so is the kind."""
    if not dice.chance(spec.occlusion):
        return None
    moment = dice.uniform(0, plan.frames - 1)
    meet = walk.at(moment)
    across = abs(walk.heading[0]) > 0.6
    if dice.chance(0.35 if across else 0.6):
        return _passer_by(spec, walk, meet=meet, moment=moment, dice=dice)
    kind = dice.pick(props.OBSTACLES if across else props.BESIDE)
    gap = dice.uniform(0.5, 0.9)
    aside = dice.uniform(-0.2, 0.2) if across else dice.pick((-1, 1)) * dice.uniform(0.18, 0.34)
    if kind == "car":  # its middle may be anywhere: let some of its length be in the way
        aside += dice.uniform(-1.6, 1.6)
        gap += 0.6
    near = (meet.away - gap) / meet.away
    right, away = meet.right * near + aside, meet.away * near
    key = (spec.seed, "thing", plan.split, plan.pid, plan.camid, plan.number)

    def draw(canvas: Canvas, view: View, t: int, label: int) -> None:
        props.draw(canvas, view, kind, right=right, away=away, dice=Dice(*key), label=label)

    return _Obstacle(kind, lambda t: away, draw)


def _passer_by(
    spec: SyntheticSpec, walk: _Walk, *, meet: Stance, moment: float, dice: Dice
) -> _Obstacle:
    """Let somebody else cross in front at the given moment."""
    other = identity(spec.seed, "passer-by", dice.integer(0, 999_999))
    side = dice.pick((-1.0, 1.0))
    if abs(walk.heading[0]) > 0.6 and dice.chance(0.7):
        side = -1.0 if walk.heading[0] > 0 else 1.0  # more often they meet than overtake
    cos, sin = cis(dice.uniform(-0.35, 0.35))
    heading = (side * cos, sin)
    step, phase = dice.uniform(0.10, 0.14), dice.uniform(0, 2 * math.pi)
    gap = dice.uniform(0.55, 0.9)
    near = (meet.away - gap) / meet.away
    turn = turn_of(other)

    def at(t: float) -> Stance:
        way = step * (t - moment)
        return Stance(
            meet.right * near + way * heading[0],
            meet.away - gap + way * heading[1],
            heading,
            phase + turn * way,
        )

    def draw(canvas: Canvas, view: View, t: int, label: int) -> None:
        figure.draw(canvas, view, other, at(t), label=label)

    return _Obstacle("person", lambda t: at(t).away, draw)
