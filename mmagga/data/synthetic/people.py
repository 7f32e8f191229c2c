"""Who walks here: what each person looks like, and who could be taken for whom.

Half of the identities come in confusable groups of three that share everything except the parts
named in `Person.differs`; a model that reads the jacket alone must mix them up.
"""

from dataclasses import asdict, dataclass, replace

from mmagga.data.synthetic.dice import Dice
from mmagga.data.synthetic.paint import Colour

COLOURS: dict[str, Colour] = {
    "black": (0.09, 0.09, 0.10),
    "charcoal": (0.25, 0.26, 0.28),
    "grey": (0.52, 0.53, 0.54),
    "silver": (0.76, 0.77, 0.78),
    "white": (0.93, 0.93, 0.91),
    "cream": (0.90, 0.84, 0.70),
    "beige": (0.74, 0.64, 0.48),
    "camel": (0.66, 0.46, 0.26),
    "brown": (0.38, 0.24, 0.15),
    "burgundy": (0.45, 0.08, 0.15),
    "red": (0.82, 0.12, 0.13),
    "coral": (0.94, 0.45, 0.38),
    "orange": (0.93, 0.50, 0.10),
    "mustard": (0.83, 0.64, 0.13),
    "yellow": (0.96, 0.85, 0.20),
    "olive": (0.40, 0.41, 0.18),
    "green": (0.14, 0.50, 0.24),
    "mint": (0.58, 0.83, 0.70),
    "teal": (0.06, 0.47, 0.50),
    "turquoise": (0.20, 0.70, 0.76),
    "sky": (0.52, 0.73, 0.92),
    "blue": (0.13, 0.32, 0.74),
    "denim": (0.29, 0.40, 0.58),
    "navy": (0.10, 0.14, 0.32),
    "violet": (0.42, 0.22, 0.60),
    "lilac": (0.74, 0.62, 0.85),
    "pink": (0.94, 0.58, 0.72),
    "magenta": (0.78, 0.14, 0.48),
}
SKINS: dict[str, Colour] = {
    "porcelain": (0.96, 0.80, 0.71),
    "fair": (0.90, 0.70, 0.57),
    "tan": (0.79, 0.57, 0.42),
    "olive": (0.67, 0.47, 0.33),
    "brown": (0.50, 0.33, 0.22),
    "dark": (0.33, 0.21, 0.15),
}
HAIRS: dict[str, Colour] = {
    "black": (0.08, 0.07, 0.07),
    "dark brown": (0.20, 0.13, 0.09),
    "brown": (0.36, 0.23, 0.14),
    "auburn": (0.50, 0.20, 0.10),
    "ginger": (0.74, 0.38, 0.14),
    "blond": (0.85, 0.68, 0.38),
    "grey": (0.60, 0.60, 0.60),
    "white": (0.86, 0.85, 0.82),
}
_TROUSER_COLOURS = [
    "black", "charcoal", "grey", "white", "beige", "camel",
    "brown", "burgundy", "olive", "denim", "navy", "sky",
]  # fmt: skip
_SKIRT_COLOURS = [
    "black", "red", "beige", "mustard", "green", "teal",
    "navy", "violet", "pink", "white", "coral", "denim",
]  # fmt: skip
_SHOE_COLOURS = ["black", "white", "brown", "red", "blue", "grey", "mustard", "turquoise"]
_BAG_COLOURS = [
    "black", "red", "camel", "navy", "yellow", "teal", "grey", "magenta", "olive", "orange",
]  # fmt: skip
_PATTERNS = ("plain", "plain", "stripes", "bars", "checks", "block", "print", "dots")
_BAGS = ("none", "none", "backpack", "shoulder bag", "handbag")
DIFFERENCES = (("lower",), ("shoes", "bag"), ("upper",), ("hair", "bag"))
"""What the members of one group differ in, group after group."""


@dataclass(frozen=True)
class Garment:
    """One piece of clothing, by the names of its kind, colours and pattern."""

    kind: str
    colour: str
    pattern: str = "plain"
    second: str = "white"

    def __str__(self) -> str:
        look = self.colour
        if self.pattern != "plain":
            look += f" with {self.second} {self.pattern}"
        return f"{look} {self.kind}"


