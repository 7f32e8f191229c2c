import pandas as pd
import pytest

from mmagga.studies.gate import failures

YARDSTICKS = pd.DataFrame({"method": ["thumbnail", "camera-centred thumbnail"], "mAP": [0.1, 0.4]})
HEALTHY = {"mAP": 0.9, "last_fifth": 0.001, "dead_p1": 0.2, "guide": 0.8}


def study(**changes):
    """A baseline and a row with two seeds, of which the second is changed."""
    baseline = {"label": "baseline", "seed": 0} | HEALTHY | {"dead_p1": 0.0, "guide": float("nan")}
    rows = [{"label": "row", "seed": seed} | HEALTHY for seed in (0, 1)]
    rows[1] |= changes
    return pd.DataFrame([baseline, *rows])


def test_healthy_networks_pass():
    assert failures(study(), YARDSTICKS) == {"baseline": [], "row": []}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dead_p1": 0.51}, "51% of the units of branch p1 are dead"),
        ({"guide": 0.95}, "guides of two clips have a cosine of 0.95"),
        ({"last_fifth": 0.02}, "last fifth of the steps gained 2.0 points"),
        ({"last_fifth": float("nan")}, "not evaluated before its last fifth"),
        ({"mAP": 0.39}, "camera-centred thumbnail has mAP 40.0%"),
    ],
)
def test_one_seed_is_enough_to_fail(changes, reason):
    found = failures(study(**changes), YARDSTICKS)
    assert found["baseline"] == []
    assert [reason in said for said in found["row"]] == [True]


def test_a_baseline_that_hardly_learned_fails_every_row():
    weak = study()
    weak.loc[weak["label"] == "baseline", "mAP"] = 0.79
    found = failures(weak, YARDSTICKS)
    assert all("less than 80%" in reasons[0] for reasons in found.values())
