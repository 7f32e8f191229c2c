"""From skeleton and wardrobe to a painted person: which parts there are, and how big they are.

Sizes are metres on a person of 1.75 m; `size` scales them to others.
"""

from mmagga.data.masks import ARMS, BAG, HEAD, LEGS, SHOES, TORSO
from mmagga.data.synthetic import garments, people
from mmagga.data.synthetic.cameras import View
from mmagga.data.synthetic.paint import Canvas, shadow
from mmagga.data.synthetic.parts import Knots, Parts, Stance
from mmagga.data.synthetic.people import COLOURS, HAIRS, SKINS, Person
from mmagga.data.synthetic.walk import Arm, Leg, Point, Skeleton, skeleton


def draw(
    canvas: Canvas,
    view: View,
    person: Person,
    stance: Stance,
    *,
    label: int | None = None,
    without: str = "",
) -> None:
    """Paint a person, shadows first; `label` replaces those of the parts (somebody in the way).

    `without` leaves out a part of the person, who moves as if it were there.
    """
    parts = Parts(canvas, view, stance, label=label, fold_seed=sum(person.name.encode()))
    joints = skeleton(person, stance.phase)
    person = people.without(person, without)
    _shadows(parts, joints)
    for leg, arm in zip(joints.legs, joints.arms):
        _leg(parts, person, leg)
        _arm(parts, person, arm)
    _hips(parts, person, joints)
    _trunk(parts, person, joints)
    _head(parts, person, joints)
    bag = {"backpack": _backpack, "shoulder bag": _shoulder_bag, "handbag": _handbag}
    if person.bag.kind in bag:
        bag[person.bag.kind](parts, person, joints)
    parts.paint()


def _size(person: Person) -> float:
    return person.height / 1.75


def _scaled(knots: Knots, factor: float, more: float = 0.0) -> Knots:
    return [(t, radius * factor + more) for t, radius in knots]


def _between(a: Point, b: Point, share: float) -> Point:
    return (
        a[0] + share * (b[0] - a[0]),
        a[1] + share * (b[1] - a[1]),
        a[2] + share * (b[2] - a[2]),
    )


def _shadows(parts: Parts, joints: Skeleton) -> None:
    """Cast shadow of the body, soft one below it, and a dark one at each foot on the ground."""
    camera, stance, canvas = parts.view.camera, parts.stance, parts.canvas
    right, away, strength = camera.shadow
    here = parts.view.project(stance.right, 0.0, stance.away)
    there = parts.view.project(stance.right + right, 0.0, stance.away + away)
    flatness = 0.16 + 0.3 * camera.height / stance.away
    shadow(canvas, here.at, there.at, 0.30 * here.scale, flatness=flatness, strength=strength)
    shadow(canvas, here.at, here.at, 0.42 * here.scale, flatness=flatness, strength=0.30)
    for leg in joints.legs:
        heel, toe = (parts.spot((forward, left, 0.0)) for forward, left, _ in (leg.heel, leg.toe))
        dark = 0.55 - 3 * min(leg.heel[2], leg.toe[2])
        if dark > 0:
            shadow(canvas, heel.at, toe.at, 0.13 * heel.scale, flatness=0.45, strength=dark)


def _leg(parts: Parts, person: Person, leg: Leg) -> None:
    kind, build, size = person.lower.kind, person.build, _size(person)
    bare, boots = kind in ("shorts", "skirt"), person.shoes.kind == "boots"
    skin, dim = SKINS[person.skin], parts.dim(leg.hip)
    cloth = garments.legwear(person, left=leg.hip[1] > 0)
    loose = {"trousers": 0.010, "wide trousers": 0.024}.get(kind, 0.0) * size
    thigh = [(0.0, 0.084 * build * size), (1.0, 0.056 * build * size + loose)]
    calf = [
        (0.0, 0.055 * build * size + loose),
        (0.35, 0.054 * build * size + loose * 1.2),
        (1.0, 0.034 * build * size + loose * 2.0),
    ]
    creases = 0.0 if bare else 0.06
    parts.limb(
        leg.hip, leg.knee, thigh, skin if bare else cloth, label=LEGS, folds=creases, dim=dim
    )
    if kind == "shorts":
        wide = [(0.0, 0.088 * build * size), (1.0, 0.078 * build * size)]
        parts.limb(
            leg.hip,
            leg.knee,
            wide,
            cloth,
            label=LEGS,
            flat=(False, True),
            folds=0.05,
            dim=dim,
            nearer=0.02,
        )
    shin = garments.shin(person, cloth, skin, bare=bare, boots=boots)
    parts.limb(
        leg.knee,
        leg.ankle,
        calf,
        shin,
        label=LEGS,
        flat=(False, not bare),
        folds=creases,
        dim=dim,
        nearer=0.05,
    )
    # the sole lies on the ground, so the middle of the shoe is above it
    heel, toe = ((f, side, up + 0.036 * size) for f, side, up in (leg.heel, leg.toe))
    if boots:
        shaft = _scaled([(0.0, 0.050), (1.0, 0.045)], size)
        parts.limb(leg.ankle, heel, shaft, COLOURS[person.shoes.colour], label=SHOES, dim=dim)
    foot = _scaled([(0.0, 0.046), (0.55, 0.042), (1.0, 0.032)], size)
    parts.limb(heel, toe, foot, garments.shoe(person), label=SHOES, nearer=0.03, dim=dim)


