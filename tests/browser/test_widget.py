import asyncio
import base64
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from ipywidgets import HTML, Output
from PIL import Image

from mmagga.browser import AttentionBrowser
from mmagga.browser.render import Drawn
from mmagga.browser.view import pair_height
from mmagga.data import load_tracklets

STRANGE = "<img src=x onerror=alert(1)>.jpg"


@pytest.fixture
def browser(run, tmp_path):
    return AttentionBrowser(run, exports=str(tmp_path))


def widgets(box):
    yield from [box] if hasattr(box, "children") else []
    for child in getattr(box, "children", ()):
        yield child
        yield from widgets(child)


def test_it_opens_on_the_query_that_the_rule_says(run, browser):
    precision = browser.state.scores.per_query["average_precision"]
    assert precision[browser.settings.query] == precision.min()
    best = AttentionBrowser(run, rule="best")
    assert precision[best.settings.query] == precision.max()
    assert "1 of" in best.about.value
    assert best.trace == ""


def test_what_comes_from_data_is_never_html(browser):
    found = list(widgets(browser))
    assert not [w for w in found if isinstance(w, HTML | Output)]
    assert not [w for w in found if getattr(w, "description_allow_html", False)]


def test_a_strange_file_name_is_shown_as_it_is(run, rendered):
    tracklets = load_tracklets("synthetic", rendered, 0)
    names = tracklets.names.copy()
    browser = AttentionBrowser(run, tracklets)
    row = browser.state.first_query + browser.settings.query
    names[browser.state.all.table["first"].iat[row]] = STRANGE
    browser.state.all = replace(browser.state.all, names=names)
    browser.frame.value = 2
    assert STRANGE in browser.about.value


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("kind", "contribution"), ("kind", "gradcam"), ("kind", "occlusion"), ("part", "p2"),
        ("opacity", 0.3), ("frame", 2), ("swap", "uniform"), ("swap", "oracle"),
        ("swap", "permuted"), ("swap", "inverted"), ("swap", "frames"), ("temperature", 0.1),
        ("occluder", "box"), ("occluder", "person"), ("occluder", "placebo"),
    ],
)  # fmt: skip
def test_every_control_changes_the_picture(browser, control, value):
    before = browser.pair.value, browser.touch.value
    getattr(browser, control).value = value
    assert browser.trace == ""
    assert (browser.pair.value, browser.touch.value) != before
    assert Image.open(BytesIO(browser.pair.value)).height == pair_height(browser.state)


def test_the_page_does_not_jump(browser):
    sizes = set()
    for kind in ("weight", "gradcam"):
        for part in ("all", "p1"):
            browser.kind.value, browser.part.value = kind, part
            sizes.add(Image.open(BytesIO(browser.pair.value)).size)
    assert len(sizes) == 1


def test_a_click_puts_a_tracklet_beside_the_query(browser):
    before = browser.pair.value
    browser.hits[2].click()
    assert browser.pick == browser.view.found.rows[2]
    assert browser.pair.value != before
    assert [b.button_style for b in browser.hits[:4]] == ["", "", "info", ""]
    assert browser.hits[2].description.startswith("3 ")


def test_rank_list_says_right_or_wrong_and_who_in_words_too(browser):
    found, people = browser.view.found, browser.state.all.pids
    for button, tile, row, match in zip(browser.hits, browser.tiles, found.rows, found.matches):
        assert ("✓" if match else "✗") in button.description
        assert f"person {people[row]}" in button.description or not people[row]
        assert button.tooltip == tile.alt == tile.spots[0]["text"]


def told(picture, **message):
    """Answer as the web page does after a click or a drag."""
    picture._handle_custom_msg(message, [])


def test_pictures_are_clicked_and_rectangles_dragged(browser):
    told(browser.tiles[2], spot=0)
    assert browser.pick == browser.view.found.rows[2]
    spot = next(
        k for k, s in enumerate(browser.view.pair.spots) if s.what == ("frame", 1) and s.drag
    )
    told(browser.pair, spot=spot)
    assert browser.frame.value == 2
    told(browser.touch, spot=0, box=[0.1, 0.2, 0.5, 0.4])
    assert browser.trace == ""
    assert browser.occluder.value == "box"
    brush = browser.settings.brush
    assert (brush.left, brush.top, brush.width, brush.height) == (0.1, 0.2, 0.5, 0.4)
    assert "→" in browser.result.value


