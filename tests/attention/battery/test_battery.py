import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted import CONFIG, Blind, Bounded, planted, write_people

from mmagga.attention.battery import clips, observe
from mmagga.attention.battery.clips import Condition
from mmagga.attention.battery.observe import Request, Swap
from mmagga.attention.battery.perturbation import GRID, Aim, _fill, deletion, erasure
from mmagga.attention.battery.pooling import clip_values, pooled
from mmagga.attention.battery.run import Material, battery, kept
from mmagga.attention.battery.search_rows import GGA, Gallery, harm
from mmagga.attention.battery.verdict import EXTRA, GAIN, GUIDE, NEWER, REACTS, judge, verdicts
from mmagga.attention.swaps import embedding
from mmagga.errors import DataError, SettingError
from mmagga.model import make_mmagga
from mmagga.report.battery import write

QUICK = {
    "occluders": ("object",),
    "curves": ("object",),
    "draws": 500,
    "parts": ("swaps", "curves"),
}
ROOT = Path(__file__).parents[3]
ATTENTION = QUICK | {"parts": ()}
SEARCH = QUICK | {"parts": ("swaps",)}


@pytest.fixture(scope="module", autouse=True)
def grey_objects():
    """The planted networks see grey alone, so that is what all objects are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "OBJECTS", ("grey",))
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def of_planted(people):
    return battery(planted(float("inf")), planted(0.0), people, CONFIG, **QUICK)


def value(table, measure, branch="p1", occluder="object", column="value"):
    rows = table[
        (table["measure"] == measure)
        & (table["branch"] == branch)
        & (table["occluder"] == occluder)
    ]
    assert len(rows) == 1
    return rows[column].iloc[0]


def words(found, branch="p1"):
    table = verdicts(found.table).set_index(["branch", "occluder"])
    return tuple(table.loc[(branch, "all"), ["reacts", "helps_more"]])


# --- the words are right where the truth is known -----------------------------------------------


def test_weights_that_avoid_occluders_are_supported(of_planted):
    assert words(of_planted) == ("supported", "supported")
    assert value(of_planted.table, NEWER) == pytest.approx(value(of_planted.table, "response"))


def test_the_largest_response_that_the_bound_allows_is_measured_exactly(people):
    found = battery(planted(Bounded()), planted(0.0), people, CONFIG, **ATTENTION)
    assert value(found.table, "response") == pytest.approx(-1, abs=0.08)  # edges fade
    assert value(found.table, "response", column="ceiling") != -1  # no guided attention: no bound
    assert words(found)[0] == "supported"


def test_the_frames_of_the_same_network_which_weigh_the_same_do_not_react(of_planted):
    word = value(of_planted.table, "response", "global", column="word")
    assert word == "shown to be absent"


def test_no_effect_at_all_is_shown_to_be_absent(people):
    found = battery(planted(0.0), planted(0.0), people, CONFIG, **SEARCH)
    assert words(found)[0] == "shown to be absent"
    gain = found.table[found.table["measure"] == GAIN]
    assert set(gain.loc[gain["occluder"].isin(["none", "object"]), "word"]) == {
        "shown to be absent"
    }


def test_a_two_percent_effect_is_too_small_to_matter(people):
    found = battery(planted(0.01), planted(0.0), people, CONFIG, **ATTENTION)
    assert -0.02 < value(found.table, "response") < -0.005
    assert words(found)[0] == "too small to matter"


def test_a_handful_of_persons_cannot_tell(people):
    some = people.subset(people.pids <= 12)
    found = battery(planted(float("inf")), planted(0.0), some, CONFIG, **SEARCH)
    assert words(found) == ("cannot tell", "cannot tell")
    row = found.table[(found.table["measure"] == "response") & (found.table["branch"] == "p1")]
    assert row["low"].isna().all()
    assert row["value"].notna().all()
    assert "fewer than 20" in row.loc[row["occluder"] == "object", "reason"].iloc[0]


def test_an_untrained_network_is_not_supported(people):
    networks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks.append(make_mmagga(2, 4, backbone="resnet18", width=16, non_local=0).eval())
    found = battery(*networks, people, CONFIG, **SEARCH)
    table = verdicts(found.table)
    # One network's weights may react to grey by chance, a little; that gains nothing.
    assert not set(table["helps_more"]) & {"supported"}
    assert abs(value(found.table, "response", "p1")) < 0.2
    assert value(found.table, "response", "p1", column="ceiling") == pytest.approx(-1)


def test_the_placebo_moves_less_than_the_occluder(of_planted):
    assert abs(value(of_planted.table, "response", occluder="placebo")) < 0.01
    assert value(of_planted.table, "response") < -0.5
    placebo = of_planted.table[of_planted.table["occluder"] == "placebo"]
    assert set(placebo["word"]) == {""}


# --- what could be won, and what is lost --------------------------------------------------------


@torch.inference_mode()
def test_no_weights_within_the_bound_win_more_than_the_ceiling_that_is_printed(people):
    """Planted: everybody is found by colour, and grey is in the way; a search over weights."""
    model = planted(Bounded())
    material = Material.draw(people, CONFIG)
    condition = Condition("object")
    tokens = observe.clean_tokens(model, material.queries)
    names = [GGA, Swap("uniform"), Swap("soft oracle"), Swap("firm oracle")]
    gallery = Gallery.embed(model, material.galleries, names, 16)
    seen = observe.observe(model, material.queries, condition, Request(swaps=names, clean=tokens))
    tracklets = material.queries.tracklets
    ap = {s: gallery.score(s, seen.vectors[s], tracklets)["ap"].mean() for s in names}
    ceiling = max(ap[Swap(f"{how} oracle")] for how in ("soft", "firm")) - ap[Swap("uniform")]
    assert ceiling > 0.02
    shown = [material.queries.show(row, condition)[0] for row in range(len(material.queries))]
    tokens = observe.tokens_of(model, shown.__getitem__, len(shown), 16)
    covered = torch.from_numpy(seen.covered["p1"])
    rng, best = torch.Generator().manual_seed(0), 0.0
    for trial in range(40):
        scores = (1 - covered.clamp(max=1)) if trial % 4 == 0 else torch.rand(
            covered.shape, generator=rng)  # fmt: skip
        if trial % 4 == 1:  # a hard decision, at any threshold
            scores = (covered < (trial + 1) / 41).double()
        if trial % 4 == 2:  # the oracle, disturbed
            scores = (1 - covered + 0.3 * scores).clamp(0, 1)
        weights = scores.flatten(1).softmax(1).view_as(scores).float()
        attention = model.head.attend(tokens)
        attention = attention._replace(parts={"p1": weights})
        vectors = embedding(model.head, tokens, attention)
        found = gallery.score(Swap("uniform"), vectors.detach(), tracklets)["ap"].mean()
        best = max(best, found - ap[Swap("uniform")])
    assert best <= ceiling + 0.03


def test_the_ceiling_of_a_planted_network_is_what_it_wins(people):
    found = battery(planted(Bounded()), planted(0.0), people, CONFIG, **SEARCH)
    row = found.table[(found.table["measure"] == GAIN) & (found.table["branch"] == "p1")]
    row = row.set_index("occluder").loc["object"]
    soft = found.swaps.set_index(["swap", "branch", "occluder"]).loc["soft oracle", "p1", "object"]
    assert soft["gain"] == pytest.approx(0, abs=0.01)  # these weights are the soft oracle's
    assert row["ceiling"] >= row["value"]
    assert row["ceiling_sharp"] > 0


def test_an_oracle_is_as_good_as_weights_that_avoid_occluders(of_planted):
    swaps = of_planted.swaps.set_index(["swap", "branch", "occluder"])["mAP"]
    assert swaps["gga", "parts", "object"] > swaps["uniform", "parts", "object"] + 0.02
    assert swaps["gga", "parts", "none"] == pytest.approx(swaps["uniform", "parts", "none"])


def test_harm_goes_through_weights_and_content_and_they_add_up(of_planted):
    table = of_planted.table.set_index(["measure", "occluder"])["value"]
    for unit in ("AP", "margin"):
        whole, weights, content = (
            table[f"harm ({unit}){way}", "object"]
            for way in ("", " through the weights", " through the content")
        )
        assert weights + content == pytest.approx(whole, abs=1e-9)
    # These weights turn away from the occluder, so that they undo part of the harm.
    assert table["harm (margin) through the weights", "object"] < 0
    assert table["harm (margin) through the content", "object"] > 0


def test_harm_adds_up_for_any_score_and_is_all_content_where_weights_stay():
    g = torch.Generator().manual_seed(0)
    clean, occluded, weights_back, content_back = torch.randn(4, 7, 5, generator=g)
    score = lambda vectors: (vectors**3).sum(1).abs().sqrt().numpy()  # noqa: E731
    found = harm(score, clean, occluded, clean_weights=weights_back, clean_content=content_back)
    np.testing.assert_allclose(found.weights + found.content, found.whole, atol=1e-6)
    found = harm(score, clean, occluded, clean_weights=occluded, clean_content=clean)
    np.testing.assert_allclose(found.weights, 0, atol=1e-7)


def test_of_weights_that_are_uniform_nobody_can_say_what_they_follow(of_planted):
    assert np.isnan(value(of_planted.table, GUIDE, occluder="none"))
    assert set(verdicts(of_planted.table).set_index("branch").loc["p1", "guide"]) == {""}


def test_values_are_kept_one_a_clip(of_planted, people):
    values = kept(of_planted.values)
    some = values[(values["measure"] == "response") & (values["branch"] == "p1")]
    some = some[some["occluder"] == "object"]
    assert len(some) == of_planted.clips
    mean = np.average(some["value"].fillna(0), weights=some["weight"])
    assert mean == pytest.approx(value(of_planted.table, "response"))
    assert set(values["pid"]) == set(people.pids)


# --- the same question, the same answer ---------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_in_any_order_of_the_tracklets(people):
    order = np.random.default_rng(3).permutation(len(people))
    chosen = QUICK | {"occluders": ("person",), "parts": ("swaps",), "tracklets_limit": 15}
    one, other = (
        battery(planted(1.0), planted(0.0), tracklets, CONFIG, **chosen)
        for tracklets in (people, people.subset(order))
    )
    assert one.table.to_csv().encode() == other.table.to_csv().encode()
    assert one.swaps.to_csv().encode() == other.swaps.to_csv().encode()


def test_another_seed_pastes_elsewhere(people, of_planted):
    again = battery(planted(float("inf")), planted(0.0), people, CONFIG, seed=1, **ATTENTION)
    assert value(again.table, "response") != value(of_planted.table, "response")


def test_a_limit_shows_fewer_clips(people):
    found = battery(planted(1.0), planted(0.0), people, CONFIG, tracklets_limit=5, **ATTENTION)
    assert found.clips == 5
    assert found.swaps.empty
    assert found.curves.empty
    assert set(verdicts(found.table)["helps_more"]) == {""}


def test_every_row_stands_beside_its_references(of_planted):
    table = of_planted.table
    reacts = table[table["measure"] == "response"]
    assert reacts[["untrained", "random_layers"]].notna().all().all()
    assert reacts["clips"].gt(10).all()
    gains = table[(table["measure"] == GAIN) & (table["branch"] != "global")]
    assert gains[["ceiling", "ceiling_sharp"]].notna().all().all()
    assert table.loc[table["branch"] == "p1", "purity"].eq(1).all()  # planted stripes


def test_it_says_what_it_cannot_do(people):
    model = planted(1.0)
    with pytest.raises(ValueError, match="parts are among"):
        battery(model, model, people, CONFIG, parts=("pictures",))
    with pytest.raises(ValueError, match="training mode"):
        battery(planted(1.0).train(), model, people, CONFIG)
    alone = people.subset(people.pids == 1)
    with pytest.raises(DataError, match="fewer than two"):
        battery(model, model, alone, CONFIG)
    with pytest.raises(SettingError, match="at least 2"):
        battery(model, model, people, dataclasses.replace(CONFIG, frames=1))


def test_blocks_cover_images_of_any_size():
    cover = np.zeros((2, *GRID), bool)
    cover[0, 0, 0] = cover[1, -1, -1] = True
    frames = torch.ones(2, 3, 125, 60)
    filled = _fill(frames, cover, "mean", np.random.default_rng(0))
    assert not filled[0, :, 0, 0].any()
    assert not filled[1, :, -1, -1].any()
    assert filled.mean() > 0.9


def test_tables_and_figures_are_written_together(of_planted, tmp_path):
    written = {path.name for path in write(of_planted, tmp_path, "planted")}
    assert written == {
        "battery.csv", "verdicts.csv", "swaps.csv", "curves.csv", "battery.png", "curves.png",
        "harm.png",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "battery.csv")
    assert len(table) == len(of_planted.table)
    assert not list(tmp_path.glob("*.tmp-*"))


# --- tokens and pixels taken away ---------------------------------------------------------------


def test_erasing_by_what_each_token_does_costs_more_than_at_random():
    model, rng = planted(float("inf")), np.random.default_rng(0)
    clip = rng.integers(0, 256, (4, 4, 1, 3), np.uint8).repeat(32, 1).repeat(64, 2)
    aim = Aim(torch.eye(16)[9], torch.eye(16)[10:13])
    found = erasure(model, clip, aim, rng)["p1"]
    assert found["alone"] > 0
    assert set(found) == {"weight", "contribution", "alone", "tau"}


def test_random_maps_are_no_better_than_shuffled_ones():
    """Random weights say nothing, so that their map and its control differ by chance alone."""
    model, scores = planted(0.0), []
    model.head.part_score["p1"] = Blind().eval()
    torch.manual_seed(0)
    for seed in range(24):
        rng = np.random.default_rng(seed)
        clip = rng.integers(0, 256, (4, 16, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        aim = Aim(torch.eye(16)[9], torch.eye(16)[10:13])
        scores.append(deletion(model, clip, aim, generator=rng, fills=("mean",))["p1", "mean"])
    error = np.std(scores) / np.sqrt(len(scores))
    assert error > 0
    assert abs(np.mean(scores)) < 3 * error


@pytest.mark.parametrize("fill", ["neighbour", "mean", "road"])
def test_a_map_of_contributions_knows_what_deleting_does(fill):
    rng = np.random.default_rng(0)
    clip = np.full((4, 128, 64, 3), 128, np.uint8) + rng.integers(0, 9, (4, 128, 64, 3), np.uint8)
    clip[:2, 32:64] = (250, 20, 20)  # the match is red, and red is in one band of two frames
    aim = Aim(torch.eye(16)[9], torch.eye(16)[10:13])
    found = deletion(planted(1.0), clip, aim, generator=rng, fills=(fill,))
    assert found["contribution", fill] > 0.01


# --- the words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "p", "persons", "word"),
    [
        (-0.06, -0.03, 0.001, 40, "supported"),
        (-0.019, -0.01, 0.001, 40, "too small to matter"),
        (-0.015, 0.01, 0.5, 40, "shown to be absent"),
        (0.03, 0.06, 0.001, 40, "shown to be absent"),
        (-0.06, 0.01, 0.1, 40, "cannot tell"),
        (-0.06, -0.01, 0.001, 40, "cannot tell"),
        (-0.06, -0.03, 0.2, 40, "cannot tell"),
        (-0.06, -0.03, 0.001, 19, "cannot tell"),
    ],
)
def test_the_four_words(low, high, p, persons, word):
    assert judge(one_row(low, high, p, persons))["word"].tolist() == [word]


def one_row(low, high, p, persons=40, **more):
    row = {"measure": "response", "branch": "p1", "occluder": "object", "ceiling": np.nan}
    row |= {"value": (low + high) / 2, "low": low, "high": high, "p": p, "persons": persons}
    return pd.DataFrame([row | more])


def test_a_gain_must_be_a_point_and_a_quarter_of_what_could_be_won():
    little = one_row(0.011, 0.02, 0.001, measure=EXTRA, ceiling=0.03)
    assert judge(little)["word"].tolist() == ["supported"]
    short = one_row(0.011, 0.02, 0.001, measure=EXTRA, ceiling=0.12)
    assert judge(short)["smallest"].tolist() == [0.03]
    assert judge(short)["word"].tolist() == ["too small to matter"]
    nothing = judge(one_row(-0.001, 0.001, 0.9, measure=EXTRA, ceiling=0.004))
    assert nothing["word"].tolist() == ["cannot tell"]
    assert "gain less" in nothing["reason"].iloc[0]


def test_noise_and_placebo_are_controls_and_claims_are_corrected_together():
    rows = [
        one_row(-0.06, -0.03, 0.01, branch=branch, occluder=occluder)
        for branch in ("p3", "p1", "p2")
        for occluder in ("object", "person", "noise", "placebo")
    ]
    found = judge(pd.concat(rows, ignore_index=True))
    claims = found["occluder"].isin(["object", "person"])
    assert found.loc[claims, "p"].tolist() == pytest.approx([0.06] * 6)
    assert set(found.loc[~claims, "word"]) == {""}


def test_the_verdict_is_that_of_filmed_occluders_where_there_are_any():
    rows = [one_row(-0.06, -0.03, 0.001, measure=measure, occluder=occluder)
            for measure in REACTS for occluder in ("filmed", "object")]  # fmt: skip
    table = pd.concat(rows, ignore_index=True)
    table.loc[table["occluder"] == "object", ["low", "high"]] = (-0.01, 0.01)
    said = verdicts(judge(table)).set_index("occluder")["reacts"]
    assert said["filmed"] == said["all"] == "supported"
    assert said["object"] == "shown to be absent"


# --- several networks ---------------------------------------------------------------------------


def many(effects, persons=160, clips=4, runs=3, noise=0.1, measure="response"):
    """One value a clip of several networks, each person and network off by chance."""
    rng = np.random.default_rng(0)
    pids = np.repeat(np.arange(persons), clips)
    person, rows = 0.02 * rng.standard_normal(persons)[pids], []
    for run in range(runs):
        values = effects + person + noise * rng.standard_normal(len(pids))
        frame = clip_values(measure, "p1", "object", values).drop(columns="clip_row")
        rows.append(frame.assign(run=f"run {run}", clip=np.arange(len(pids)), pid=pids))
    return pd.concat(rows)


@pytest.mark.parametrize(
    ("effect", "persons", "word"),
    [(-1.0, 160, "supported"), (0.0, 160, "shown to be absent"), (-1.0, 12, "cannot tell"),
     (-0.012, 400, "too small to matter")],
)  # fmt: skip
def test_planted_effects_of_known_size_pooled_over_networks(effect, persons, word):
    table = judge(pooled(many(effect, persons), draws=1000, seed=0))
    assert table["word"].tolist() == [word]
    assert table["runs"].tolist() == [3]
    assert table["persons"].tolist() == [persons]


@pytest.mark.parametrize(
    ("effect", "persons", "word"),
    [(0.045, 160, "supported"), (0.0, 160, "shown to be absent"), (0.045, 19, "cannot tell"),
     (0.03, 24, "cannot tell")],
)  # fmt: skip
def test_a_planted_gain_at_the_ceiling_on_the_world_of_the_study(effect, persons, word):
    """4.5 points could be won; the average precision of a query changes by 20 points or so."""
    networks = 1 if persons < 100 else 3
    values = many(effect, persons, clips=1 if persons < 100 else 4, runs=networks, noise=0.2,
                  measure=EXTRA)  # fmt: skip
    table = judge(pooled(values.assign(ceiling=0.045), draws=1000, seed=0))
    assert table["word"].tolist() == [word]


def test_networks_that_differ_widen_the_interval():
    alike, apart = many(0.0), many(0.0)
    apart["value"] += apart["run"].map({"run 0": -0.1, "run 1": 0.0, "run 2": 0.1})
    narrow, wide = (pooled(v, draws=1000, seed=0).iloc[0] for v in (alike, apart))
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])
    assert wide["sd"] > 0.09


def test_clips_count_by_their_weight():
    values = many(0.0, runs=1)
    values["value"], values["weight"] = values["clip"] % 2, np.where(values["clip"] % 2, 3.0, 1.0)
    assert pooled(values, draws=100, seed=0)["value"].iloc[0] == pytest.approx(0.75)
