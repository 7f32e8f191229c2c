from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from planted import CONFIG, Blind, planted, write_people

from mmagga.attention.battery.perturbation import Aim, deletion, erasure
from mmagga.attention.battery.run import battery
from mmagga.attention.battery.verdict import CLAIMS, judge, verdicts
from mmagga.errors import DataError
from mmagga.model import make_mmagga
from mmagga.report.battery import write

QUICK = {"occluders": ("grey",), "curves": ("grey",), "draws": 500, "parts": ("swaps", "curves")}
ROOT = Path(__file__).parents[3]
ATTENTION = QUICK | {"parts": ()}


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def of_planted(people):
    return battery(planted(float("inf")), planted(0.0), people, CONFIG, **QUICK)


def value(table, measure, branch="p1", occluder="grey", column="value"):
    rows = table[
        (table["measure"] == measure)
        & (table["branch"] == branch)
        & (table["occluder"] == occluder)
    ]
    assert len(rows) == 1
    return rows[column].iloc[0]


def words(found, branch="p1"):
    table = verdicts(found.table).set_index(["branch", "occluder"])
    return tuple(table.loc[(branch, "all"), ["reacts", "matters"]])


# --- the verdict is right where the truth is known ----------------------------------------------


def test_weights_that_avoid_occluders_are_supported(of_planted):
    assert words(of_planted) == ("supported", "supported")
    assert value(of_planted.table, "A11 effect lost") == pytest.approx(1)


def test_the_frames_of_the_same_network_which_weigh_the_same_are_not(of_planted):
    table = of_planted.table
    frames = table[(table["branch"] == "global") & (table["measure"] != "A2 corruption removed")]
    assert not set(frames["verdict"]) & {"supported", "too small to matter"}


def test_a_two_percent_effect_is_too_small_to_matter(people):
    found = battery(planted(0.02), planted(0.0), people, CONFIG, **ATTENTION)
    assert value(found.table, "A6 max/min ratio", occluder="none") < 1.1
    assert -0.02 < value(found.table, "A1 DiD") < -0.01
    assert words(found)[0] == "too small to matter"


def test_an_untrained_network_is_not_supported(people):
    networks = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        networks.append(make_mmagga(2, 4, backbone="resnet18", width=16, non_local=0).eval())
    some = people.subset(people.pids <= 10)
    chosen = QUICK | {"occluders": ("object",), "parts": ("swaps",)}
    found = battery(*networks, some, CONFIG, **chosen)
    table = verdicts(found.table)
    assert set(table["reacts"]) <= {"not supported", ""}
    swaps = found.table[found.table["measure"] == "A7 swap gain"]
    assert not set(swaps["verdict"]) & {"supported", "too small to matter"}


def test_the_placebo_moves_less_than_the_occluder(of_planted):
    assert abs(value(of_planted.table, "A1 DiD", occluder="placebo")) < 0.01
    assert value(of_planted.table, "A1 DiD") < -0.5


def test_an_oracle_is_as_good_as_weights_that_avoid_occluders(of_planted):
    swaps = of_planted.swaps.set_index(["swap", "branch", "occluder"])["mAP"]
    assert swaps["gga", "parts", "grey"] > swaps["uniform", "parts", "grey"] + 0.02
    assert swaps["gga", "parts", "none"] == pytest.approx(swaps["uniform", "parts", "none"])


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
    assert value(again.table, "A1 DiD") != value(of_planted.table, "A1 DiD")


def test_a_limit_shows_fewer_clips(people):
    found = battery(planted(1.0), planted(0.0), people, CONFIG, tracklets_limit=5, **ATTENTION)
    assert found.clips == 5
    assert found.swaps.empty
    assert found.curves.empty
    assert set(verdicts(found.table)["matters"]) == {""}


