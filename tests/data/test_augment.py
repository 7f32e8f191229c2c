import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from mmagga.config import AugmentConfig
from mmagga.data import augment
from mmagga.data.augment import Draws, apply, draw, normalize

SIZE = (32, 16)
PLAIN = AugmentConfig(flip=0, pad=4, erase=0)


def some_clips(clips=3, frames=2):
    shape = (clips, frames, 3, *SIZE)
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def one_by_one(frame, flip, top, left, erase, pad):
    """The same with torchvision's transforms, one frame at a time."""
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    if flip:
        image = v2.functional.hflip(image)
    image = v2.functional.pad(image, [pad])
    image = v2.functional.crop(image, top, left, *SIZE)
    out = v2.functional.to_dtype(v2.functional.to_image(image), torch.float32, scale=True)
    out = v2.functional.normalize(out, augment.MEAN, augment.STD)
    value = torch.tensor(augment.ERASE_VALUE)[:, None, None]
    return v2.functional.erase(out, *erase, value) if erase[2] else out


def test_apply_is_torchvision_frame_by_frame():
    clips = some_clips()
    draws = draw(AugmentConfig(pad=4), 3, 2, SIZE, seed=3, epoch=1, step=7)
    assert draws.flip.any()
    assert (draws.erase[:, 2] > 0).any()
    expected = [
        one_by_one(frame, *(d[i].tolist() for d in draws[:4]), pad=4)
        for i, frame in enumerate(clips.flatten(0, 1))
    ]
    ours = apply(clips, draws, pad=4)
    torch.testing.assert_close(ours.flatten(0, 1), torch.stack(expected), rtol=1e-5, atol=1e-6)


def test_both_ways_to_move_frames_agree():
    frames = some_clips().flatten(0, 1)
    draws = draw(AugmentConfig(pad=4), 3, 2, SIZE, seed=3, epoch=1, step=7)
    by_slices = augment.move_by_slices(frames, draws, 4)
    assert torch.equal(by_slices, augment.move_by_gather(frames, draws, 4))
    assert not torch.equal(by_slices, frames)


def test_nothing_drawn_changes_nothing():
    clips = some_clips()
    nothing = draw(dataclasses.replace(PLAIN, pad=0), 3, 2, SIZE, seed=0, epoch=0, step=0)
    torch.testing.assert_close(apply(clips, nothing, 0), normalize(clips), rtol=0, atol=0)


def test_draws_depend_on_seed_epoch_and_step_alone():
    config = AugmentConfig()
    first = draw(config, 4, 8, SIZE, seed=1, epoch=2, step=3)
    again = draw(config, 4, 8, SIZE, seed=1, epoch=2, step=3)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    key = {"seed": 1, "epoch": 2, "step": 3}
    for name, value in key.items():
        other = key | {name: value + 1}
        assert (first.erase != draw(config, 4, 8, SIZE, **other).erase).any()


def test_per_clip_draws_are_shared_by_its_frames():
    draws = draw(AugmentConfig(per_clip=True), 5, 4, SIZE, seed=0, epoch=0, step=0)
    for values in draws:
        grouped = values.reshape(5, 4, -1)
        assert (grouped == grouped[:, :1]).all()
    assert len({tuple(box) for box in draws.erase}) > 2
    alone = draw(AugmentConfig(per_clip=False), 5, 4, SIZE, seed=0, epoch=0, step=0)
    assert any((v.reshape(5, 4, -1) != v.reshape(5, 4, -1)[:, :1]).any() for v in alone)


def reference_boxes(n, size):
    """Random erasing as SPEC words it, one at a time."""
    rng, (h, w), boxes = np.random.default_rng(0), size, []
    for _ in range(n):
        for _ in range(100):
            area, aspect = rng.uniform(0.02, 0.4) * h * w, rng.uniform(0.3, 1 / 0.3)
            eh, ew = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if eh < h and ew < w:
                boxes.append((rng.integers(0, h - eh + 1), rng.integers(0, w - ew + 1), eh, ew))
                break
    return np.array(boxes)