def test_a_line_of_python_opens_the_same_view(browser, run):
    browser.query.value = 3
    browser.kind.value, browser.temperature.value = "contribution", 0.5
    told(browser.tiles[1], spot=0)
    told(browser.touch, spot=1, box=[0.0, 0.3, 1.0, 0.5])
    assert browser.call.value == browser.line
    again = eval(browser.line, {"AttentionBrowser": AttentionBrowser})
    assert again.trace == ""
    assert again.line == browser.line
    assert again.pair.value == browser.pair.value
    assert again.touch.value == browser.touch.value
    with pytest.raises(TypeError, match="no option is named 'colour'"):
        AttentionBrowser(run, colour="red")


def test_one_goes_to_a_person_a_track_or_a_file(browser):
    state = browser.state
    row = state.first_query + 2
    browser.goto.value = f"person {state.all.pids[row]}"
    assert f"person {state.all.pids[row]}" in browser.about.value
    name = str(state.all.names[state.all.table["first"].iat[row] + 1])
    browser.goto.value = name.rpartition("/")[2]
    assert browser.settings.query == 2
    gallery = str(state.all.names[state.all.table["first"].iat[0]])
    browser.goto.value = gallery.rpartition("/")[2]
    assert browser.pick == 0
    assert "beside the query" in browser.where.value
    browser.goto.value = "nobody"
    assert "nothing here is named" in browser.where.value
    assert browser.trace == ""


def test_the_first_match_is_shown_wherever_it_is(browser, monkeypatch):
    monkeypatch.setattr("mmagga.browser.widget.TOP", 0)  # as if it were past the top
    browser.frame.value = 2
    found = browser.view.found
    assert browser.rows[-1] == found.first_row
    assert browser.hits[len(browser.rows) - 1].description.startswith(f"{found.first} ✓")


def test_a_click_on_the_map_opens_a_tracklet(browser):
    browser.draw_map.click()
    assert browser.trace == ""
    spot = next(
        k for k, row in enumerate(browser.map._what) if row == browser.state.first_query + 1
    )
    told(browser.map, spot=spot)
    assert browser.settings.query == 1


def test_looking_at_the_gallery_can_be_stopped_and_goes_on(make_run):
    browser = AttentionBrowser(make_run("stopped"))

    async def click():
        browser.both.value = True
        assert browser.stop.layout.display is None
        await asyncio.sleep(0.1)
        browser.stop.click()
        await asyncio.sleep(0.1)
        assert not browser.both.value
        done = len(browser.state._gallery_seen)
        assert 0 < done < browser.state.searched
        browser.both.value = True
        while browser._loading is not None:
            await asyncio.sleep(0.05)
        return done

    assert asyncio.run(click())
    assert browser.trace == ""
    assert browser.settings.both
    assert browser.progress.layout.display == "none"


def test_where_widgets_cannot_be_shown_there_is_a_picture(browser):
    bundle = browser._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_other_weights_change_the_ranks_and_their_distances(browser):
    distances = browser.view.found.distances
    browser.temperature.value = 0.05
    assert not np.allclose(browser.view.found.distances, distances, atol=1e-7)
    assert "→" in browser.result.value, "before and after"
    browser.temperature.value = 1
    assert np.allclose(browser.view.found.distances, distances, atol=1e-6)


def test_the_gallery_gets_other_weights_only_when_asked(browser):
    browser.swap.value = "uniform"
    query_only = browser.view.found.distances
    browser.both.value = True
    assert browser.trace == ""
    assert not np.allclose(browser.view.found.distances, query_only, atol=1e-7)


def test_the_second_visit_needs_no_network(browser):
    def visit():
        for number in (1, 2, 3):
            browser.query.value = number
            browser.hits[1].click()
            browser.occluder.value = "grey"
            browser.occluder.value = ""

    visit()
    before = browser.state.forwards
    visit()
    assert browser.state.forwards == before
    assert browser.status.value == "from memory"


def test_the_brush_says_what_it_did(browser):
    browser.occluder.value = "noise"
    small = browser.touch.value
    browser.every.value = True
    browser.place["top"].value = 0.0
    browser.place["height"].value = 1.0
    assert browser.trace == ""
    assert browser.touch.value != small
    assert "clips went through the network" in browser.status.value


def test_a_filter_that_leaves_nobody_shows_nothing_and_says_so_beside_itself(browser):
    browser.show.value = "unmatched"
    assert browser.nothing.value == "No query: without a match"
    assert (
        browser.nothing in next(b for b in widgets(browser) if browser.show in b.children).children
    )
    assert browser.rank_list.layout.visibility == browser.main.layout.visibility == "hidden"
    assert browser.result.value == ""
    browser.frame.value = 2
    assert browser.trace == ""
    browser.show.value = "all"
    assert browser.trace == browser.nothing.value == ""
    assert browser.main.layout.visibility == "visible"


