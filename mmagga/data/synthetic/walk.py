"""The walk: a skeleton of joints in three dimensions as a function of the phase of the stride.

Body axes are forward, left and up, in metres, with the origin on the ground below the pelvis.
Angles follow the textbook curves of human gait: the knee bends while its leg swings forward, the
arm swings against the leg of its side, and the pelvis rides on whichever foot is lowest.
"""

import math
from typing import NamedTuple

from mmagga.data.synthetic.dice import cis
from mmagga.data.synthetic.people import Person

Point = tuple[float, float, float]
"""Forward, left, up."""


class Leg(NamedTuple):
    """Joints of one leg."""

    hip: Point
    knee: Point
    ankle: Point
    heel: Point
    toe: Point


class Arm(NamedTuple):
    """Joints of one arm."""

    shoulder: Point
    elbow: Point
    wrist: Point
    fingers: Point


class Skeleton(NamedTuple):
    """All joints; the tuples hold the left limb, then the right one."""

    legs: tuple[Leg, Leg]
    arms: tuple[Arm, Arm]
    crotch: Point
    waist: Point
    neck: Point
    """Where the neck leaves the shoulders."""
    head: Point
    """Centre of the skull."""


def skeleton(person: Person, phase: float) -> Skeleton:
    """Pose a person at `phase` (radians; one stride, which is two steps, is a full turn)."""
    size = person.height
    bent = [_leg_angles(phase + turn, person.stride) for turn in (0.0, math.pi)]
    chains = [_leg_chain(size, *angles) for angles in bent]
    pelvis = max(
        -min(up for _, up in (heel, toe)) for *_, heel, toe in chains
    )  # stand on the ground
    sway = 0.012 * cis(phase)[1]
    half = 0.050 * size * person.build
    legs = []
    for chain, left in zip(chains, (half, -half)):
        hip, knee, ankle, heel, toe = chain
        narrow = left * 0.86  # feet fall closer to the middle than the hips
        points = [(hip, left), (knee, left * 0.95), (ankle, narrow), (heel, narrow), (toe, left)]
        legs.append(Leg(*((f, side - sway, up + pelvis) for (f, up), side in points)))

    lean_cos, lean_sin = cis(person.lean)
    spine = 0.292 * size
    neck = (spine * lean_sin, -sway * 0.3, pelvis + spine * lean_cos)
    head = (neck[0] + 0.016 * size, neck[1], neck[2] + 0.096 * size)
    arms = [_arm(person, phase + turn, neck, side) for turn, side in ((math.pi, 1.0), (0.0, -1.0))]
    return Skeleton(
        legs=(legs[0], legs[1]),
        arms=(arms[0], arms[1]),
        crotch=(0.0, -sway, pelvis - 0.035 * size),
        waist=(spine * 0.36 * lean_sin, -sway * 0.7, pelvis + spine * 0.36 * lean_cos),
        neck=neck,
        head=head,
    )


def _leg_angles(phase: float, stride: float) -> tuple[float, float, float]:
    """Thigh (forward), knee (bent) and foot (toe up) in radians."""
    cos, sin = cis(phase)
    early = (1 + cis(phase + 0.45)[0]) / 2  # peaks as the leg begins to swing forward
    strike = (1 + sin) / 2
    push = (1 - cis(phase + 0.25)[1]) / 2
    thigh = stride * sin + 0.07 + 0.10 * max(cos, 0)
    knee = 0.09 + 2.0 * stride * early * early * early
    foot = 0.30 * strike * strike * strike * strike - 0.85 * push * push * push * push
    return thigh, knee, foot


def _leg_chain(size: float, thigh: float, knee: float, foot: float) -> list[tuple[float, float]]:
    """(forward, up) of hip, knee, ankle, heel and toe, seen from the hip."""
    upper, lower, sole, drop = 0.245 * size, 0.246 * size, 0.088 * size, 0.036 * size
    cos, sin = cis(thigh)
    knee_at = (upper * sin, -upper * cos)
    cos, sin = cis(thigh - knee)
    ankle = (knee_at[0] + lower * sin, knee_at[1] - lower * cos)
    cos, sin = cis(foot)
    heel = (ankle[0] - 0.028 * size * cos + drop * sin, ankle[1] - drop * cos - 0.028 * size * sin)
    toe = (heel[0] + (sole + 0.028 * size) * cos, heel[1] + (sole + 0.028 * size) * sin)
    return [(0.0, 0.0), knee_at, ankle, heel, toe]


def _arm(person: Person, phase: float, neck: Point, side: float) -> Arm:
    size = person.height
    carries = person.bag.kind == "handbag" and side < 0
    swing = person.arm_swing * cis(phase)[1] * (0.25 if carries else 1.0)
    bend = 0.08 if carries else 0.22 + 0.45 * max(swing, 0) + 0.15 * person.arm_swing
    width = 0.096 * size * (0.35 + 0.65 * person.build)
    out = 0.10 + 0.10 * (person.build - 0.85)
    twist = 0.030 * size * cis(phase)[1]
    shoulder = (neck[0] + twist, neck[1] + side * width, neck[2] - 0.058 * size)
    elbow = _reach(shoulder, 0.168 * size, swing - 0.04, side * out)
    wrist = _reach(elbow, 0.140 * size, swing + bend, side * out * 0.35)
    fingers = _reach(wrist, 0.068 * size, swing + bend + 0.1, 0.0)
    return Arm(shoulder, elbow, wrist, fingers)


def _reach(start: Point, length: float, forward: float, outward: float) -> Point:
    """Go down from a joint, swung forward and held away from the body."""
    cos, sin = cis(forward)
    cos_out, sin_out = cis(outward)
    return (
        start[0] + length * sin,
        start[1] + length * cos * sin_out,
        start[2] - length * cos * cos_out,
    )