def test_distribution_matches_the_transforms_one_by_one():
    size, n = (256, 128), 20_000
    draws = draw(AugmentConfig(), n, 1, size, seed=0, epoch=0, step=0)
    assert draws.flip.mean() == pytest.approx(0.5, abs=0.015)
    for shift in (draws.top, draws.left):
        counts = np.bincount(shift, minlength=21)
        assert len(counts) == 21
        assert counts == pytest.approx(n / 21, rel=0.15)
    erased = draws.erase[draws.erase[:, 2] > 0]
    assert len(erased) / n == pytest.approx(0.5, abs=0.015)
    quantiles = np.linspace(0.05, 0.95, 10)
    theirs = np.quantile(reference_boxes(n // 2, size), quantiles, axis=0)
    ours = np.quantile(erased, quantiles, axis=0)
    assert np.abs(ours - theirs).max() < 4, "pixels, at every decile of top, left, height, width"


def test_erased_boxes_lie_inside_and_reach_every_edge():
    h, w = size = (8, 8)  # so small that many tries are as high or as wide as the frame
    top, left, height, width = draw(
        AugmentConfig(erase=1), 2000, 1, size, seed=0, epoch=0, step=0
    ).erase.T
    assert (height > 0).all()
    assert (height.max(), width.max()) == (h - 1, w - 1)
    assert (top.min(), left.min()) == (0, 0)
    assert ((top + height).max(), (left + width).max()) == (h, w)


def test_crop_brings_in_a_black_border():
    clips = torch.full((1, 1, 3, *SIZE), 255, dtype=torch.uint8)
    still = np.tile(np.float32((1, 0)), (1, 3, 1))
    draws = Draws(np.array([False]), np.array([0]), np.array([0]), np.zeros((1, 4), int), still)
    out = apply(clips, draws, pad=4)[0, 0]
    black = normalize(torch.zeros(1, 3, 1, 1, dtype=torch.uint8)).squeeze()
    assert torch.equal(out[:, 0, 0], black)
    assert torch.equal(out[:, :4], black[:, None, None].expand(3, 4, SIZE[1]))
    assert (out[:, 4:, 4:] > 2).all()


def test_tone_changes_light_and_colour_of_a_clip_and_nothing_else():
    plain, toned = (
        draw(AugmentConfig(pad=4, tone=tone), 3, 2, SIZE, seed=3, epoch=1, step=7)
        for tone in (0.0, 0.5)
    )
    for name in ("flip", "top", "left", "erase"):
        assert np.array_equal(getattr(plain, name), getattr(toned, name))
    assert (plain.tone == (1, 0)).all()
    by_clip = toned.tone.reshape(3, 2, 3, 2)
    assert np.array_equal(by_clip[:, 0], by_clip[:, 1])
    assert not np.array_equal(by_clip[0], by_clip[1])


def test_tone_is_gain_and_contrast_of_the_pixels():
    """p becomes gain · (contrast · (p - 1/2) + 1/2): grey of 1/2 shows the gain alone."""
    toned = draw(AugmentConfig(0, 0, 0, tone=0.5), 1, 1, SIZE, seed=1, epoch=0, step=0)
    mean, std = (torch.tensor(v)[:, None, None] for v in (augment.MEAN, augment.STD))
    values = {}
    for byte in (51, 102, 204):
        clip = torch.full((1, 1, 3, *SIZE), byte, dtype=torch.uint8)
        values[byte / 255] = (apply(clip, toned, pad=0)[0, 0] * std + mean)[:, 0, 0]
    slope = (values[0.8] - values[0.4]) / 0.4  # gain · contrast
    gain = 2 * (values[0.4] + 0.1 * slope)
    torch.testing.assert_close(values[0.2], gain / 2 - 0.3 * slope, atol=1e-5, rtol=0)
    contrast = slope / gain
    torch.testing.assert_close(contrast, contrast[:1].expand(3), atol=1e-5, rtol=0)
    assert (gain.log().abs() <= 0.5).all()
    assert gain.unique().numel() == 3
