import numpy as np
import pytest
import torch

from mmagga.attention.battery.occluders import (
    AREAS,
    OBJECTS,
    TEXTURES,
    band_shares,
    cut_out,
    paste,
    random_box,
    random_frames,
    texture,
    token_shares,
)
from mmagga.model.head import Head
from mmagga.randomness import generator

SIZE = (64, 32)


def rng(counter=0):
    return generator(0, "test", counter)


def clip(frames=4):
    return np.random.default_rng(1).integers(90, 160, (frames, *SIZE, 3), np.uint8)


@pytest.mark.parametrize("occluder", [*TEXTURES, "placebo", "person"])
def test_what_is_outside_the_mask_and_the_frames_stays(occluder):
    given = clip()
    before = given.copy()
    if occluder == "person":
        occluder = cut_out(clip()[0], np.pad(np.ones((30, 10), bool), ((10, 24), (11, 11))))
    found, mask = paste(given, occluder, [1, 3], (10, 4, 30, 20), generator=rng())
    assert np.array_equal(given, before)
    assert mask.shape == (4, *SIZE)
    assert mask.dtype == bool
    assert mask.any((1, 2)).tolist() == [False, True, False, True]
    outside = np.ones((4, *SIZE), bool)
    outside[[1, 3], 10:40, 4:24] = False
    assert np.array_equal(found[outside], given[outside])
    assert not mask[outside].any()
    assert (found[mask] != given[mask]).any()


def test_both_layouts_and_tensors_give_the_same_pixels():
    given = clip()
    last, mask = paste(given, "box", [0], (0, 0, 20, 20), generator=rng())
    first, _ = paste(given.transpose(0, 3, 1, 2), "box", [0], (0, 0, 20, 20), generator=rng())
    tensor, again = paste(torch.from_numpy(given), "box", [0], (0, 0, 20, 20), generator=rng())
    assert np.array_equal(first.transpose(0, 2, 3, 1), last)
    assert torch.equal(tensor, torch.from_numpy(last))
    assert np.array_equal(mask, again)


def test_a_paste_fades_in_except_at_the_frames_border():
    black = np.zeros((1, *SIZE, 3), np.uint8)
    found, _ = paste(black, "grey", [0], (0, 0, 20, 20), generator=rng())
    row = found[0, 5, :, 0]
    assert row[0] == row[10] == 124
    assert row[10] > row[18] > row[19] > row[20] == 0
    found, _ = paste(black, "grey", [0], (44, 12, 20, 20), generator=rng())
    assert found[0, -1, -1, 0] == found[0, -1, 20, 0] == found[0, 50, -1, 0] == 124
    assert 0 == found[0, 43, -1, 0] < found[0, 44, -1, 0] < 124


def test_the_placebo_is_the_same_place_of_another_frame():
    given = np.stack([np.full((*SIZE, 3), 10 * t, np.uint8) for t in range(3)])
    given[:, 30:40] += 5
    found, _ = paste(given, "placebo", [1], (20, 0, 44, 32), generator=rng())
    source = (found[1, 63, 0, 0] - 0) // 10
    assert source in (0, 2)
    assert np.array_equal(found[1, 25:], given[source, 25:])
    with pytest.raises(ValueError, match="only one"):
        paste(given[:1], "placebo", [0], (0, 0, 8, 8), generator=rng())


def test_boxes_have_their_area_and_stand_anywhere():
    for area in AREAS:
        boxes = np.array([random_box((256, 128), area, rng(i)) for i in range(400)])
        top, left, height, width = boxes.T
        assert (top >= 0).all()
        assert (left >= 0).all()
        assert (top + height <= 256).all()
        assert (left + width <= 128).all()
        assert np.abs(height * width / (256 * 128) - area).max() < 0.01
        assert (width >= 64 - 1).all()
        middle = (top + height / 2) / 256
        assert abs(middle.mean() - 0.5) < 0.05
    with pytest.raises(ValueError, match="share"):
        random_box((256, 128), 0, rng())


