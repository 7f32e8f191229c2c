import math

import parity_weights as pw
import pytest
import torch
import torch.nn.functional as F

from mmagga.model.head import GRIDS, MMA, BNNeck, Head, gem_cells

PARTS = {"p1": 4, "p2": 8, "p3": 2}


def small_head(**options):
    torch.manual_seed(0)
    return Head(32, 5, 3, width=16, **options)


def small_maps(seed=1):
    return torch.randn((2, 3, 32, 8, 4), generator=torch.Generator().manual_seed(seed)).relu()


@pytest.fixture(scope="module")
def maps():
    return pw.feature_maps()


@torch.no_grad()
def test_parity_in_evaluation(parity_model, maps):
    theirs, ours = pw.load("head.npz"), parity_model.head(maps)
    assert pw.relative(ours.embedding, theirs["eval_feature"]) < 1e-4
    assert pw.relative(ours.attention.frames, theirs["attention_global"]) < 1e-4
    for name in PARTS:
        flat = ours.attention.parts[name].flatten(1)
        assert pw.relative(flat, theirs[f"attention_{name}"]) < 1e-4
        # the weights are nearly uniform: compare what is left of them, too
        uniform = 1 / flat.shape[1]
        assert pw.relative(flat - uniform, theirs[f"attention_{name}"] - uniform) < 1e-3


@torch.no_grad()
def test_parity_in_training(parity_model, maps):
    theirs, ours = pw.load("head.npz"), parity_model.train().head(maps)
    assert pw.relative(ours.feature, theirs["train_feature"]) < 1e-4
    for i, logits in enumerate(ours.logits):
        assert pw.relative(logits, theirs[f"train_logits_{i}"]) < 1e-4


@pytest.mark.parametrize("size", [(16, 8), (8, 4), (24, 8)])
def test_gem_equals_pooling_each_grid_alone(size):
    maps = torch.randn(3, 6, *size)
    for name, cells in gem_cells(maps, GRIDS, 3.0).items():
        powers = F.adaptive_avg_pool2d(maps.clamp(min=3e-6) ** 3, GRIDS[name])
        expected = powers.clamp(min=3e-6) ** (1 / 3)
        torch.testing.assert_close(cells, expected.flatten(2).transpose(1, 2))


def test_gem_of_an_empty_map_is_the_root_of_its_floor():
    cells = gem_cells(torch.zeros(1, 1, 8, 4), GRIDS, 3.0)["p2"]
    torch.testing.assert_close(cells, torch.full_like(cells, 3e-6 ** (1 / 3)))


@pytest.mark.parametrize(
    ("name", "official"), [("p1", "mgcov1"), ("p2", "mgcov2"), ("p3", "mgcov3")]
)
def test_mma_starts_near_stripes(name, official):
    torch.testing.assert_close(MMA(name, learned=True).matrix.data, pw.mma_start(official))


def test_fixed_stripes_average_the_rows_and_learn_nothing():
    head = small_head(mma="stripes")
    assert head.mma_parameters() == []
    cells = torch.rand(2, 8, 32)
    expected = cells.unflatten(1, (4, 2)).mean(2)
    torch.testing.assert_close(head.mma["p1"](cells), expected)


def test_mma_has_292_numbers():
    assert sum(matrix.numel() for matrix in small_head().mma_parameters()) == 292


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_attention_is_a_bounded_distribution(temperature):
    attention = small_head(temperature=temperature).attend(small_head().tokens(small_maps() * 9))
    torch.testing.assert_close(attention.frames.sum(1), torch.ones(2))
    for name, weights in attention.parts.items():
        assert weights.shape == (2, 3, PARTS[name])
        flat = weights.flatten(1)
        torch.testing.assert_close(flat.sum(1), torch.ones(2))
        assert (flat.amax(1) / flat.amin(1)).max() <= math.exp(1 / temperature) * (1 + 1e-5)
        assert (flat.amax(1) / flat.amin(1)).min() > 1.001


