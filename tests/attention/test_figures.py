"""Pictures of attention show the values that they were given, on scales that do not move."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mmagga.figures import (
    attention_sheet,
    frame_weights_figure,
    save,
    time_ridge,
    weight_statistics_figure,
)
from mmagga.figures.attention import contribution_scale, weight_scale


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


FRAMES = np.random.default_rng(0).integers(0, 256, (3, 32, 16, 3), dtype=np.uint8)
MAPS = {"p1": np.full((3, 8, 4), 1.0), "p2": np.full((3, 8, 4), 2.0)}
WEIGHTS = {"p1": np.full((3, 4), 1 / 12), "p2": np.full((3, 8), 1 / 24)}


def texts(figure):
    return "\n".join(t.get_text() for t in figure.findobj(plt.Text))


def test_one_is_white_and_the_scale_is_symmetric_in_the_logarithm():
    scale = weight_scale()
    assert scale.colours(scale.norm(1.0))[:3] == (1, 1, 1)
    assert scale.norm([1 / math.e, 1, math.e, 99]).tolist() == pytest.approx([0, 0.5, 1, 1])
    assert contribution_scale(2.0).norm([-2, 0, 2]).tolist() == pytest.approx([0, 0.5, 1])


def test_paint_is_cell_by_cell_and_nan_stays_grey():
    values = np.ones((3, 8, 4))
    values[1, 2, 3] = 2
    values[2] = np.nan
    painted, plain = (weight_scale().paint(FRAMES, v) for v in (values, np.ones((3, 8, 4))))
    changed = (painted != plain).any(3)
    assert changed[1, 8:12, 12:16].all()  # a cell is 4x4 pixels, with sharp edges
    changed[1, 8:12, 12:16] = False
    assert not changed.any()
    assert np.ptp(plain.astype(int), axis=3).max() == 0  # uniform and unknown are both grey
    alone = weight_scale().paint(FRAMES, np.full((3, 8, 4), math.e), opacity=1)
    assert np.unique(alone.reshape(-1, 3), axis=0).shape == (1, 3)


def test_uniform_frames_do_not_depend_on_the_others():
    """No frame is stretched to a range of its own, and none moves another's colours."""
    loud = MAPS["p1"].copy()
    loud[2] = 2.5
    scale = weight_scale()
    a, b = scale.paint(FRAMES, MAPS["p1"]), scale.paint(FRAMES, loud)
    assert (a[:2] == b[:2]).all()
    assert (a[2] != b[2]).any()


def test_the_sheet_says_what_it_shows():
    contributions = {"p1": np.full((3, 8, 4), 0.01), "p2": np.full((3, 8, 4), -0.002)}
    masks = np.zeros((3, 32, 16), bool)
    masks[1, 10:20, 2:9] = True
    figure = attention_sheet(
        FRAMES, MAPS, title="a clip", provenance="run 1 · checkpoint 2", masks=masks,
        padded=np.array([False, False, True]), weights=WEIGHTS, contributions=contributions,
    )  # fmt: skip
    words = texts(figure)
    for expected in ("a clip", "run 1 · checkpoint 2", "1/e…e, log", "8 bands", "3\nrepeat"):
        assert expected in words
    for expected in ("H/ln N 1.0000", "R 1.00", "2.00 … 2.00", "sum\n+0.960", "sum\n-0.192"):
        assert expected in words
    assert "AUTO-CONTRAST" not in words
    rows = [axes for axes in figure.axes if axes.images]
    assert [len(axes.patches) for axes in rows] == [1] * 6  # one hatched frame in every row
    assert all(axes.collections for axes in rows)  # and the outline


def test_the_outline_keeps_out_of_the_gaps():
    figure = attention_sheet(
        FRAMES, {"p1": MAPS["p1"]}, title="", provenance="", masks=np.ones((3, 32, 16), bool)
    )
    paths = [p for axes in figure.axes for c in axes.collections if axes.images
             for p in c.get_paths()]  # fmt: skip
    assert sum(len(path.vertices) for path in paths) == 0  # covered as a whole: no edge to draw


def test_another_scale_is_stamped():
    figure = attention_sheet(FRAMES, MAPS, title="", provenance="", limit=1.1)
    assert "AUTO-CONTRAST: ends at 1.1" in texts(figure)


def test_frame_weights_are_sums_over_parts_beside_the_uniform_line():
    weights = {"global": np.array([[0.5], [0.3], [0.2]]), "p1": WEIGHTS["p1"]}
    figure = frame_weights_figure(
        weights, title="", provenance="", occluded=np.array([0, 0.5, 1]),
        padded=np.array([False, True, False]),
    )  # fmt: skip
    top, bottom = figure.axes
    heights = [[bar.get_height() for bar in bars] for bars in top.containers]
    assert heights[0] == [0.5, 0.3, 0.2]
    assert heights[1] == pytest.approx([1 / 3] * 3)
    assert list(top.lines[0].get_ydata()) == pytest.approx([1 / 3] * 2)
    assert [bar.get_height() for bar in bottom.containers[0]] == [0, 50, 100]
    assert "2\nrepeat" in texts(figure)


def test_a_ridge_breaks_between_clips_and_keeps_one_scale():
    relative = np.ones((7, 4))
    relative[2, 1] = 1.2
    figure = time_ridge(relative, title="", provenance="", clip=4, occluded=np.zeros(7))
    curves = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [len(curve.get_xdata()) for curve in curves] == [4, 3] * 4
    assert curves[2].get_ydata()[2] < 1  # band 2, frame 3: up is more
    assert "half a row = 1.25 × the uniform weight" in texts(figure)


def test_statistics_draw_the_bounds_of_the_parts_only():
    rng = np.random.default_rng(0)
    relative = {"global": rng.uniform(0.5, 1.5, (9, 4, 1)), "p1": rng.uniform(0.8, 1.2, (9, 4, 4))}
    figure = weight_statistics_figure(relative, title="", provenance="")
    frames, parts = figure.axes
    assert [line.get_xdata()[0] for line in frames.lines] == [1]
    assert [line.get_xdata()[0] for line in parts.lines] == pytest.approx(
        [1, 0.383, 2.455], abs=1e-3
    )
    for axes in figure.axes:
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)
    assert "4 frames" in texts(figure)
    assert "16 tokens" in texts(figure)


def test_a_saved_picture_keeps_its_thinnest_lines(tmp_path):
    """Of 256 colours, chosen by some of the pixels: in noise, lines one pixel wide."""
    picture = np.random.default_rng(0).integers(100, 200, (225, 180, 3)).astype(np.uint8)
    picture[:, 31], picture[47] = (255, 0, 0), (0, 0, 255)
    assert Image.fromarray(picture).getcolors(1 << 15) is None, "many colours"
    figure = plt.figure(figsize=(2, 2.5))
    figure.figimage(picture)
    with Image.open(save(figure, tmp_path / "a.png")) as saved:
        assert saved.mode == "P"
        pixels = np.asarray(saved.convert("RGB")).astype(int)
    assert np.abs(pixels[:46, 31] - (255, 0, 0)).max() < 30
    assert np.abs(pixels[47, :30] - (0, 0, 255)).max() < 30
    assert np.abs(pixels - picture).mean() < 12
    save(figure, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
