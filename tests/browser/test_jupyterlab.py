"""The browser as a person has it: notebook 5 in JupyterLab and Chromium, by keyboard and mouse."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "5_attention.ipynb"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
]  # fmt: skip
playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install playwright"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium of the system"),
]
MINUTE = 60_000
STRANGE = "<img src=x onerror=document.title=1>"
CHOSEN = re.compile("mod-info")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rendered):
    """Notebook 5, set to the tiny data set and a run of one epoch a stage."""
    base = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    parameters = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    values = {
        "ROOT": str(rendered), "PRESET": "tiny", "RUNS": str(base / "runs"), "CLIPS": 4,
        "FIGURES": str(base / "figures"), "RESULTS": str(NOTEBOOK.parents[1] / "data" / "results"),
    }  # fmt: skip
    small = (
        "from mmagga.config import DEMO, StageConfig\n"
        "CHANGES = {'frames': 2, 'ids_per_batch': 2, 'clips_per_id': 2, 'workers': 0,\n"
        "           'stages': tuple(StageConfig(1, s.lr, s.trainable) for s in DEMO.stages)}\n"
    )
    parameters.source += "\n" + "".join(f"{k} = {v!r}\n" for k, v in values.items()) + small
    nbformat.write(notebook, base / "5_attention.ipynb")
    return base


@pytest.fixture(scope="module")
def server(folder):
    """JupyterLab in a session of its own, whose processes all end with it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    homes = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    home = {name: str(folder / name.lower()) for name in homes}
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}",
        "--ServerApp.port_retries=0", "--IdentityProvider.token=", "--ServerApp.ip=127.0.0.1",
        "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", f"--notebook-dir={folder}",
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=NOTEBOOK.parents[1],
            env=os.environ | home, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/api", process, folder / "server.log")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(address, process, log):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no server after 240 s: {log.read_text()}")


@pytest.fixture(scope="module")
def page(server):
    """Notebook 5, run from top to bottom, in a window 1280 pixels wide."""
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(MINUTE)
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on(
            "console",
            lambda m: page.errors.append(m.text) if m.type == "error" else None,
        )
        page.on("dialog", lambda dialog: page.errors.append(f"dialog: {dialog.message}"))
        page.goto(f"{server}/lab/tree/5_attention.ipynb?reset")
        playwright.expect(page.locator(".jp-NotebookPanel")).to_be_visible(timeout=MINUTE)
        ready = "window.jupyterapp?.shell.currentWidget?.context?.sessionContext?.session?.kernel"
        page.wait_for_function(f"{ready}?.status === 'idle'")
        page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        failed = "[data-mime-type='application/vnd.jupyter.error']"
        page.locator(f".mm-status, {failed}").first.wait_for(state="attached", timeout=5 * MINUTE)
        page.locator(".mm-browser").scroll_into_view_if_needed()
        yield page
        chromium.close()


@pytest.fixture
def changes(page):
    """Give a function that waits until a picture is another than before an action."""

    def act(picture, action):
        locator = page.locator(f"{picture} img >> nth=0")
        before = locator.get_attribute("src")
        action()
        playwright.expect(locator).not_to_have_attribute("src", before, timeout=MINUTE)
        assert page.locator(".mm-status").inner_text() != ""

    return act


def focus(page, control):
    handle = page.locator(f"{control} [role=slider]").first
    handle.focus()
    return handle


def find(page, picture, words, step=12):
    """Return a place of a picture whose tip, shown while the pointer is there, holds the words."""
    image, tip = page.locator(f"{picture} img"), page.locator(f"{picture} .mm-tip")
    image.scroll_into_view_if_needed()
    size = image.evaluate("e => [e.clientWidth, e.clientHeight]")
    for y in range(4, size[1], step):
        for x in range(4, size[0], step):
            image.hover(position={"x": x, "y": y}, force=True)
            if tip.is_visible() and words in tip.inner_text():
                return {"x": x, "y": y}
    raise AssertionError(f"nothing in {picture} says {words!r}")