@torch.no_grad()
def test_temperature_divides_the_scores():
    tokens = small_head().tokens(small_maps())
    warm = small_head().attend(tokens).parts["p1"].flatten(1)
    cold = small_head(temperature=0.5).attend(tokens).parts["p1"].flatten(1)
    torch.testing.assert_close(cold, (warm.log() * 2).softmax(1))


@torch.no_grad()
def test_the_steps_make_the_embedding_and_follow_swapped_attention():
    head, maps = small_head().eval(), small_maps()
    tokens, output = head.tokens(maps), head(maps)
    attention = head.attend(tokens)
    assert torch.equal(head.bnneck(head.aggregate(tokens, attention)), output.embedding)

    last_part = torch.zeros(2, 3, 4)
    last_part[:, 2, 3] = 1
    swapped = attention._replace(parts=attention.parts | {"p1": last_part})
    feature = head.aggregate(tokens, swapped).chunk(4, 1)
    assert torch.equal(feature[2], tokens.parts["p1"][:, 2, 3])
    for i in (0, 1, 3):
        assert torch.equal(feature[i], output.feature.chunk(4, 1)[i])


@pytest.mark.parametrize("pooling", ["gga", "attention", "mean"])
@pytest.mark.parametrize("mma", ["learned", "stripes"])
@pytest.mark.parametrize("granularities", [(), ("p2",), ("p1", "p3"), ("p1", "p2", "p3")])
def test_every_variant_learns(pooling, mma, granularities):
    head = small_head(pooling=pooling, mma=mma, granularities=granularities)
    output = head(small_maps())
    branches = 1 + len(granularities)
    assert output.feature.shape == output.embedding.shape == (2, 16 * branches)
    assert [tuple(logits.shape) for logits in output.logits] == [(2, 5)] * branches
    assert output.attention.parts.keys() == set(granularities)
    loss = output.feature.square().sum() + sum(logits.exp().sum() for logits in output.logits)
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


def test_mean_pooling_is_uniform():
    parts = small_head(pooling="mean")(small_maps()).attention.parts["p2"]
    assert torch.equal(parts, torch.full((2, 3, 8), 1 / 24))


def test_branches_come_in_the_authors_order():
    assert list(small_head(granularities=("p2", "p1", "p3")).classifiers) == [
        "global",
        "p3",
        "p1",
        "p2",
    ]


def test_the_shift_of_the_bnneck_cannot_be_trained():
    neck = BNNeck(4)
    neck.requires_grad_(True)
    assert [name for name, _ in neck.named_parameters()] == ["weight"]
    assert torch.equal(neck.state_dict()["bias"], torch.zeros(4))
    optimizer = torch.optim.SGD(neck.parameters(), 1.0)
    neck(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    assert torch.equal(neck.bias, torch.zeros(4))


def test_classifiers_start_small():
    head = Head(8, 500, 2, width=64)
    for linear in head.classifiers.values():
        assert linear.bias is None
        assert linear.weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="clips of 3 frames, got 4"):
        small_head()(torch.rand(1, 4, 32, 8, 4))
    with pytest.raises(ValueError, match=r"14x14.*8x4.*multiple of 128.*64"):
        small_head()(torch.rand(1, 3, 32, 14, 14))
    with pytest.raises(ValueError, match="p1, p2, p3"):
        small_head(granularities=("p4",))
    with pytest.raises(ValueError, match="gga, attention or mean"):
        small_head(pooling="max")
    with pytest.raises(ValueError, match="learned or stripes"):
        small_head(mma="none")
    with pytest.raises(ValueError, match="temperature"):
        small_head(temperature=0)


@torch.no_grad()
def test_a_coarse_granularity_accepts_a_coarse_map():
    head = small_head(granularities=("p3",)).eval()
    assert head(torch.rand(1, 3, 32, 14, 7)).embedding.shape == (1, 32)