def _arm(parts: Parts, person: Person, arm: Arm) -> None:
    size, skin, dim = _size(person), SKINS[person.skin], parts.dim(arm.shoulder)
    thick = (0.5 + 0.5 * person.build) * size
    cloth, sleeves = garments.sleeve(person)
    covered, padding = sleeves >= 1, 0.010 if person.jacket else 0.004
    upper = _scaled([(0.0, 0.051), (1.0, 0.042)], thick, padding)
    fore = _scaled([(0.0, 0.041), (1.0, 0.030)], thick, padding if covered else 0.0)
    hand = _scaled([(0.0, 0.030), (1.0, 0.024)], size)
    sleeve = cloth if covered else garments.short_sleeve(cloth, skin, 0.62)
    creases = 0.06 if covered else 0.0
    parts.limb(arm.shoulder, arm.elbow, upper, sleeve, label=ARMS, folds=0.05, dim=dim)
    parts.limb(
        arm.elbow,
        arm.wrist,
        fore,
        cloth if covered else skin,
        label=ARMS,
        folds=creases,
        dim=dim,
        nearer=0.05,
    )
    parts.limb(arm.wrist, arm.fingers, hand, skin, label=ARMS, dim=dim, nearer=0.04)


# Outlines of the body: position, half width to the side, half depth.
_TRUNK = (
    (0.0, 0.058, 0.066), (0.05, 0.108, 0.084), (0.11, 0.158, 0.100), (0.17, 0.176, 0.108),
    (0.34, 0.174, 0.126), (0.62, 0.146, 0.112), (0.85, 0.162, 0.116), (1.0, 0.160, 0.112),
)  # fmt: skip
_HIPS = ((0.0, 0.146, 0.108), (0.55, 0.166, 0.118), (0.75, 0.150, 0.112), (1.0, 0.02, 0.05))
_HEMS = {"coat": 1.62, "jacket": 1.0, "open jacket": 1.03, "dress": 0.75}
"""Where garments end, from neck (0) to crotch (1)."""


def _hips(parts: Parts, person: Person, joints: Skeleton) -> None:
    """Draw the seat of the trousers, or a skirt over it all."""
    if person.lower.kind == "skirt":
        _skirt(parts, person, joints)
        return
    wide = _size(person) * person.build
    knots = [(t, parts.span(side * wide + 0.004, deep * wide + 0.004)) for t, side, deep in _HIPS]
    cloth = garments.legwear(person, left=None)
    parts.limb(joints.waist, joints.crotch, knots, cloth, label=LEGS, nearer=0.09, folds=0.04)


def _skirt(parts: Parts, person: Person, joints: Skeleton) -> None:
    wide = _size(person) * person.build
    left, right = (leg.knee for leg in joints.legs)
    hem = _between(left, right, 0.5)
    apart = abs(left[0] - right[0]) / 2  # the stride opens the skirt
    outline = [
        (0.0, parts.span(0.14 * wide, 0.10 * wide)),
        (0.42, parts.span(0.178 * wide, 0.13 * wide)),
        (1.0, parts.span(0.20 * wide, 0.15 * wide + apart * 0.8)),
    ]
    parts.limb(
        joints.waist,
        (hem[0], hem[1], hem[2] + 0.02),
        outline,
        garments.skirt(person),
        label=LEGS,
        nearer=0.115,
        half_width=0.2,
        flat=(True, True),
        folds=0.09,
    )


def _trunk(parts: Parts, person: Person, joints: Skeleton) -> None:
    wide = _size(person) * person.build
    worn = person.jacket or person.upper
    hem, grow = _HEMS.get(worn.kind, 0.93), 0.016 if person.jacket else 0.004
    outline = [(t / hem, side, deep) for t, side, deep in _TRUNK if t < hem]
    edge = (0.175, 0.150) if worn.kind == "coat" else outline[-1][1:]
    outline.append((1.0, *edge))
    parts.limb(
        joints.neck,
        _between(joints.neck, joints.crotch, hem),
        [(t, parts.span(side * wide + grow, deep * wide + grow)) for t, side, deep in outline],
        garments.trunk(person, SKINS[person.skin]),
        label=TORSO,
        nearer=0.12,
        half_width=0.165 * wide,
        flat=(True, True),
        folds=0.06,
    )