def test_pictures_and_labels_are_there(page):
    playwright.expect(page.locator(".mm-about")).to_contain_text("Query 1 of")
    playwright.expect(page.locator(".mm-result")).to_contain_text("first match at rank")
    for picture in (".mm-pair img", ".mm-touch img"):
        size = page.locator(picture).evaluate("e => [e.naturalWidth, e.clientWidth]")
        assert size[0] == size[1] > 100, "pixels are shown as they were drawn"
    panel = page.locator(".jp-NotebookPanel").bounding_box()
    box = page.locator(".mm-touch").bounding_box()
    assert box["x"] + box["width"] <= panel["x"] + panel["width"]


def test_everything_has_a_name_for_screen_readers(page):
    without = """all => all.filter(e => !e.getAttribute('alt')).length"""
    assert page.locator(".mm-browser img:not([hidden])").evaluate_all(without) == 0
    controls = page.locator(".mm-browser select, .mm-browser input, .mm-browser [role=slider]")
    nameless = """all => all.filter(e => !e.getAttribute('aria-label') && !e.closest('label')
        && !e.labels?.length).map(e => e.outerHTML)"""
    assert controls.evaluate_all(nameless) == []


def test_cause_and_effect_are_on_one_screen(page):
    """In a window of 900 pixels the notebook has 780: for the controls, result, pair and brush."""
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator(".mm-pair img").evaluate("e => e.scrollIntoView({block: 'end'})")
    header, pair, touch = (
        page.locator(name).bounding_box() for name in (".mm-header", ".mm-pair", ".mm-touch")
    )
    assert header["y"] + header["height"] <= pair["y"] + 1
    assert pair["y"] <= touch["y"] < pair["y"] + pair["height"]
    page.set_viewport_size({"width": 1280, "height": 1000})


@pytest.mark.parametrize("slider", [".mm-frame", ".mm-temperature", ".mm-opacity"])
def test_a_slider_moves_by_keyboard_and_the_picture_follows(page, changes, slider):
    handle = focus(page, slider)
    value = handle.get_attribute("aria-valuenow")
    key = "ArrowRight" if slider == ".mm-frame" else "ArrowLeft"
    changes(".mm-pair", lambda: handle.press(key))
    assert handle.get_attribute("aria-valuenow") != value


def test_the_next_query_by_keyboard(page, changes):
    handle = focus(page, ".mm-query")
    changes(".mm-pair", lambda: handle.press("ArrowRight"))
    playwright.expect(page.locator(".mm-about")).to_contain_text("Query 2 of")


def test_a_gallery_item_by_click_and_by_keyboard(page, changes):
    hits = page.locator(".mm-hit")
    changes(".mm-pair", hits.nth(2).click)
    playwright.expect(hits.nth(2)).to_have_class(CHOSEN)
    hits.nth(1).focus()
    changes(".mm-pair", lambda: page.keyboard.press("Space"))
    playwright.expect(hits.nth(1)).to_have_class(CHOSEN)


def test_a_gallery_item_by_a_click_on_its_picture(page, changes):
    changes(".mm-pair", page.locator(".mm-tile img").nth(3).click)
    playwright.expect(page.locator(".mm-hit").nth(3)).to_have_class(CHOSEN)


def test_a_frame_by_a_click_and_its_value_by_hovering(page, changes):
    focus(page, ".mm-frame").press("Home")
    place = find(page, ".mm-pair", "frame 2")
    changes(".mm-touch", lambda: page.locator(".mm-pair img").click(position=place))
    assert focus(page, ".mm-frame").get_attribute("aria-valuenow") == "2.0"


def test_a_rectangle_is_dragged_on_the_frame(page, changes):
    picture = page.locator(".mm-touch img")

    def drag():
        picture.hover(position={"x": 30, "y": 60})
        box = picture.bounding_box()
        page.mouse.down()
        page.mouse.move(box["x"] + 70, box["y"] + 130, steps=4)
        page.mouse.up()

    changes(".mm-touch", drag)
    playwright.expect(page.locator(".mm-occluder select")).not_to_have_value("")
    playwright.expect(page.locator(".mm-call input")).to_have_value(re.compile("box="))
    changes(".mm-touch", lambda: page.locator(".mm-occluder select").select_option(index=0))


