"""Maps: projection, contributions, statistics and locality, against what they promise."""

import math

import pytest
import torch
import torch.nn.functional as F
from attention.heads import random_head, random_maps

from mmagga.attention import contributions, heatmaps, look, repeats, tracklet_contributions
from mmagga.attention.maps import (
    bounds,
    look_at_maps,
    look_at_tokens,
    map_statistics,
    project,
    projection,
    relative,
    relative_maps,
    statistics,
    weights,
)
from mmagga.attention.matrices import locality, matrix_statistics
from mmagga.model import make_baseline, make_mmagga
from mmagga.model.outputs import Attention, Tokens

OPTIONS = [
    {},
    {"mma": "stripes"},
    {"granularities": ("p2",)},
    {"granularities": ()},
    {"pooling": "mean"},
    {"pooling": "attention"},
    {"temperature": 0.05},
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return make_mmagga(4, frames=2, backbone="resnet18", width=16).eval()


@pytest.fixture(scope="module")
def clips():
    return torch.randn(2, 2, 3, 128, 64, generator=torch.manual_seed(1))


def uniform(attention: Attention) -> Attention:
    return Attention(*(_flat(x) if torch.is_tensor(x) else
                       {n: _flat(w) for n, w in x.items()} for x in attention))  # fmt: skip


def _flat(w):
    return torch.full_like(w, 1 / w[0].numel())


def total(parts):
    return sum(values.flatten(1).sum(1) for values in parts.values())


# --- contributions ------------------------------------------------------------------------------


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_contributions_and_the_constant_are_the_cosine(seed, options, centred):
    head = random_head(seed, **options)
    seen = look_at_maps(head, random_maps(head, 4))
    gallery = F.normalize(torch.randn_like(seen.embedding))
    for vectors in (gallery, gallery[0], gallery[0] - gallery[1]):
        found = contributions(seen, vectors, head, centred=centred)
        cosine = (F.normalize(seen.embedding) * vectors).sum(1)
        assert list(found.parts) == list(head.grids)
        torch.testing.assert_close(found.similarity, cosine, atol=1e-5, rtol=0)
        torch.testing.assert_close(total(found.parts) + found.constant, cosine, atol=1e-5, rtol=0)


def test_a_contribution_is_what_its_token_alone_adds():
    head = random_head(0)
    seen = look_at_maps(head, random_maps(head))
    gallery = F.normalize(torch.randn(2, 40))
    found = contributions(seen, gallery, head)
    attention = Attention(seen.attention.frames, dict(seen.attention.parts))
    without = attention.parts["p1"].clone()
    without[:, 1, 2] = 0
    attention.parts["p1"] = without
    changed = look_at_tokens(head, seen.tokens, attention).embedding
    drop = ((seen.embedding - changed) * gallery).sum(1) / seen.embedding.norm(dim=1)
    torch.testing.assert_close(found.parts["p1"][:, 1, 2], drop, atol=1e-6, rtol=0)


def test_centred_an_average_token_adds_nothing():
    head = random_head(0)
    seen = look_at_maps(head, random_maps(head))
    mean = dict(zip(head.grids, head.bnneck.running_mean.chunk(4), strict=True))
    parts = {name: x.clone() for name, x in seen.tokens.parts.items()}
    parts["p1"][:, 1, 2] = mean["p1"]
    seen = look_at_tokens(head, Tokens(seen.tokens.frames, parts))
    gallery = F.normalize(torch.randn(40), dim=0)
    found = contributions(seen, gallery, head, centred=True)
    assert found.parts["p1"][:, 1, 2].abs().max() < 1e-7
    assert contributions(seen, gallery, head).parts["p1"][:, 1, 2].abs().min() > 1e-4
    bias = head.bnneck.bias @ gallery / seen.embedding.norm(dim=1)
    torch.testing.assert_close(found.constant, bias)


@pytest.mark.parametrize("centred", [False, True])
def test_contributions_of_a_tracklet_make_the_cosine_of_its_mean(centred):
    head = random_head(3)
    maps = random_maps(head, 5)
    looks = [look_at_maps(head, maps[:3]), look_at_maps(head, maps[3:])]
    gallery = F.normalize(torch.randn(40), dim=0)
    mean = F.normalize(look_at_maps(head, maps).embedding.mean(0), dim=0)
    found = tracklet_contributions(looks, gallery, head, centred=centred)
    assert found.parts["p2"].shape == (5, 3, 8)
    sum_of_all = sum(values.sum() for values in found.parts.values()) + found.constant
    torch.testing.assert_close(found.similarity, (mean @ gallery).view(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(sum_of_all, (mean @ gallery).view(1), atol=1e-5, rtol=0)


# --- projection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", OPTIONS[:4], ids=str)
@pytest.mark.parametrize("size", [(8, 4), (16, 8)])
def test_projection_conserves_mass(options, size):
    head = random_head(1, **options)
    assert list(projection(head, size)) == list(head.grids)
    for places in projection(head, size).values():
        assert places.shape[1:] == size
        torch.testing.assert_close(places.sum((1, 2)), torch.ones(len(places)))
    attention = look_at_maps(head, random_maps(head)).attention
    for name, values in project(weights(attention), head, size).items():
        per_frame = weights(attention)[name].sum(2)
        torch.testing.assert_close(values.sum((2, 3)), per_frame)


def test_a_stripe_is_read_from_its_own_band():
    places = projection(random_head(0, mma="stripes"), (16, 8))["p1"]
    for k, place in enumerate(places):
        inside = place[4 * k : 4 * k + 4]
        torch.testing.assert_close(inside, torch.full((4, 8), 1 / 32))
        assert place.sum() == inside.sum()


def test_cells_lie_where_the_head_pools_them():
    head = random_head(2)
    places = projection(head, (16, 8))["p2"]
    shares = F.normalize(head.mma["p2"].matrix.detach().abs(), p=1)  # cells row by row, 8x4
    torch.testing.assert_close(places[3, 6:8, 2:4].sum(), shares[3, 3 * 4 + 1])


@pytest.mark.parametrize("mma", ["learned", "stripes"])
def test_uniform_weights_draw_as_uniform(mma):
    head = random_head(4, mma=mma)
    attention = uniform(look_at_maps(head, random_maps(head)).attention)
    for values in relative_maps(attention, head, (8, 4)).values():
        torch.testing.assert_close(values, torch.ones_like(values), atol=1e-6, rtol=0)


def test_over_stripes_a_relative_map_is_the_projected_mass_times_positions():
    head = random_head(5, mma="stripes")
    attention = look_at_maps(head, random_maps(head)).attention
    mass = project(weights(attention), head, (16, 8))
    for name, values in relative_maps(attention, head, (16, 8)).items():
        torch.testing.assert_close(values, mass[name] * values[0].numel())


def test_a_relative_map_stays_within_the_range_of_its_weights():
    head = random_head(6)
    attention = look_at_maps(head, random_maps(head)).attention
    for name, values in relative_maps(attention, head, (8, 4)).items():
        tokens = relative(attention)[name]
        assert values.max() <= tokens.max() * (1 + 1e-6)
        assert values.min() >= tokens.min() * (1 - 1e-6)


def test_a_position_that_no_part_reads_is_nan_not_uniform():
    head = random_head(0)
    with torch.no_grad():
        head.mma["p3"].matrix[:, 1] = 0
    attention = look_at_maps(head, random_maps(head)).attention
    values = relative_maps(attention, head, (8, 4))["p3"]
    assert values[:, :, 4:].isnan().all()
    assert values[:, :, :4].isfinite().all()


# --- the front door -----------------------------------------------------------------------------


def test_look_is_the_forward_pass(model, clips):
    seen, output = look(model, clips), model(clips)
    torch.testing.assert_close(seen.embedding, output.embedding)
    torch.testing.assert_close(seen.feature, output.feature)
    torch.testing.assert_close(seen.attention.parts["p2"], output.attention.parts["p2"])


def test_heatmaps_of_both_kinds(model, clips):
    gallery = F.normalize(torch.randn(64), dim=0)
    drawn = heatmaps(model, clips)
    assert {name: tuple(values.shape) for name, values in drawn.items()} == dict.fromkeys(
        ("global", "p3", "p1", "p2"), (2, 2, 8, 4)
    )
    found = heatmaps(model, clips, "contribution", gallery)
    exact = contributions(look(model, clips), gallery, model.head)
    torch.testing.assert_close(total(found) + exact.constant, exact.similarity, atol=1e-5, rtol=0)


def test_what_cannot_be_looked_at_is_said(model, clips):
    with pytest.raises(ValueError, match="Baseline has no attention"):
        heatmaps(make_baseline(4, backbone="resnet18").eval(), clips)
    with pytest.raises(ValueError, match="give `gallery`"):
        heatmaps(model, clips, "contribution")
    with pytest.raises(ValueError, match="not 'rollout'"):
        heatmaps(model, clips, "rollout")
    model.head.train()
    try:
        with pytest.raises(ValueError, match=r"model\.eval"):
            look(model, clips)
    finally:
        model.eval()


@pytest.mark.parametrize(
    ("length", "expected"),
    [(4, ["...."]), (6, ["....", "..xx"]), (1, [".xxx"]), (9, ["....", "....", ".xxx"])],
)
def test_repeats(length, expected):
    found = repeats(length, 4)
    assert ["".join("x" if r else "." for r in clip) for clip in found.tolist()] == expected


# --- numbers ------------------------------------------------------------------------------------


def test_statistics_of_uniform_weights_and_of_one_token():
    flat = statistics(torch.full((2, 4, 4), 1 / 16))
    assert torch.stack(flat).tolist() == [pytest.approx([v, v]) for v in (1, 1, 1, 0)]
    one = statistics(torch.eye(4)[:1])
    assert [float(x) for x in one] == pytest.approx([0, 0.25, math.inf, 0.75])


def test_no_gga_weight_leaves_its_bounds():
    for seed in range(50):
        head = random_head(seed)
        attention = look_at_maps(head, random_maps(head, 20)).attention
        for name, values in relative(attention).items():
            if name == "global":
                continue
            found, limit = map_statistics(attention)[name], bounds(values[0].numel())
            assert values.max() <= limit.high + 1e-5
            assert values.min() >= limit.low - 1e-5
            assert found.ratio.max() <= limit.ratio + 1e-5
            assert found.entropy.min() >= limit.entropy - 1e-6
            assert found.effective.min() >= limit.effective - 1e-6


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_the_bounds_are_reached(temperature):
    n = 32
    scores = torch.tril(torch.ones(n, n, dtype=torch.float64))[:-1]  # 1 to n - 1 scores of 1
    found, limit = (scores / temperature).softmax(1), bounds(n, temperature)
    described = statistics(found)
    assert float(found.max() * n) == pytest.approx(limit.high)
    assert float(found.min() * n) == pytest.approx(limit.low)
    assert float(described.ratio.max()) == pytest.approx(limit.ratio)
    assert float(described.entropy.min()) == pytest.approx(limit.entropy)
    assert float(described.effective.min()) == pytest.approx(limit.effective)


def test_matrix_statistics_at_the_start_and_of_stripes():
    torch.manual_seed(0)
    head = random_head(0)
    fresh = make_mmagga(4, frames=2, backbone="resnet18", width=16).head
    start = {name: float(found.purity.mean()) for name, found in matrix_statistics(fresh).items()}
    # 8 bands: 4 cells of 0.25 of its own, 28 of 0.001 outside.
    assert start == pytest.approx({"p3": 1 / 1.1, "p1": 1 / 1.06, "p2": 1 / 1.028})
    for found in matrix_statistics(random_head(0, mma="stripes")).values():
        assert found.purity.tolist() == pytest.approx([1] * len(found.purity))
        assert found.negative == 0
    upside_down = random_head(0, mma="stripes")
    upside_down.mma["p1"].matrix.copy_(upside_down.mma["p1"].matrix.flip(0))
    assert matrix_statistics(upside_down)["p1"].purity.tolist() == [0] * 4
    random = matrix_statistics(head)["p2"]
    assert random.purity.mean() < 0.4
    assert 0.3 < random.negative < 0.7
    assert 0 < random.entropy.min() < random.entropy.max() < 1


class _Local(torch.nn.Module):
    """Feature maps that see their own 16x16 pixels and nothing else."""

    channels = 12

    def forward(self, images):
        return F.avg_pool2d(images, 16).repeat(1, 4, 1, 1).abs()


def test_locality_of_a_backbone_that_sees_its_own_band(model, clips):
    local = make_mmagga(4, frames=2, backbone="resnet18", width=16, mma="stripes")
    local.backbone = _Local()
    local.head = random_head(0, frames=2, mma="stripes")
    for name, shares in locality(local.eval(), clips).items():
        assert shares.tolist() == pytest.approx([1] * len(shares)), name
    real = locality(model, clips)
    assert {name: len(shares) for name, shares in real.items()} == {"p3": 2, "p1": 4, "p2": 8}
    assert all(0 < share < 1 for shares in real.values() for share in shares.tolist())
    assert all(parameter.grad is None for parameter in model.parameters())
