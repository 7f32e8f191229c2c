"""Textures: what cloth, skin, hair and leather look like at a point of the body.

Patterns live in metres on the body (along it and to the wearer's left), so they move with the
wearer and shrink with distance. Normals tell the front from the back: the opening of a jacket, a
face or a print exist only where the surface looks forward.
"""

from collections.abc import Callable

import numpy as np

from mmagga.data.synthetic.noise import noise, wave
from mmagga.data.synthetic.paint import Colour, Surface, Texture, clamp, mix, plain
from mmagga.data.synthetic.people import COLOURS, HAIRS, Garment, Person


def _soft(edge: np.ndarray, width: float) -> np.ndarray:
    """0 below zero, 1 above, a ramp `width` wide in between."""
    return clamp(edge / width + 0.5, 0, 1)


def cloth(garment: Garment) -> Texture | Colour:
    """Return the texture of a patterned garment; plain ones are just a colour."""
    base, second = COLOURS[garment.colour], COLOURS[garment.second]
    pattern = _PATTERNS.get(garment.pattern)
    if pattern is None:
        return base

    def texture(surface: Surface) -> np.ndarray:
        return mix(base, second, pattern(surface))

    return texture


def _stripes(s: Surface) -> np.ndarray:
    return wave(s.along * s.length, 0.085, 14 / s.scale)


def _bars(s: Surface) -> np.ndarray:
    return wave(s.left * s.half_width + 0.02, 0.085, 14 / s.scale)


def _checks(s: Surface) -> np.ndarray:
    soft = 9 / s.scale
    return 0.5 * (wave(s.along * s.length, 0.13, soft) + wave(s.left * s.half_width, 0.13, soft))


def _block(s: Surface) -> np.ndarray:
    """The shoulders in the second colour."""
    return _soft(0.36 - s.along * s.length / 0.5, 2.5 / s.scale)


def _print(s: Surface) -> np.ndarray:
    """A big badge on the chest and a bar across the back."""
    down, left = s.along * s.length - 0.24, s.left * s.half_width
    badge = np.maximum(np.abs(left) - 0.085, np.abs(down) - 0.075)
    bar = np.maximum(np.abs(left) - 0.125, np.abs(down + 0.03) - 0.035)
    return _soft(-np.where(s.forward > 0, badge, bar), 1.2 / s.scale)


def _dots(s: Surface) -> np.ndarray:
    u, v = s.left * s.half_width / 0.10, s.along * s.length / 0.10
    row = np.floor(v)
    u = u + 0.5 * (row - 2 * np.floor(row / 2))
    u, v = u - np.floor(u) - 0.5, v - row - 0.5
    return _soft(0.075 - (u * u + v * v), 1.5 / s.scale / 0.10)


def _side_stripe(s: Surface) -> np.ndarray:
    return _soft(np.abs(s.left) - 0.90, 0.2)


_PATTERNS: dict[str, Callable[[Surface], np.ndarray]] = {
    "stripes": _stripes,
    "bars": _bars,
    "checks": _checks,
    "block": _block,
    "print": _print,
    "dots": _dots,
    "side stripe": _side_stripe,
}


def paint(texture: Texture | Colour, surface: Surface) -> np.ndarray | Colour:
    """Evaluate a texture, or pass a plain colour on."""
    return texture(surface) if callable(texture) else texture


_SHADE: Colour = (0.0, 0.0, 0.0)


def trunk(person: Person, skin: Colour) -> Texture:
    """Chest and back: shirt, what is worn over it, collar, straps."""
    shirt, jacket = cloth(person.upper), person.jacket
    over = cloth(jacket) if jacket else None
    strap = {"backpack": _straps, "shoulder bag": _sling}.get(person.bag.kind)

    def texture(s: Surface) -> np.ndarray:
        colour = plain(paint(shirt, s))
        if jacket is None or over is None:
            colour = mix(colour, skin, _neckline(s))
        elif jacket.kind == "open jacket":
            colour = _open(s, mix(colour, skin, _neckline(s)), plain(paint(over, s)))
        else:
            colour = _zipped(s, plain(paint(over, s)), COLOURS[person.upper.colour])
        if strap is not None:
            colour = mix(colour, leather(person, 0.75), strap(s))
        return colour

    return texture


def _front(s: Surface) -> np.ndarray:
    return _soft(s.forward, 0.15)


def _neckline(s: Surface) -> np.ndarray:
    """The throat that a collar leaves free."""
    down, left = s.along * s.length, np.abs(s.left) * s.half_width
    return _soft(0.052 - down - 0.7 * left, 1.2 / s.scale) * _front(s)


