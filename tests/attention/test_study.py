"""What the study of several networks says: its table, its picture, and the README's words."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mmagga.figures.study import attention_study_figure
from mmagga.studies.tables import attention_table


def line(measure, branch, occluder, value, **values):
    row = {"arm": "clear", "measure": measure, "branch": branch, "occluder": occluder}
    ends = {"value": value, "low": value - 0.1, "high": value + 0.1, "seeds": 3}
    return row | ends | {"attainable": np.nan, "threshold": 0.0} | values


@pytest.fixture
def study():
    return pd.DataFrame([
        line("A1 DiD", "p1", "object", -0.5, attainable=-1.0, threshold=-0.02),
        line("A1 DiD", "p1", "placebo", 9.0),
        line("A7 swap gain", "p1", "object", 0.02),
        line("A7 swap gain", "parts", "object", 0.03, attainable=0.25),
    ])  # fmt: skip


def test_a_row_for_each_arm_and_branch(study):
    words = [("p1", "supported", ""), ("p1", "supported", ""), ("p1", "not supported", "")]
    verdicts = pd.DataFrame(words, columns=["branch", "reacts", "matters"])
    verdicts = verdicts.replace("", np.nan).assign(arm="clear", occluder="all")
    table = attention_table(study, verdicts)
    (row,) = table.cells.to_dict("records")
    assert row["A1 object, nats"] == "−0.500 (−0.600 to −0.400) [−1.000]"
    assert row["A7 object, points"] == "2.0 (−8.0 to 12.0)"
    assert row["reacts"] == "2 supported, 1 not supported"
    assert row["R"] == row["matters"] == "–"


def test_the_picture_shows_mean_ends_and_the_best(study):
    figure = attention_study_figure(study, title="A study")
    reacts, matters = figure.axes
    dots = [tuple(x.get_xydata()[0]) for x in matters.lines if x.get_marker() == "o"]
    assert dots == [(2.0, 0.0), (3.0, 3.0)]  # in points; rows of p1, then of all parts
    (best,) = [x for x in matters.lines if x.get_marker() == "D"]
    assert best.get_xdata() == pytest.approx([25.0])
    (bar,) = [x for x in reacts.lines if list(x.get_xdata()) == pytest.approx([-0.6, -0.4])]
    assert bar.get_ydata()[0] == 0
    assert [t.get_text() for t in reacts.get_yticklabels()][3] == "all parts, object"
    plt.close(figure)
