from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mmagga.browser.paint import BRUSH_WIDTH, PAIR_WIDTH, colours, outline, overlay, png
from mmagga.browser.render import LOWER, Layout, Scale, Side, Term, pair_view, stack, strip_tile
from mmagga.browser.touch import TOUCH_HEIGHT, Bars, brush_view
from mmagga.data.masks import resize_masks

SCALE = Scale("weight", "weight", ((-1, "1/e"), (0, "1"), (1, "e")))
TERMS = [Term("constant", -0.2), Term("global", 0.9), Term("sum", 0.7)]
GREEN, RED = (0, 158, 115), (213, 94, 0)


def frames(count=4, height=32, width=16):
    values = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return values


def side(count=4, maps=("p1",), value=0.0, **changes):
    drawn = {name: np.full((count, 4, 2), value, np.float32) for name in maps}
    options = {"weights": np.full(count, 1 / count), "repeats": np.zeros(count, bool)} | changes
    return Side("Query", frames(count), drawn, **options)


def pair(one, **options):
    return pair_view([one, one], TERMS, SCALE, **{"frame": 0, "opacity": 1.0} | options).image


def test_colours_are_white_at_uniform_and_stop_at_the_ends():
    found = colours(np.array([-9.0, -1.0, 0.0, 1.0, 9.0]), "weight")
    assert found[2].min() > 0.98
    assert (found[0] == found[1]).all()
    assert (found[3] == found[4]).all()
    assert found[1][2] > found[1][0], "below uniform is blue"
    assert found[3][0] > found[3][2], "above is red"


def test_an_overlay_is_cell_by_cell_and_fades_to_the_frame():
    grey = np.full((1, 8, 4, 3), 128, np.uint8)
    maps = np.array([[[-1.0, -1.0], [1.0, 1.0]]])
    painted = overlay(grey, maps, "weight", 1.0)[0]
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 2, "nothing is smoothed"
    assert (painted[:4] == painted[0, 0]).all()
    assert (painted[4:] == painted[7, 3]).all()
    assert (overlay(grey, maps, "weight", 0.0) == grey).all()


def test_a_uniform_map_has_no_colour():
    painted = overlay(frames(), np.zeros((4, 4, 2)), "weight", 1.0).astype(int)
    assert np.ptp(painted, axis=3).max() <= 3


def test_outline_is_the_border_inside():
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    edge = outline(mask)
    assert edge.sum() == 12
    assert not edge[2:4, 2:4].any()
    assert not (edge & ~mask).any()


def test_masks_are_enlarged_and_shrunk_by_their_nearest_pixels():
    mask = np.array([[[True, False], [False, False]]])
    large = resize_masks(mask, (4, 6))
    assert large[0, :2, :3].all()
    assert large.sum() == 6
    assert (resize_masks(large, (2, 2)) == mask).all()


@pytest.mark.parametrize(("match", "colour"), [(True, GREEN), (False, RED)])
def test_a_tile_says_right_or_wrong_by_colour_and_mark(match, colour):
    tile = strip_tile(frames(), match)
    assert tile.getpixel((0, 0)) == colour
    corner = np.asarray(tile)[-20:, -20:]
    assert (corner == 255).all(axis=2).any(), "a white tick or cross"
    other = np.asarray(strip_tile(frames(), not match))[-20:, -20:]
    ticks = (corner == 255).all(axis=2) != (other == 255).all(axis=2)
    assert ticks.any(), "the mark differs as well as the colour"


def test_a_short_tile_is_as_wide_as_a_long_one():
    assert strip_tile(frames(2), None).size == strip_tile(frames(4), None).size


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_a_side_fits_its_half(count):
    for rows in (2, 5):
        layout = Layout.of(count, (256, 128), rows)
        for place in range(rows + 1):
            left, _ = layout.corner(place)
            assert left + count * (layout.width + 2) <= PAIR_WIDTH // 2
        assert layout.total < 700


def test_the_pair_view_is_as_tall_as_it_is_told():
    low, high = pair(side()), pair(side(), height=900)
    assert low.width == high.width == PAIR_WIDTH
    assert low.height < high.height == 900
    assert low.height > LOWER


def test_values_reach_the_picture():
    plain = pair(side())
    for changed in (
        pair(side(value=0.9)),
        pair(side(weights=np.array([0.7, 0.1, 0.1, 0.1]))),
        pair(side(repeats=np.array([False, False, False, True]))),
        pair(side(occluders=np.arange(4 * 32 * 16).reshape(4, 32, 16) % 32 < 8)),
        pair(side(), frame=2),
        pair(side(notes={"p1": ["R 1.5"]})),
        pair_view([side(), side()], [*TERMS[:1], Term("g", 0.1), Term("sum", -0.1)], SCALE,
                  frame=0, opacity=1.0).image,
    ):  # fmt: skip
        assert changed.tobytes() != plain.tobytes()


def test_the_brush_view_shows_before_and_after():
    options = {"opacity": 1, "limits": True, "title": "map", "changes": {"8 bands (p2)": "+1"}}
    names, one, two = ["frame", "band 1 of 2"], np.array([1.0, 0.5]), np.array([1.2, 2.0])
    frame, values = frames()[0], np.zeros((4, 2))
    same = brush_view(frame, values, Bars(names, one, one), covered=None, **options)
    covered = np.ones((32, 16), bool)
    other = brush_view(frame, values, Bars(names, one, two), covered=covered, **options)
    assert same.image.size == other.image.size == (BRUSH_WIDTH, TOUCH_HEIGHT)
    left, right = other.spots
    assert left.drag
    assert right.values.tolist() == [["1", "1"]] * 4, "the map's numbers, not their logarithms"
    a, b = (np.asarray(one.image) for one in (same, other))
    assert (a[18 : 18 + 196, :98] != b[18 : 18 + 196, :98]).any(), "what is covered is outlined"
    assert (a[230:] != b[230:]).any(), "the weights after are drawn"


def test_a_spot_holds_the_numbers_that_its_colours_show():
    scale = SCALE._replace(read=np.exp)
    drawn = pair_view([side(value=0.5)] * 2, TERMS, scale, frame=0, opacity=1.0)
    first, *_, last = [spot for spot in drawn.spots if spot.values is not None]
    assert first.values.shape == (4, 2)
    assert set(first.values.ravel()) == {"1.65"}
    assert first.text.startswith("p1 · frame 1")
    assert last.box[0] > PAIR_WIDTH / 2, "the gallery's clip has its spots, too"


def test_a_png_holds_its_provenance():
    data = png(stack([pair(side())], ["run: α", "checkpoint: 123"]), {"run": "α <b>"})
    image = Image.open(BytesIO(data))
    assert image.format == "PNG"
    assert image.text["run"] == "α <b>"


def test_long_lines_below_a_page_are_wrapped_not_cut():
    short, long = (stack([pair(side())], ["settings: " + "x=1, " * n]) for n in (2, 90))
    assert long.height > short.height + 15


def test_the_same_picture_is_the_same_bytes():
    assert png(pair(side())) == png(pair(side()))