def _open(s: Surface, shirt: np.ndarray, coat: np.ndarray) -> np.ndarray:
    """A jacket that hangs open: the gap is wider at the collar and at the hem."""
    blur, down = 1.2 / s.scale, s.along * s.length
    gap = 0.052 + 0.10 * np.maximum(0.12 - down, 0) + 0.035 * s.along
    beside = np.abs(s.left) * s.half_width - gap  # metres from the edge, onto the jacket
    colour = mix(coat, shirt, _soft(-beside, blur) * _front(s))
    return mix(colour, _SHADE, 0.35 * _soft(0.012 - np.abs(beside), blur) * _front(s))


def _zipped(s: Surface, coat: np.ndarray, shirt: Colour) -> np.ndarray:
    """A closed jacket: its seam, and the shirt between the lapels."""
    blur, down, left = 1.2 / s.scale, s.along * s.length, np.abs(s.left) * s.half_width
    colour = mix(coat, _SHADE, 0.5 * _soft(0.006 - left, blur) * _front(s))
    return mix(colour, shirt, _soft(0.11 - down - 1.2 * left, blur) * _front(s))


def _straps(s: Surface) -> np.ndarray:
    """The two straps of a backpack."""
    blur, left = 1.2 / s.scale, np.abs(s.left) * s.half_width
    strap = _soft(0.024 - np.abs(left - 0.095), blur) * _front(s)
    return strap * _soft(0.36 - s.along * s.length, blur)


def _sling(s: Surface) -> np.ndarray:
    """The strap of a shoulder bag, from the left shoulder to the right hip, on both sides."""
    slant = 0.7 * s.left * s.half_width + 0.55 * (s.along * s.length - 0.26)
    return _soft(0.022 - np.abs(slant), 1.2 / s.scale)


def sleeve(person: Person) -> tuple[Texture | Colour, float]:
    """What covers the arms, and the share of the arm that it covers."""
    worn = person.jacket or person.upper
    only_trunk = worn.pattern in ("block", "print")
    return COLOURS[worn.colour] if only_trunk else cloth(
        worn
    ), 1.0 if person.jacket else person.sleeves


def short_sleeve(fabric: Texture | Colour, skin: Colour, until: float) -> Texture:
    """Cover the upper arm down to `until` of its length."""

    def texture(s: Surface) -> np.ndarray:
        bare = _soft(s.along - until, 1.2 / s.scale / s.length)
        return mix(plain(paint(fabric, s)), skin, bare)

    return texture


def legwear(person: Person, *, left: bool | None) -> Texture | Colour:
    """Trousers or shorts of one leg; None for the hips."""
    lower = person.lower
    if lower.pattern != "side stripe" or left is None:
        return COLOURS[lower.colour] if lower.pattern == "side stripe" else cloth(lower)
    outer = 1.0 if left else -1.0
    base, second = COLOURS[lower.colour], COLOURS[lower.second]

    def texture(s: Surface) -> np.ndarray:
        return mix(base, second, _soft(outer * s.left - 0.72, 0.25))

    return texture


def skirt(person: Person) -> Texture:
    """Skirt with pleats."""
    fabric = cloth(person.lower)

    def texture(s: Surface) -> np.ndarray:
        pleat = noise(s.left * 4 + 9, s.along * 0.6 + s.forward) * 0.10 * s.along
        return plain(paint(fabric, s)) * (1 + pleat)

    return texture


def shin(
    person: Person, fabric: Texture | Colour, skin: Colour, *, bare: bool, boots: bool
) -> Texture | Colour:
    """Below the knee: cloth or skin, and the shaft of a boot or a sock."""
    above = skin if bare else fabric
    if not boots and not bare:
        return above
    sock = COLOURS["white"] if person.lower.kind == "shorts" else skin
    below = COLOURS[person.shoes.colour] if boots else sock
    edge = 0.42 if boots and bare else 0.70 if boots else 0.84

    def texture(s: Surface) -> np.ndarray:
        return mix(plain(paint(above, s)), below, _soft(s.along - edge, 2.5 / s.scale))

    return texture


def shoe(person: Person) -> Texture:
    """A shoe with a sole that can be told from it."""
    colour = COLOURS[person.shoes.colour]
    pale = person.shoes.colour not in ("white", "black")
    sole = (0.86, 0.85, 0.82) if pale else (0.35, 0.34, 0.33)
    return lambda s: mix(colour, sole, 0.9 * _soft(-s.up - 0.5, 0.2))