def _head(parts: Parts, person: Person, joints: Skeleton) -> None:
    size, skin, (f, left, up), neck = _size(person), SKINS[person.skin], joints.head, joints.neck
    across, style = parts.span(0.084, 0.100) * size, person.hair
    parts.ball(
        joints.head, across, 0.121 * size, garments.head(person, skin), label=HEAD, nearer=0.16
    )
    throat = (f * 0.6 + neck[0] * 0.4, left, up - 0.07 * size)
    collar = 0.0 if parts.facing[0] > 0 else 0.025 * size  # higher at the nape
    base = (neck[0], neck[1], neck[2] + collar)
    column = _scaled([(0.0, 0.050), (1.0, 0.058)], size)
    parts.limb(throat, base, column, skin, label=HEAD, nearer=0.14, dim=0.88)
    if style == "cap":
        brim = (f + 0.115 * size, left, up + 0.040 * size)
        wide = parts.span(0.072, 0.065) * size
        parts.ball(brim, wide, 0.020 * size, COLOURS[person.hair_colour], label=HEAD, nearer=0.22)
    elif style == "bun":
        bun = (f - 0.105 * size, left, up + 0.075 * size)
        strands = garments.strands(HAIRS[person.hair_colour])
        parts.ball(bun, 0.048 * size, 0.045 * size, strands, label=HEAD, nearer=0.16)
    elif style in ("long", "bob", "ponytail"):
        _long_hair(parts, person, joints)


def _long_hair(parts: Parts, person: Person, joints: Skeleton) -> None:
    """Hair that falls behind the head: wide, or tied together."""
    size, tied = _size(person), person.hair == "ponytail"
    (f, left, up), neck = joints.head, joints.neck
    below = {"long": 0.15, "bob": 0.05, "ponytail": 0.10}[person.hair] * size
    top = (f - (0.112 if tied else 0.041) * size, left, up + 0.03)
    end = (neck[0] - 0.082 * size, neck[1], neck[2] - below)
    wide = (0.040 if tied else parts.span(0.098, 0.062)) * size
    knots = [(0.0, wide * 0.8), (0.45, wide), (1.0, wide * 0.8)]
    in_front = parts.facing[0] < 0.25  # we see the back of the head
    strands = garments.strands(HAIRS[person.hair_colour])
    parts.limb(top, end, knots, strands, label=HEAD, nearer=0.26 if in_front else -0.02)


def _backpack(parts: Parts, person: Person, joints: Skeleton) -> None:
    size, (f, left, up) = _size(person), joints.neck
    top = (f - 0.175 * size, left, up - 0.07 * size)
    bottom = (f - 0.205 * size, left, up - 0.44 * size)
    outline = [(0.0, 0.55), (0.12, 0.9), (0.5, 1.0), (0.9, 1.02), (1.0, 0.9)]
    parts.limb(
        top,
        bottom,
        _scaled(outline, parts.span(0.150, 0.085) * size),
        garments.backpack(person),
        label=BAG,
        half_width=0.15,
        folds=0.04,
        flat=(False, True),
        nearer=0.13 if parts.facing[0] < 0 else 0.0,
    )


def _shoulder_bag(parts: Parts, person: Person, joints: Skeleton) -> None:
    size, (f, left, up) = _size(person), joints.crotch
    swing = 0.03 * (joints.legs[0].knee[0] - joints.legs[1].knee[0])
    centre = (f - 0.02 + swing, left - 0.215 * size * person.build, up + 0.10 * size)
    half = (0.05 * size, 0.155 * size, 0.11 * size)
    parts.box(centre, half, COLOURS[person.bag.colour], label=BAG, nearer=0.10)


def _handbag(parts: Parts, person: Person, joints: Skeleton) -> None:
    """A bag that hangs from the right hand by two straps."""
    size, hand = _size(person), joints.arms[1].fingers
    centre = (hand[0], hand[1] - 0.01, hand[2] - 0.17 * size)
    parts.box(
        centre,
        (0.05 * size, 0.125 * size, 0.095 * size),
        COLOURS[person.bag.colour],
        label=BAG,
        nearer=0.03,
    )
    grip = parts.spot(hand)
    rim = parts.spot((centre[0], centre[1], centre[2] + 0.095 * size))
    apart = parts.span(0.02, 0.07) * size * rim.scale
    for x in (rim.x - apart, rim.x + apart):
        parts.line(grip, (x, rim.y), garments.leather(person, 0.7), BAG)
