"""A tracklet and its twin differ in the thing that was left out, and in nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from mmagga.data import load_tracklets
from mmagga.data.frames import open_frames
from mmagga.data.masks import ARMS, BAG, HEAD, LEGS, OCCLUDER, SHOES, TORSO
from mmagga.data.synthetic import (
    PRESETS,
    SyntheticSpec,
    counterfactual,
    plans,
    render,
    render_tracklet,
    tracklet_counterfactual,
)
from mmagga.errors import DataError

SPEC = SyntheticSpec(8, 0, cameras=3, tracklets=(2, 3), frames=(3, 4), occlusion=1)
PLANS = [plan for plan in plans(SPEC) if plan.number == 1]
WHERE = {
    "hair": (HEAD,), "bag": (BAG, TORSO, ARMS, LEGS, SHOES, HEAD), "upper": (TORSO, ARMS, LEGS),
    "lower": (LEGS, SHOES, TORSO),
}  # fmt: skip


def grown(mask, pixels):
    """Widen masks (T, H, W) by some pixels on all sides."""
    wide = np.pad(mask, ((0, 0), (pixels, pixels), (pixels, pixels)))
    steps = range(2 * pixels + 1)
    h, w = mask.shape[1:]
    return np.any([wide[:, y : y + h, x : x + w] for y in steps for x in steps], axis=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return render(tmp_path_factory.mktemp("twins") / "tiny", "tiny", progress=False)


@pytest.mark.parametrize("without", ["occluder", *WHERE])
def test_outside_of_what_changed_no_pixel_differs(without):
    seen = 0
    for plan in PLANS[:5]:
        pair = counterfactual(SPEC, plan, without)
        differs = (pair.frames != pair.twin).any(3)
        assert not (differs & ~pair.changed).any()
        assert not ((pair.masks != pair.twin_masks) & ~pair.changed).any()
        seen += differs.sum() > 50
    assert seen >= 2


def test_what_changed_is_the_occluder_and_its_shadow():
    """The obstacle alone, filmed before nobody, covers all that changes."""
    for plan in PLANS[:6]:
        pair = counterfactual(SPEC, plan)
        thing = pair.masks == OCCLUDER
        assert pair.changed[thing].mean() > 0.9  # a pixel may have the colour of what it covers
        assert not (pair.twin_masks == OCCLUDER).any()
        # A shadow lies on the ground; behind, nothing is in a mask.
        assert (pair.changed & ~grown(thing, 2)).mean() < 0.05


@pytest.mark.parametrize("without", WHERE)
def test_a_part_changes_where_the_person_is(without):
    for plan in PLANS[:4]:
        pair = counterfactual(replace(SPEC, occlusion=0), plan, without)
        own = np.isin(pair.masks, WHERE[without]) | np.isin(pair.twin_masks, WHERE[without])
        # Beyond its edges a part only shades what it lies upon, which no mask says.
        beyond = pair.changed & ~grown(own, 4)
        difference = np.abs(pair.frames.astype(int) - pair.twin)[beyond]
        assert beyond.sum() < 0.2 * pair.changed.sum()
        assert difference.max(initial=0) < 20
        assert not (pair.changed & ~grown(own, 20)).any()


def test_the_person_moves_on_as_with_the_bag():
    plan = next(p for p in plans(PRESETS["demo"]) if BAG in render_tracklet(PRESETS["demo"], p)[1])
    pair = counterfactual(PRESETS["demo"], plan, "bag")
    assert BAG in pair.masks
    assert BAG not in pair.twin_masks
    legs = (pair.masks == LEGS) & ~pair.changed
    assert (pair.twin_masks[legs] == LEGS).all()


def test_the_frames_are_those_of_the_files_and_differ_in_touched_blocks(root):
    tracklets = load_tracklets("synthetic", root)
    spec = PRESETS["tiny"]
    store = open_frames(tracklets, (spec.height, spec.width))
    for row in range(0, len(tracklets), 3):
        pair = tracklet_counterfactual(tracklets, row)
        length = int(tracklets.lengths[row])
        assert np.array_equal(pair.frames, store.read(row, range(length)))
        differs = (pair.frames != pair.twin).any(3)
        t, h, w = differs.shape
        blocks = pair.changed.reshape(t, h // 16, 16, w // 16, 16).any((2, 4))
        touched = blocks.repeat(16, 1).repeat(16, 2)
        assert not (differs & ~grown(touched, 2)).any()  # colours are smoothed over block edges


def test_every_tracklet_can_be_given_an_occluder(root):
    tracklets = load_tracklets("synthetic", root)
    hidden = 0
    for row in range(len(tracklets)):
        pair = tracklet_counterfactual(tracklets, row, occlusion=1, numbers=[0, 1, 2])
        assert len(pair.frames) == 3
        hidden += OCCLUDER in pair.masks
    assert hidden > 0.6 * len(tracklets)


def test_a_twin_is_rendered_to_files(root, tmp_path):
    twin = render(tmp_path / "twin", "tiny", without="occluder", progress=False)
    tracklets, other = (load_tracklets("synthetic", folder) for folder in (root, twin))
    assert tracklets.table.equals(other.table)
    row = next(r for r in range(len(tracklets)) if
               tracklet_counterfactual(tracklets, r).changed.any())  # fmt: skip
    size = PRESETS["tiny"].height, PRESETS["tiny"].width
    pair = tracklet_counterfactual(tracklets, row)
    length = range(int(tracklets.lengths[row]))
    assert np.array_equal(pair.twin, open_frames(other, size).read(row, length))
    with pytest.raises(DataError, match="without"):
        render(twin, "tiny", progress=False)


def test_what_cannot_be_left_out_is_said(tmp_path):
    with pytest.raises(ValueError, match="without must be"):
        counterfactual(SPEC, PLANS[0], "nose")
    with pytest.raises(DataError, match="no rendered data set"):
        counterfactual(tmp_path, PLANS[0])