def backpack(person: Person) -> Texture:
    """Body, front pocket and handle of a backpack."""
    colour = plain(COLOURS[person.bag.colour])

    def texture(s: Surface) -> np.ndarray:
        left, down = s.left * s.half_width, s.along * s.length
        pocket = np.maximum(np.abs(left) - 0.095, np.abs(down - 0.25) - 0.085)
        edge = _soft(0.011 - np.abs(pocket), 1.2 / s.scale)
        out = mix(colour, colour * np.float32(0.5), edge)
        zip_ = _soft(0.012 - np.abs(down - 0.10), 1.2 / s.scale)
        return mix(out, colour * 0.3 + 0.45, zip_ * 0.8)

    return texture


def leather(person: Person, shade: float) -> Colour:
    """Return the colour of a bag, darker or brighter."""
    red, green, blue = COLOURS[person.bag.colour]
    return red * shade, green * shade, blue * shade


def strands(hair: Colour) -> Texture:
    """Hair that falls: fine light and dark strands along it."""

    def texture(s: Surface) -> np.ndarray:
        streak = noise(s.left * 5 + 20, s.along * 1.5 + 3 * s.forward)
        return plain(hair) * (1 + 0.22 * streak)

    return texture


def head(person: Person, skin: Colour) -> Texture:
    """Face in front, hair around it."""
    style = person.hair
    hair = COLOURS[person.hair_colour] if style == "cap" else HAIRS[person.hair_colour]
    tone = plain(skin)
    lips = (skin[0] * 0.78, skin[1] * 0.50, skin[2] * 0.50)
    nape = {"long": -1.2, "bob": -1.0, "cap": -0.55, "cropped": -0.35}.get(style, -0.6)
    brow = {"cropped": 0.55, "cap": 0.26, "bald": 9.0}.get(style, 0.42)
    stubble = hair if style != "cap" else (0.15, 0.11, 0.09)

    def texture(s: Surface) -> np.ndarray:
        face = _face(s, tone, stubble, lips)
        if person.beard:
            chin = _soft(-0.38 - s.up, 9 / s.scale) * _soft(s.forward - 0.1, 0.3)
            face = mix(face, stubble, 0.8 * chin * (1 - _spot(s, 0.0, -0.50, wide=0.25, tall=0.05)))
        if style == "bald":
            return face
        # the hairline: over the brow in front, above the ear at the side, the nape behind
        ear = 0.05 if nape > -0.9 else nape
        front = ear + (brow - ear) * clamp((s.forward - 0.30) / 0.35, 0, 1)
        behind = nape + (ear - nape) * clamp((s.forward + 0.15) / 0.30, 0, 1)
        line = np.where(s.forward > 0.30, front, behind)
        streak = noise(s.left * 4 + 30, s.up * 4 + 30 + 2 * s.forward)
        shaded = plain(hair) * (1 + 0.16 * streak + 0.10 * s.up)
        return mix(face, shaded, _soft(s.up - line, 9 / s.scale))

    return texture


def _face(s: Surface, tone: np.ndarray, brows: Colour, lips: Colour) -> np.ndarray:
    """Brows, eyes, nose and mouth, where the head looks forward."""
    front = _soft(s.forward - 0.25, 0.3)
    sockets = _soft(0.16 - np.abs(s.up - 0.10), 0.2) * front
    face = tone * (1 - 0.16 * sockets)
    eyes = _spot(s, 0.40, 0.08, wide=0.125, tall=0.075)
    face = mix(face, (0.86, 0.84, 0.82), 0.55 * eyes * front)
    face = mix(face, (0.08, 0.06, 0.06), _spot(s, 0.39, 0.08, wide=0.062, tall=0.2) * eyes * front)
    face = mix(face, brows, 0.6 * _spot(s, 0.41, 0.25, wide=0.19, tall=0.04) * front)
    face = mix(face, tone * np.float32(0.72), _spot(s, 0.0, -0.22, wide=0.10, tall=0.05) * front)
    return mix(face, lips, _spot(s, 0.0, -0.50, wide=0.25, tall=0.05) * front)


def _spot(s: Surface, left: float, up: float, *, wide: float, tall: float) -> np.ndarray:
    """A soft mark of half sizes (wide, tall) on both sides of the face; left = 0 is its middle."""
    soft = 9.0 / s.scale
    aside = np.abs(np.abs(s.left) - left) if left else np.abs(s.left)
    return _soft(wide - aside, soft) * _soft(tall - np.abs(s.up - up), soft)