def test_frames_are_in_a_row_or_scattered_and_hit_all_alike():
    drawn = [random_frames(8, 3, rng(i)) for i in range(600)]
    in_a_row = [frames[-1] - frames[0] == 2 for frames in drawn]
    assert 0.4 < np.mean(in_a_row) < 0.65
    assert all(len(set(frames)) == 3 and frames == sorted(frames) for frames in drawn)
    assert random_frames(4, 4, rng()) == [0, 1, 2, 3]
    scattered = [random_frames(8, 2, rng(i), contiguous=False) for i in range(800)]
    hits = np.bincount(np.concatenate(scattered), minlength=8) / 800
    assert np.abs(hits - 0.25).max() < 0.06


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_differ_from_draw_to_draw_and_not_from_frame_to_frame(kind):
    one, other = (texture(kind, (40, 20), rng(i)) for i in range(2))
    assert one.shape == (40, 20, 4)
    assert not np.array_equal(one, other)
    found, mask = paste(
        np.full((2, *SIZE, 3), 100, np.uint8), kind, [0, 1], (0, 0, 40, 20), generator=rng()
    )
    assert np.array_equal(found[0], found[1])
    assert mask[0].sum() > 400


def test_cut_outs_are_as_bright_as_the_frame():
    person = np.full((*SIZE, 3), 30, np.uint8)
    found, mask = paste(clip(), cut_out(person), [0], (0, 0, 64, 32), generator=rng())
    assert abs(found[mask].mean() - 60) < 1  # at most twofold
    found, mask = paste(clip(), cut_out(person * 3), [0], (0, 0, 64, 32), generator=rng())
    assert abs(found[mask].mean() - clip()[0].mean()) < 2


@pytest.mark.parametrize("size", [(7, 3), (49, 31), (128, 64)])
def test_cut_outs_cover_boxes_of_any_shape(size):
    person = cut_out(np.full((*size, 3), 100, np.uint8), np.ones(size, bool))
    for i in range(200):
        box = random_box(SIZE, AREAS[i % len(AREAS)], rng(i))
        _, mask = paste(clip(), person, [0], box, generator=rng(i))
        assert mask.sum() >= 0.5 * box[2] * box[3]


def test_a_person_without_a_mask_is_a_rectangle():
    frame = clip()[0]
    assert np.array_equal(cut_out(frame), cut_out(frame, np.zeros(SIZE, bool)))
    assert (cut_out(frame)[..., 3] == 255).all()
    mask = np.zeros(SIZE, bool)
    mask[10:20, 5:9] = True
    mask[10, 5] = False
    found = cut_out(frame, mask)
    assert found.shape == (10, 4, 4)
    assert (found[..., 3] > 0).sum() == 39


def test_it_says_what_does_not_fit():
    with pytest.raises(ValueError, match="an occluder is one of"):
        paste(clip(), "cloud", [0], (0, 0, 8, 8), generator=rng())
    with pytest.raises(ValueError, match="do not lie in"):
        paste(clip(), "box", [4], (0, 0, 8, 8), generator=rng())
    with pytest.raises(ValueError, match="do not lie in"):
        paste(clip(), "box", [0], (60, 0, 8, 8), generator=rng())
    with pytest.raises(ValueError, match="uint8"):
        paste(clip().astype(np.float32), "box", [0], (0, 0, 8, 8), generator=rng())


def test_token_shares_are_of_bands_where_mma_is_stripes():
    head = Head(8, 2, 4, width=4, mma="stripes")
    masks = np.zeros((1, 4, 128, 64), bool)
    masks[0, 2, :48] = True  # three of eight bands
    for shares in (token_shares(masks, head), band_shares(masks, head)):
        assert shares["p2"][0, 2].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
        assert shares["p1"][0, 2].tolist() == [1, 0.5, 0, 0]
        assert shares["p3"][0, 2].tolist() == [0.75, 0]
        assert shares["global"][0, :, 0].tolist() == [0, 0, 0.375, 0]


def test_token_shares_follow_what_mma_learned_and_bands_do_not():
    head = Head(8, 2, 4, width=4)
    with torch.no_grad():
        head.mma["p3"].matrix.copy_(torch.tensor([[-1.0, 1.0], [0.0, 2.0]]))
    masks = np.zeros((1, 4, 128, 64), bool)
    masks[:, :, :64] = True
    assert token_shares(masks, head)["p3"][0, 0].tolist() == [0.5, 0]
    assert band_shares(masks, head)["p3"][0, 0].tolist() == [1, 0]