def test_every_row_stands_beside_its_references(of_planted):
    table = of_planted.table
    claims = table[table["measure"].isin(list(CLAIMS))]
    assert claims["random"].notna().all()
    reacts = table[table["measure"].isin(["A1 DiD", "A2 corruption removed", "A4 AUROC"])]
    assert reacts[["untrained", "random_layers", "attainable"]].notna().all().all()
    assert reacts["clips"].gt(10).all()


def test_it_says_what_it_cannot_do(people):
    model = planted(1.0)
    with pytest.raises(ValueError, match="parts are among"):
        battery(model, model, people, CONFIG, parts=("pictures",))
    with pytest.raises(ValueError, match="training mode"):
        battery(planted(1.0).train(), model, people, CONFIG)
    alone = people.subset(people.pids == 1)
    with pytest.raises(DataError, match="fewer than two"):
        battery(model, model, alone, CONFIG)


def test_tables_and_figures_are_written_together(of_planted, tmp_path):
    written = {path.name for path in write(of_planted, tmp_path, "planted")}
    assert written == {
        "battery.csv", "verdicts.csv", "swaps.csv", "curves.csv", "battery.png", "curves.png",
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
        scores.append(deletion(model, clip, aim, rng, fills=("mean",))["p1", "mean"])
    error = np.std(scores) / np.sqrt(len(scores))
    assert error > 0
    assert abs(np.mean(scores)) < 3 * error


@pytest.mark.parametrize("fill", ["neighbour", "mean", "road"])
def test_a_map_of_contributions_knows_what_deleting_does(fill):
    rng = np.random.default_rng(0)
    clip = np.full((4, 128, 64, 3), 128, np.uint8) + rng.integers(0, 9, (4, 128, 64, 3), np.uint8)
    clip[:2, 32:64] = (250, 20, 20)  # the match is red, and red is in one band of two frames
    aim = Aim(torch.eye(16)[9], torch.eye(16)[10:13])
    found = deletion(planted(1.0), clip, aim, rng, fills=(fill,))
    assert found["contribution", fill] > 0.01


# --- the words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "p", "word"),
    [
        (-0.06, -0.03, 0.001, "supported"),
        (-0.06, -0.01, 0.001, "too small to matter"),
        (-0.06, 0.01, 0.001, "not supported"),
        (-0.06, -0.03, 0.2, "not supported"),
        (0.03, 0.06, 0.001, "not supported"),
        (np.nan, np.nan, np.nan, ""),
    ],
)
def test_a_word_needs_the_whole_interval_beyond_the_threshold(low, high, p, word):
    row = {"measure": "A1 DiD", "branch": "p1", "occluder": "object", "value": (low + high) / 2}
    table = pd.DataFrame([row | {"low": low, "high": high, "p": p, "random": np.nan}])
    assert judge(table)["verdict"].tolist() == [word]


def test_thresholds_are_those_that_the_committed_results_were_judged_by():
    table = pd.read_csv(ROOT / "data/results/attention_runs.csv")
    claims = table.dropna(subset="threshold").drop_duplicates(["measure", "threshold"])
    assert dict(zip(claims["measure"], claims["threshold"], strict=True)) == {
        name: claim.threshold for name, claim in CLAIMS.items()
    }
    assert len(claims) == len(CLAIMS)


def test_many_claims_are_corrected_together_and_the_placebo_is_none():
    rows = [
        {"measure": "A1 DiD", "branch": branch, "occluder": occluder, "value": -0.05, "low": -0.06,
         "high": -0.03, "p": 0.01, "random": np.nan}
        for branch in ("p3", "p1", "p2")
        for occluder in ("object", "person", "placebo")
    ]  # fmt: skip
    found = judge(pd.DataFrame(rows))
    claims = found[found["occluder"] != "placebo"]
    assert claims["p"].tolist() == pytest.approx([0.06] * 6)
    assert set(claims["verdict"]) == {"not supported"}
    assert found[found["occluder"] == "placebo"]["verdict"].eq("").all()