@dataclass(frozen=True)
class Person:
    """Everything that stays the same about somebody from camera to camera."""

    name: str
    height: float
    """Metres."""
    build: float
    """Width against the average: 0.86 slender, 1.2 heavy."""
    skin: str
    hair: str
    """Style: short, cropped, long, ponytail, bun, bob, cap or bald."""
    hair_colour: str
    beard: bool
    upper: Garment
    """T-shirt, shirt, sweater or dress."""
    sleeves: float
    """Share of the arm they cover: 0.3 short, 1 long."""
    jacket: Garment | None
    """Worn over the upper garment: an open jacket, a zipped one, or a coat."""
    lower: Garment
    """Trousers, wide trousers, shorts, leggings or skirt."""
    shoes: Garment
    """Shoes or boots."""
    bag: Garment
    """Backpack, shoulder bag, handbag or none."""
    stride: float
    """Swing of the thighs, radians."""
    arm_swing: float
    """Swing of the arms, radians."""
    lean: float
    """Of the trunk, radians forward."""
    group: str = ""
    """Name of the confusable group, empty for everybody else."""
    differs: tuple[str, ...] = ()
    """What tells the members of the group apart."""

    def row(self) -> dict[str, str]:
        """Return the line of the identities table."""
        values = asdict(self)
        for name in ("upper", "jacket", "lower", "shoes", "bag"):
            worn = getattr(self, name)
            values[name] = "" if worn is None or worn.kind == "none" else str(worn)
        values["beard"] = "yes" if self.beard else ""
        values["differs"] = " and ".join(self.differs)
        return {
            key: f"{value:.3f}" if isinstance(value, float) else str(value)
            for key, value in values.items()
        }


def without(person: Person, part: str) -> Person:
    """Return the same person without one part.

    | part  | becomes                                                            |
    |-------|--------------------------------------------------------------------|
    | bag   | no bag, its straps gone with it                                    |
    | hair  | a bald, shaven head                                                |
    | upper | plain grey shirt and jacket (a dress keeps its skirt)              |
    | lower | plain grey trousers, shorts, leggings or skirt                     |

    "" and "occluder", which is not a part of anybody, change nothing.
    """
    if part == "bag":
        return replace(person, bag=Garment("none", person.bag.colour))
    if part == "hair":
        known = person.hair_colour if person.hair != "cap" else "dark brown"
        return replace(person, hair="bald", hair_colour=known, beard=False)
    if part == "upper":
        jacket = replace(person.jacket, **_PLAIN) if person.jacket else None
        return replace(person, upper=replace(person.upper, **_PLAIN), jacket=jacket)
    if part == "lower":
        return replace(person, lower=replace(person.lower, **_PLAIN))
    return person


_PLAIN = {"colour": "grey", "pattern": "plain"}


