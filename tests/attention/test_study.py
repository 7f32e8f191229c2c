"""What the study of several networks says: its table and its pictures."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mmagga.figures.study import attention_study_figure, parts_figure
from mmagga.studies.tables import attention_table


def line(measure, branch, occluder, value, **values):
    row = {"arm": "clear", "measure": measure, "branch": branch, "occluder": occluder}
    ends = {"value": value, "low": value - 0.1, "high": value + 0.1, "runs": 3}
    return row | ends | {"ceiling": np.nan, "smallest": 0.01} | values


@pytest.fixture
def study():
    return pd.DataFrame([
        line("response", "p1", "object", -0.5, ceiling=-1.0, smallest=-0.02),
        line("response", "p1", "placebo", 9.0, smallest=np.nan),
        line("extra gain under an occluder", "p1", "object", 0.02),
        line("extra gain under an occluder", "parts", "object", 0.03, ceiling=0.25),
    ])  # fmt: skip


def test_a_row_for_each_arm_and_branch(study):
    said = {"arm": "clear", "run": "pooled", "branch": "p1", "occluder": "all"}
    said |= {"reacts": "supported", "helps": "cannot tell", "helps_more": "shown to be absent"}
    verdicts = pd.DataFrame([said | {"guide": "guided", "purity": 0.934}])
    verdicts = pd.concat([verdicts, verdicts.assign(run="seed 0")])
    table = attention_table(study, verdicts)
    (row,) = table.cells.to_dict("records")
    assert row["response, object"] == "−0.50 (−0.60 to −0.40) [−1.00]"
    assert row["extra, object"] == "2.0 (−8.0 to 12.0)"
    assert row["helps more"] == "shown to be absent"
    assert row["purity"] == "0.93"
    assert row["response, filmed"] == row["gain, no occluder"] == "–"


def test_the_picture_shows_mean_ends_and_the_best(study):
    figure = attention_study_figure(study, title="A study")
    reacts, _, more = figure.axes
    dots = [tuple(x.get_xydata()[0]) for x in more.lines if x.get_marker() == "o"]
    assert dots == [(2.0, 0.0), (3.0, 1.0)]  # in points; rows of p1, then of all parts
    (best,) = [x for x in more.lines if x.get_marker() == "D"]
    assert best.get_xdata() == pytest.approx([25.0])
    (bar,) = [x for x in reacts.lines if list(x.get_xdata()) == pytest.approx([-0.6, -0.4])]
    assert bar.get_ydata()[0] == 0
    assert [t.get_text() for t in reacts.get_yticklabels()] == [
        "p1, object", "all parts, object",
    ]  # fmt: skip
    plt.close(figure)


def test_maps_are_drawn_beside_random_blocks():
    study = pd.DataFrame([
        line("rank with what parts are worth", name, "none", value)
        for name, value in (("contributions", 0.6), ("random blocks", 0.0))
    ])  # fmt: skip
    figure = parts_figure(study)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [
        "contributions", "random blocks",
    ]  # fmt: skip
    plt.close(figure)
