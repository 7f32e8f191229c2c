"""Embedding with a model made of numbers and frames made of row and position."""

import weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mmagga.data.augment import normalize
from mmagga.data.clips import dense_clips, dense_loader
from mmagga.data.tracklets import make_tracklets
from mmagga.errors import DataError, NumericError, ResourceError
from mmagga.retrieval import CLIP_RULES, embed, embed_by_rules, embedding

SIZE = (16, 8)
T = 8


class Model(nn.Module):
    """A linear map of the clip's mean frame; fails like a small device above `fits` clips."""

    def __init__(self, fits: int = 10**9) -> None:
        super().__init__()
        self.fits = fits
        self.batches: list[int] = []
        self.linear = nn.Linear(3 * SIZE[0] * SIZE[1], 5)
        self.dropout = nn.Dropout(0.5)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linspace(-1, 1, self.linear.weight.numel()).view(5, -1))
            self.linear.bias.copy_(torch.linspace(1, 2, 5))

    def forward(self, clips):
        self.batches.append(len(clips))
        if len(clips) > self.fits:
            raise torch.OutOfMemoryError("made up")
        assert torch.is_inference_mode_enabled()
        frames = clips.flatten(2).mean(1)  # (B, 3·H·W)
        return SimpleNamespace(embedding=self.dropout(self.linear(frames)))


def tracklets_of(lengths):
    names = [f"{row}/{i}.png" for row, n in enumerate(lengths) for i in range(n)]
    firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    rows = [("query", 10 + i, 1 + i % 2, f, n) for i, (f, n) in enumerate(zip(firsts, lengths))]
    return make_tracklets("made", Path("nowhere"), rows, names)


def frame(row: int, i: int) -> torch.Tensor:
    values = torch.arange(3 * SIZE[0] * SIZE[1]) * (3 + row) + 7 * i
    return (values % 256).to(torch.uint8).view(3, *SIZE)


def clips_of(row: int, length: int) -> torch.Tensor:
    return torch.stack(
        [torch.stack([frame(row, i) for i in clip]) for clip in dense_clips(length, T)]
    )


@pytest.fixture(autouse=True)
def alive(monkeypatch):
    """Put a loader without files in place; it notes how many batches are alive at once."""
    references, alive = [], []

    def loader(tracklets, frames, size, batch, workers=0, packed=None):
        assert (frames, size) == (T, SIZE)
        keys = [(r, c) for r, n in enumerate(tracklets.lengths) for c in dense_clips(n, frames)]
        for start in range(0, len(keys), batch):
            some = keys[start : start + batch]
            clips = torch.stack([torch.stack([frame(r, i) for i in clip]) for r, clip in some])
            references.append(weakref.ref(clips))
            alive.append(sum(reference() is not None for reference in references))
            yield clips, torch.tensor([r for r, _ in some])
            del clips

    monkeypatch.setattr(embedding, "dense_loader", loader)
    return alive


def at_once(model: Model, lengths: list[int], by_frames: bool = False) -> torch.Tensor:
    """The definition: all clips of a tracklet in one forward."""
    rows = []
    with torch.inference_mode():
        for row, length in enumerate(lengths):
            found = model.eval()(normalize(clips_of(row, length))).embedding
            real = torch.tensor([len(set(clip)) for clip in dense_clips(length, T)])
            weights = real / real.sum() if by_frames else torch.full((len(real),), 1 / len(real))
            rows.append(F.normalize(weights @ found, dim=0))
    return torch.stack(rows)


LENGTHS = [1, 7, 8, 9, 16, 17, 40]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_mean_of_dense_clips(batch):
    tracklets = tracklets_of(LENGTHS)
    found = embed(Model(), tracklets, frames=T, size=SIZE, batch=batch, progress=False)
    torch.testing.assert_close(found.vectors, at_once(Model(), LENGTHS))
    assert found.vectors.dtype == torch.float32
    assert found.pids.tolist() == tracklets.pids.tolist()
    assert found.camids.tolist() == tracklets.camids.tolist()
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(len(LENGTHS)))


def test_frames_from_files(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "dense_loader", dense_loader)
    tracklets = replace(tracklets_of([9, 2]), root=tmp_path)
    for row in range(len(tracklets)):
        for i, path in enumerate(tracklets.frames(row)):
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(frame(row, i).permute(1, 2, 0).numpy()).save(path)
    found = embed(Model(), tracklets, frames=T, size=SIZE, batch=2, progress=False)
    torch.testing.assert_close(found.vectors, at_once(Model(), [9, 2]))


def test_batches_are_of_constant_size():
    model = Model()
    embed(model, tracklets_of(LENGTHS), frames=T, size=SIZE, batch=4, progress=False)
    assert model.batches == [4, 4, 4, 3]


