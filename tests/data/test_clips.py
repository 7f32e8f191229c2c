import json
from pathlib import Path

import numpy as np
import pytest

from mmagga.data.clips import dense_clips, epoch_batches, training_clip
from mmagga.errors import DataError

PARITY = Path(__file__).parents[1] / "parity"


def test_dense_clips_are_the_authors():
    theirs = json.loads((PARITY / "dense_clips_T8.json").read_text())
    assert len(theirs) > 40
    for length, clips in theirs.items():
        assert dense_clips(int(length), 8) == clips


def test_dense_clips_cover_each_frame_in_order():
    for length in (1, 2, 7, 8, 9, 16, 17, 920):
        clips = dense_clips(length, 8)
        assert list(dict.fromkeys(i for clip in clips for i in clip)) == list(range(length))
        assert all(len(clip) == 8 for clip in clips)
    with pytest.raises(ValueError, match="at least one frame"):
        dense_clips(0, 8)


@pytest.mark.parametrize(("official", "starts"), [(True, 12), (False, 13)])
def test_training_clip_starts(official, starts):
    clips = [training_clip(20, 8, u, official) for u in np.linspace(0, 1, 1000, endpoint=False)]
    assert {clip[0] for clip in clips} == set(range(starts))
    assert all(np.diff(clip).tolist() == [1] * 7 for clip in clips)


@pytest.mark.parametrize("official", [True, False])
def test_short_tracklets_are_cycled(official):
    assert training_clip(3, 8, 0.99, official) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert training_clip(8, 8, 0.99, official) == list(range(8))
    assert training_clip(9, 8, 0.99, official)[0] == (0 if official else 1)


def labels_of(counts):
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def test_an_epoch_goes_once_through_the_identities():
    labels = labels_of([1, 2, 3, 4, 5, 9, 12])
    batches = epoch_batches(labels, 3, 4, seed=0, epoch=5)
    assert batches.shape == (2, 12)
    seen = labels[batches].reshape(-1, 4)
    assert (seen == seen[:, :1]).all(), "four tracklets of one identity stand together"
    assert len(set(seen[:, 0])) == 6, "no identity twice; the last incomplete batch is dropped"
    for identity, rows in zip(seen[:, 0], batches.reshape(-1, 4), strict=True):
        if (labels == identity).sum() >= 4:
            assert len(set(rows)) == 4, "without replacement where there are enough"


def test_order_is_a_function_of_seed_and_epoch():
    labels = labels_of([4] * 12)
    first = epoch_batches(labels, 4, 4, seed=1, epoch=2)
    assert (first == epoch_batches(labels, 4, 4, seed=1, epoch=2)).all()
    assert (first != epoch_batches(labels, 4, 4, seed=1, epoch=3)).any()
    assert (first != epoch_batches(labels, 4, 4, seed=2, epoch=2)).any()


def test_too_few_identities_for_a_batch():
    with pytest.raises(DataError, match="the training set has 3"):
        epoch_batches(labels_of([4, 4, 4]), 8, 4, seed=0, epoch=0)