def identity(seed: int, split: str, index: int) -> Person:
    """Return the person with this place in "train", "test", "all", "distractor" or "passer-by"."""
    name = f"{split} {index}"
    group, member = divmod(index, 3)
    if split not in ("train", "test", "all") or group % 2:
        return _anybody(Dice(seed, "person", split, index), name)
    shared = _anybody(Dice(seed, "group", split, group), name)
    differs = DIFFERENCES[group // 2 % len(DIFFERENCES)]
    shared = replace(shared, group=f"{split} group {group}", differs=differs)
    if "hair" in differs and shared.hair in ("cap", "bald"):
        shared = replace(shared, hair="short")
    if "upper" in differs:
        shared = replace(shared, jacket=None)
    variants = Dice(seed, "variants", split, group)
    for what in differs:
        shared = _vary(shared, what, variants, member)
    return shared


def _vary(person: Person, what: str, dice: Dice, member: int) -> Person:
    """Give the group's member his own version of one part; no two members get the same."""
    if what == "hair":
        return replace(
            person, hair_colour=dice.sample(["black", "auburn", "blond", "white"], 3)[member]
        )
    if what == "bag":
        kinds = dice.sample(["none", "backpack", "shoulder bag", "handbag"], 3)
        colours = _apart(dice, _BAG_COLOURS, 3)
        return replace(person, bag=Garment(kinds[member], colours[member]))
    palettes = {
        "lower": _SKIRT_COLOURS if person.lower.kind == "skirt" else _TROUSER_COLOURS,
        "shoes": _SHOE_COLOURS,
        "upper": list(COLOURS),
    }
    garment: Garment = getattr(person, what)
    colour = _apart(dice, palettes[what], 3)[member]
    return replace(
        person, **{what: replace(garment, colour=colour, second=_contrast(colour, dice))}
    )


def _apart(dice: Dice, names: list[str], count: int) -> list[str]:
    """Choose colours that nobody confuses: one at random, then always the farthest from all."""
    chosen = [dice.pick(names)]
    while len(chosen) < count:
        chosen.append(max(names, key=lambda name: min(_far(name, other) for other in chosen)))
    return chosen


def _far(a: str, b: str) -> float:
    return sum((x - y) * (x - y) for x, y in zip(COLOURS[a], COLOURS[b]))


def _contrast(colour: str, dice: Dice) -> str:
    return _farthest(colour, dice.sample(list(COLOURS), 6))


def _farthest(colour: str, pool: list[str]) -> str:
    return max(pool, key=lambda name: _far(name, colour))


def _anybody(dice: Dice, name: str) -> Person:
    """Draw somebody; women and men differ only in how often they wear what."""
    woman = dice.chance(0.5)
    upper, sleeves, jacket, lower = _clothes(dice, woman)
    hair = dice.pick(
        ("long", "long", "ponytail", "bun", "bob", "short")
        if woman
        else ("short", "short", "cropped", "short", "bald", "cap")
    )
    boots = dice.chance(0.35 if woman else 0.15)
    return Person(
        name=name,
        height=dice.uniform(1.58, 1.74) if woman else dice.uniform(1.68, 1.90),
        build=dice.uniform(0.84, 1.02) if woman else dice.uniform(0.92, 1.18),
        skin=dice.pick(list(SKINS)),
        hair=hair,
        hair_colour=dice.pick(list(COLOURS)) if hair == "cap" else dice.pick(list(HAIRS)),
        beard=not woman and dice.chance(0.3),
        upper=upper,
        sleeves=sleeves,
        jacket=jacket,
        lower=lower,
        shoes=Garment("boots" if boots else "shoes", dice.pick(_SHOE_COLOURS)),
        bag=Garment(dice.pick(_BAGS), dice.pick(_BAG_COLOURS)),
        stride=dice.uniform(0.31, 0.42),
        arm_swing=dice.uniform(0.25, 0.55),
        lean=dice.uniform(0.0, 0.09),
    )


def _clothes(dice: Dice, woman: bool) -> tuple[Garment, float, Garment | None, Garment]:
    """Draw upper garment, its sleeves, jacket and lower garment."""
    sleeves = dice.pick((0.3, 0.3, 1.0))
    upper = _garment(dice, "T-shirt" if sleeves < 1 else "sweater", list(COLOURS), _PATTERNS)
    if woman and dice.chance(0.15):
        pattern = upper.pattern if upper.pattern in ("checks", "dots") else "plain"
        upper, lower = replace(upper, kind="dress"), replace(upper, kind="skirt", pattern=pattern)
    else:
        lower = _lower(dice, woman)
    jacket = None
    if dice.chance(0.42):
        kind = dice.pick(("open jacket", "open jacket", "jacket", "coat"))
        shade = _farthest(upper.colour, dice.sample(list(COLOURS), 4))
        jacket = _garment(dice, kind, [shade], ("plain", "plain", "block"))
    return upper, sleeves, jacket, lower


def _lower(dice: Dice, woman: bool) -> Garment:
    kinds = ("trousers", "leggings", "skirt", "wide trousers", "shorts")
    kind = dice.pick(kinds if woman else ("trousers", "trousers", "wide trousers", "shorts"))
    if kind == "skirt":
        return _garment(dice, kind, _SKIRT_COLOURS, ("plain", "plain", "plain", "checks"))
    return _garment(dice, kind, _TROUSER_COLOURS, ("plain", "plain", "plain", "side stripe"))


def _garment(dice: Dice, kind: str, colours: list[str], patterns: tuple[str, ...]) -> Garment:
    colour = dice.pick(colours)
    return Garment(kind, colour, dice.pick(patterns), _contrast(colour, dice))