def test_clips_weighed_by_their_real_frames():
    tracklets = tracklets_of(LENGTHS)
    found = embed(
        Model(), tracklets, frames=T, size=SIZE, batch=4, clip="dense_by_frames", progress=False
    ).vectors
    torch.testing.assert_close(found, at_once(Model(), LENGTHS, by_frames=True))
    plain = at_once(Model(), LENGTHS)
    differs = (found - plain).abs().amax(1) > 1e-4
    assert differs.tolist() == [False, False, False, True, False, True, False]
    with pytest.raises(ValueError, match="dense_by_frames"):
        embed(Model(), tracklets, frames=T, size=SIZE, clip="random")


def test_clips_normalised_before_the_mean():
    found = embed(
        Model(),
        tracklets_of([17]),
        frames=T,
        size=SIZE,
        clip="dense_of_unit_clips",
        progress=False,
    )
    with torch.inference_mode():
        each = F.normalize(Model().eval()(normalize(clips_of(0, 17))).embedding)
    torch.testing.assert_close(found.vectors[0], F.normalize(each.mean(0), dim=0))
    assert not torch.allclose(found.vectors, at_once(Model(), [17]), atol=1e-4)


def test_the_first_clip_alone():
    found = embed(
        Model(), tracklets_of(LENGTHS), frames=T, size=SIZE, clip="first_clip", progress=False
    )
    torch.testing.assert_close(found.vectors, at_once(Model(), [min(n, T) for n in LENGTHS]))


def test_a_mean_of_its_own_length():
    found = embed(
        Model(), tracklets_of([17]), frames=T, size=SIZE, clip="dense_unnormalised", progress=False
    )
    with torch.inference_mode():
        each = Model().eval()(normalize(clips_of(0, 17))).embedding
    torch.testing.assert_close(found.vectors[0], each.mean(0))


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_all_rules_in_one_pass(batch):
    model = Model()
    options = {"frames": T, "size": SIZE, "progress": False}
    found = embed_by_rules(model, tracklets_of(LENGTHS), batch=batch, **options)
    assert sum(model.batches) == sum(len(dense_clips(n, T)) for n in LENGTHS)
    assert found.keys() == CLIP_RULES.keys()
    for rule, embeddings in found.items():
        alone = embed(Model(), tracklets_of(LENGTHS), clip=rule, batch=batch, **options)
        assert torch.equal(embeddings.vectors, alone.vectors)


@pytest.mark.parametrize("fits", [1, 3, 5])
def test_out_of_memory_halves_the_batch(fits):
    model = Model(fits)
    found = embed(model, tracklets_of(LENGTHS), frames=T, size=SIZE, batch=8, progress=False)
    torch.testing.assert_close(found.vectors, at_once(Model(), LENGTHS))
    failures = [n for n in model.batches if n > fits]
    assert failures == [n for n in (8, 4, 2) if n > fits]  # learnt once, not at every batch


def test_not_even_one_clip_fits():
    with pytest.raises(ResourceError, match=r"\(8, 3, 16, 8\) does not fit"):
        embed(Model(fits=0), tracklets_of(LENGTHS), frames=T, size=SIZE, progress=False)


def test_a_tracklet_of_2000_frames_is_never_whole(alive):
    model = Model()
    found = embed(model, tracklets_of([2000, 3]), frames=T, size=SIZE, batch=16, progress=False)
    assert max(model.batches) == 16
    assert len(alive) == 16
    assert max(alive) <= 2  # the one in hand and the one just read
    torch.testing.assert_close(found.vectors, at_once(Model(), [2000, 3]), atol=1e-6, rtol=0)


def test_training_flags_come_back():
    model = Model().train()
    model.linear.eval()  # a frozen part
    embed(model, tracklets_of([3]), frames=T, size=SIZE, progress=False)
    assert (model.training, model.linear.training, model.dropout.training) == (True, False, True)
    failing = Model(fits=0).train()
    with pytest.raises(ResourceError):
        embed(failing, tracklets_of([3]), frames=T, size=SIZE, progress=False)
    assert failing.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_named(monkeypatch, value):
    def forward(self, clips):
        found = torch.ones(len(clips), 5)
        found[clips.shape[0] - 1, 2] = value
        return SimpleNamespace(embedding=found)

    monkeypatch.setattr(Model, "forward", forward)
    with pytest.raises(NumericError, match=r"tracklet 1 \(person 11, camera 2, from nowhere/1/0"):
        embed(Model(), tracklets_of([8, 8, 8, 8]), frames=T, size=SIZE, batch=2, progress=False)


def test_nothing_to_embed():
    with pytest.raises(DataError, match="no tracklets"):
        embed(Model(), tracklets_of([3]).subset([]), frames=T, size=SIZE)


def test_a_loader_that_loses_clips(monkeypatch):
    batches = (batch for batch in [(clips_of(0, 8), torch.tensor([0]))])
    monkeypatch.setattr(embedding, "dense_loader", lambda *_, **__: batches)
    with pytest.raises(DataError, match="expected 2 clips, the loader gave 1"):
        embed(Model(), tracklets_of([16]), frames=T, size=SIZE, progress=False)