def test_jumps_and_the_line_of_the_view(page, changes):
    field = page.locator(".mm-goto input")

    def go(words):
        field.fill(words)
        field.press("Enter")

    changes(".mm-pair", lambda: go("person 9"))
    playwright.expect(page.locator(".mm-about")).to_contain_text("person 9")
    playwright.expect(page.locator(".mm-call input")).to_have_value(re.compile("query="))
    go("nobody")
    playwright.expect(page.locator(".mm-where")).to_contain_text("nothing here is named")
    go("")


def test_the_embedding_map_opens_a_tracklet(page, changes):
    page.locator(".mm-draw-map").click()
    playwright.expect(page.locator(".mm-status")).to_contain_text("a click on the map")
    before = page.locator(".mm-call input").input_value()
    place = find(page, ".mm-embedding", "person")
    page.locator(".mm-embedding img").click(position=place)
    playwright.expect(page.locator(".mm-call input")).not_to_have_value(before)


def test_map_weights_and_brush(page, changes):
    def choose(control, label):
        return lambda: page.locator(f"{control} select").select_option(label=label)

    changes(".mm-pair", choose(".mm-map", "contribution to the similarity"))
    changes(".mm-pair", choose(".mm-swap", "uniform"))
    playwright.expect(page.locator(".mm-status")).to_have_text("from memory")
    changes(".mm-touch", choose(".mm-occluder", "a box"))
    playwright.expect(page.locator(".mm-status")).to_contain_text("went through the network")
    changes(".mm-touch", lambda: focus(page, ".mm-height").press("End"))


def test_the_page_does_not_jump(page, changes):
    browser = page.locator(".mm-browser")
    height = browser.bounding_box()["height"]
    handle = focus(page, ".mm-query")
    handle.press("Home")
    playwright.expect(page.locator(".mm-about")).to_contain_text("Query 1 of")
    changes(".mm-pair", lambda: handle.press("ArrowRight"))
    assert browser.bounding_box()["height"] == height
    assert handle.evaluate("e => e === document.activeElement"), "the focus stays"


def test_the_gallery_too_shows_its_progress(page, changes):
    page.locator(".mm-swap select").select_option(label="uniform")
    changes(".mm-pair", page.locator(".mm-both input").check)
    playwright.expect(page.locator(".mm-stop")).to_be_hidden()
    changes(".mm-pair", page.locator(".mm-both input").uncheck)


def test_a_filter_that_nothing_passes_says_so(page):
    labels = page.locator(".mm-show option").all_inner_texts()
    for label in labels:
        page.locator(".mm-show select").select_option(label=label)
        page.wait_for_timeout(500)
        if "No query" in page.locator(".mm-nothing").inner_text():
            playwright.expect(page.locator(".mm-pair img")).to_be_hidden()
            break
    else:
        pytest.fail("no filter left nobody")
    page.locator(".mm-show select").select_option(index=0)
    playwright.expect(page.locator(".mm-pair img")).to_be_visible(timeout=MINUTE)


def test_saving_and_what_is_left_behind(page):
    page.locator(".mm-save").click()
    playwright.expect(page.locator(".mm-status")).to_contain_text("saved ")
    saved = page.locator(".mm-status").inner_text().removeprefix("saved ")
    assert Path(saved).read_bytes().startswith(b"\x89PNG")
    cell = page.locator(".jp-CodeCell", has=page.locator(".mm-browser"))
    assert cell.locator(".jp-OutputArea-child").count() == 1, "nothing is printed under the widget"


def test_what_comes_from_data_is_never_html(page):
    code = f"""name = {STRANGE!r}
browser.about.value = browser.status.value = browser.hits[0].description = name"""
    page.evaluate(
        """code => {
            const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
            notebook.activeCellIndex = notebook.widgets.length - 1;
            return app.commands.execute('notebook:insert-cell-below').then(() => {
                notebook.activeCell.model.sharedModel.setSource(code);
                void app.commands.execute('notebook:run-cell');
            });
        }""",
        code,
    )
    for shown in (".mm-about", ".mm-status", ".mm-hit >> nth=0"):
        playwright.expect(page.locator(shown)).to_have_text(STRANGE)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() != "1"


def test_nothing_went_wrong_on_the_way(page):
    assert page.errors == []
    assert page.locator("dialog[open], .jp-Dialog").count() == 0
    assert page.locator(".jp-RenderedText[data-mime-type*=stderr] >> text=Traceback").count() == 0
