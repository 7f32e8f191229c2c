import numpy as np
import pytest
import torch

from mmagga.attention.maps import weights
from mmagga.attention.swaps import SWAPS, embedding, swapped
from mmagga.model.head import Head
from mmagga.model.outputs import Attention
from mmagga.randomness import generator


def attention(seed=0, clips=3):
    g = torch.Generator().manual_seed(seed)
    parts = {name: torch.rand(clips, 4, p, generator=g) for name, p in (("p3", 2), ("p1", 4))}
    parts = {name: w / w.sum((1, 2), keepdim=True) for name, w in parts.items()}
    return Attention(torch.rand(clips, 4, generator=g).softmax(1), parts)


def shares(value=0.0):
    return {"global": torch.full((3, 4, 1), value)} | {
        name: torch.full((3, 4, p), value) for name, p in (("p3", 2), ("p1", 4))
    }


@pytest.mark.parametrize("how", SWAPS)
def test_swapped_weights_sum_to_one_and_the_given_ones_stay(how):
    given = attention()
    before = {name: w.clone() for name, w in weights(given).items()}
    branches = ["p3", "p1"] if how == "frames" else ["global", "p3", "p1"]
    found = swapped(
        given, how, temperature=0.05, occluded=shares(), generator=generator(0, "t"),
        branches=branches,
    )  # fmt: skip
    for name, w in weights(found).items():
        assert w.shape == before[name].shape
        assert torch.allclose(w.flatten(1).sum(1), torch.ones(3))
        assert torch.equal(weights(given)[name], before[name])


def test_only_the_branches_that_are_named_change():
    given = attention()
    everything = swapped(given, "uniform")
    assert torch.equal(everything.frames, given.frames)
    assert torch.equal(everything.parts["p1"], torch.full((3, 4, 4), 1 / 16))
    one = swapped(given, "uniform", branches=["p3"])
    assert torch.equal(one.parts["p1"], given.parts["p1"])
    assert torch.equal(one.parts["p3"], torch.full((3, 4, 2), 1 / 8))
    frames = swapped(given, "uniform", branches=["global"])
    assert torch.equal(frames.frames, torch.full((3, 4), 0.25))


def test_temperature_is_that_of_the_softmax():
    scores = torch.rand(2, 4, 4)
    given = attention(clips=2)
    given.parts["p1"] = scores.flatten(1).softmax(1).view_as(scores)
    found = swapped(given, "temperature", temperature=0.2).parts["p1"]
    assert torch.allclose(found, (scores / 0.2).flatten(1).softmax(1).view_as(scores), atol=1e-6)


def test_inverting_turns_the_order_round():
    given = attention()
    found = swapped(given, "inverted").parts["p1"]
    product = (found * given.parts["p1"]).flatten(1)
    assert torch.allclose(product, product[:, :1].expand_as(product))


def test_permuting_keeps_a_clips_weights_and_follows_its_own_generator():
    given = attention()
    found = swapped(given, "permuted", generator=[generator(0, "t", i) for i in range(3)])
    for before, after in zip(given.parts["p1"], found.parts["p1"], strict=True):
        assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
        assert not torch.equal(before, after)
    last = Attention(given.frames[2:], {name: w[2:] for name, w in given.parts.items()})
    alone = swapped(last, "permuted", generator=[generator(0, "t", 2)])
    assert torch.equal(alone.parts["p1"][0], found.parts["p1"][2])


def test_the_oracle_leaves_occluded_tokens_out():
    given, hidden = attention(), shares()
    hidden["p1"][0, 1, 2] = 0.5
    hidden["p1"][1] = 0.9
    hidden["p1"][2, 0, 0] = 0.49
    found = swapped(given, "oracle", occluded=hidden).parts["p1"]
    kept = given.parts["p1"][0] / (1 - given.parts["p1"][0, 1, 2])
    kept[1, 2] = 0
    assert torch.allclose(found[0], kept)
    assert torch.equal(found[1], torch.full((4, 4), 1 / 16))
    assert torch.allclose(found[2], given.parts["p1"][2])


def test_frame_weights_are_shared_by_the_frames_parts():
    given = attention()
    found = swapped(given, "frames").parts["p3"]
    assert torch.allclose(found.sum(2), given.frames)
    assert torch.equal(found[..., 0], found[..., 1])


def test_it_says_what_is_missing():
    with pytest.raises(ValueError, match="swap is one of"):
        swapped(attention(), "sharpened")
    with pytest.raises(ValueError, match="branches are among"):
        swapped(attention(), "uniform", branches=["p2"])
    with pytest.raises(ValueError, match="needs `occluded`"):
        swapped(attention(), "oracle")
    with pytest.raises(ValueError, match="needs a `generator`"):
        swapped(attention(), "permuted")
    with pytest.raises(ValueError, match="positive"):
        swapped(attention(), "temperature", temperature=0.0)


def test_the_embedding_of_the_heads_own_weights_is_the_heads_own():
    torch.manual_seed(0)
    head = Head(16, 5, 4, width=8).eval()
    maps = torch.rand(2, 4, 16, 8, 4)
    tokens = head.tokens(maps)
    with torch.no_grad():
        found = embedding(head, tokens, head.attend(tokens))
        own = head(maps).embedding
    assert torch.allclose(found, torch.nn.functional.normalize(own), atol=1e-6)
    np.testing.assert_allclose(found.norm(dim=1), 1, rtol=1e-5)