def test_the_biggest_change_between_two_runs(run, make_run):
    other = make_run("other", seed=3)
    browser = AttentionBrowser(run, other=other, rule="change")
    mine = browser.state.scores.per_query["average_precision"]
    change = (mine - AttentionBrowser(other).state.scores.per_query["average_precision"]).abs()
    assert change[browser.settings.query] == change.max() > 0
    assert "change" not in AttentionBrowser(run).rule.options
    browser.split.value = "train"
    assert browser.trace == ""
    theirs = AttentionBrowser(other)
    theirs.split.value = "train"
    columns = (b.state.scores.per_query["average_precision"] for b in (browser, theirs))
    change = np.abs(np.subtract(*columns))
    assert change[browser.settings.query] == change.max()


def test_own_video_in_which_nobody_is_known(run, rendered, monkeypatch):
    tracklets = load_tracklets("synthetic", rendered, 0)
    tracklets = tracklets.subset((tracklets.table["split"] != "train").to_numpy())
    strangers = tracklets.table.assign(pid=np.arange(1, len(tracklets) + 1))
    monkeypatch.setattr(
        "mmagga.browser.state.BrowserState.named", np.zeros(len(tracklets), bool), raising=False
    )
    browser = AttentionBrowser(run, replace(tracklets, table=strangers), rule="median")
    assert browser.trace == ""
    assert "no match is known: ranks without scores" in browser.result.value
    assert browser.split.options == ("test",)
    assert all("?" in button.description for button in browser.hits[:10])
    assert not any("✗" in button.description for button in browser.hits[:10])
    browser.show.value = "missed"
    assert browser.trace == ""


def test_training_persons_can_be_browsed(browser):
    people = set(browser.state.tracklets.split("train").pids.tolist())
    browser.split.value = "train"
    assert browser.trace == ""
    assert set(browser.state.all.pids.tolist()) <= people
    browser.split.value = "test"
    assert not set(browser.state.all.pids.tolist()) & people


def test_an_error_is_shown_and_the_browser_goes_on(browser, monkeypatch):
    monkeypatch.setattr("mmagga.browser.widget.compose", lambda *_: 1 / 0)
    browser.frame.value = 2
    assert browser.status.value == "ZeroDivisionError: division by zero"
    assert "Traceback" in browser.trace
    monkeypatch.undo()
    browser.frame.value = 1
    assert browser.status.value == "from memory"


def test_a_saved_view_says_where_it_comes_from(browser):
    browser.export.click()
    path = next(browser.exports.glob("*.png"))
    assert str(path) in browser.status.value
    facts = Image.open(path).text
    assert facts["run"] == browser.run.folder.name
    assert facts["checkpoint"] == browser.state.checkpoint
    assert "weight over a uniform one" in facts["scale"]
    assert "brush=None" in facts["settings"]
    assert facts["view"] == browser.line
    assert browser.download.value == path.read_bytes()
    assert browser.download.name == path.name


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, True), ({"temperature": 2}, True), ({"temperature": 0.5}, False),
        ({"swap": "frames"}, False), ({"swap": "oracle"}, False),
    ],
)  # fmt: skip
def test_what_gga_cannot_pass_is_drawn_where_it_holds(browser, monkeypatch, changes, shown):
    drawn = []
    monkeypatch.setattr(
        "mmagga.browser.view.brush_view",
        lambda *a, limits, **k: drawn.append(limits) or Drawn(Image.new("RGB", (8, 8)), []),
    )
    for name, value in changes.items():
        getattr(browser, name).value = value
    browser.frame.value = 2
    assert browser.trace == ""
    assert drawn[-1] is shown


def test_without_masks_it_works_and_offers_no_oracle(run, monkeypatch):
    monkeypatch.setattr("mmagga.browser.state.BrowserState.has_masks", False)
    browser = AttentionBrowser(run)
    assert browser.trace == ""
    assert "oracle" not in browser.swap.options.values()
    assert "occluded" not in browser.rule.options.values()
    browser.occluder.value = "person"
    assert browser.trace == ""


def test_a_baseline_is_told_what_to_do(make_run):
    browser = AttentionBrowser(make_run("baseline", name="baseline"))
    assert "no attention" in browser.status.value
    assert browser.children == (browser.status,)


@pytest.mark.parametrize("granularities", [(), ("p1",)])
def test_a_model_with_fewer_branches(make_run, granularities):
    browser = AttentionBrowser(make_run(f"few{len(granularities)}", granularities=granularities))
    assert browser.trace == ""
    assert list(browser.part.options.values()) == ["all", "global", *granularities]
