"""Names that are HTML, LaTeX or formulas stay names, in every table, figure and page.

Persons and cameras are integers; text comes from folder and file names, from CSV and JSON files
of a run, from notes of readers and from whoever calls a figure.
"""

import ast
import dataclasses
import html
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from pages import Page, assert_safe, coarse_pictures  # noqa: F401
from PIL import Image
from planted import write_people
from studies.test_ablations import planted

import mmagga
from mmagga import figures
from mmagga.attention.battery.verdict import judge
from mmagga.browser import paint
from mmagga.browser import render as browser
from mmagga.browser import touch as brush
from mmagga.config import DEMO, to_dict
from mmagga.data import DATASETS
from mmagga.figures.table import Table
from mmagga.model.build import build_model
from mmagga.report import write
from mmagga.report.page import Section, render
from mmagga.runs import Run
from mmagga.studies.grids import Grid
from mmagga.studies.tables import ablation_table, ledger_table, paper_table

IMAGE = "<img src=x onerror=alert(1)>"
LABELS = (IMAGE, r"$\foo$", "_", "%", "&", r"\input{x}", "'\"><script>alert(1)</script>")
EVIL = " ".join(LABELS).replace("/", "∕")  # as a file's name
PACKAGE = Path(mmagga.__file__).parent


# --- tables -------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """Texts of cells and captions, and every element."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.texts = set(), []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        assert {name for name, _ in attributes} <= {"id", "class", "type", "colspan", "scope"}

    def handle_data(self, data):
        self.texts.append(data)


def ledger(label):
    measures = ("mAP", "mAP_low", "mAP_high", "rank-1", "rank-5", "rank-20", "mINP",
                "difference", "difference_low", "difference_high")  # fmt: skip
    counts = {"valid_queries": 7, "dropped_queries": 0, "gallery": 9, "is_paper": True}
    words = dict.fromkeys(("convention", "changes", "used_by"), label)
    return pd.DataFrame([words | dict.fromkeys(measures, 0.5) | counts])


def ablation(label):
    results, precisions = planted({label: 0.0, "other": 0.1}, persons=4)
    results["dataset"] = label
    grid = Grid(label, {label: {}, "other": {}}, {label: (label,)})
    return ablation_table(label, label, results, precisions, grid=grid)


def published(label):
    row = {"table": "II", "method": label, "source": label, "dataset": label}
    numbers = dict.fromkeys(("mAP", "rank1", "rank5", "rank20", "mINP"), 50.0)
    return paper_table("II", pd.DataFrame([row | numbers]), pd.DataFrame())


TABLES = {
    "ledger": lambda label: ledger_table(ledger(label), label),
    "ablation": ablation,
    "paper": published,
    "any": lambda label: Table(*2 * [pd.DataFrame({label: [label]})], label, (label,)),
}


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_a_label_as_it_is(name, label):
    table = TABLES[name](label)
    found = Cells(table.html())
    words = {"div", "p", "style", "table", "caption", "thead", "tbody", "tr", "th", "td",
             "b", "i", "u"}  # fmt: skip
    assert found.tags <= words
    assert any(label in text for text in found.texts)

    markdown = table.markdown()
    assert "<img" not in markdown.replace("<ins>", "")
    assert "<script" not in markdown
    if label in ("_", r"$\foo$"):
        assert f" {label} " not in markdown

    latex = table.latex()
    assert not any(command in latex for command in (r"\input", r"\foo$", r"\foo\$"))
    body = latex.replace(r"\%", "").replace(r"\_", "").replace(r"\$", "").replace(r"\#", "")
    assert "%" not in body.replace("{!}{%", "")
    assert "_" not in body.replace("\\definecolor", "")
    assert body.count("$") % 2 == 0


# --- figures ------------------------------------------------------------------------------------

T, SIZE = 3, (32, 16)
FRAMES = np.random.default_rng(0).integers(0, 256, (T, *SIZE, 3), dtype=np.uint8)
MAPS = {"p1": np.full((T, 8, 4), 1.2)}
WEIGHTS = {"p1": np.full((T, 4), 1 / 12), "global": np.full((T, 1), 1 / 3)}
BANDS = pd.DataFrame({"rank": range(1, 6), "mean": 0.5, "low": 0.4, "high": 0.6})
BINS = pd.DataFrame({"left": [0.0, 1], "right": [1.0, 2], "queries": 3, "identities": 2,
                     "mean": 0.5, "low": 0.4, "high": 0.6})  # fmt: skip
PAIRS = pd.DataFrame({"camid": [1, 2], "gallery_camid": [2, 1], "mAP": 0.5, "queries": 3})


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Tracklets whose folder has a hostile name."""
    root = tmp_path_factory.mktemp("people") / EVIL
    root.mkdir()
    return write_people(root, persons=4)


def battery(label):
    rows = [{"measure": name, "branch": label, "occluder": occluder, "value": 0.5, "low": 0.4,
             "high": 0.6, "p": 0.01, "untrained": 0.1, "ceiling": 0.9, "persons": 30}
            for name in ("response", "gain over uniform weights", "harm (AP)")
            for occluder in (label, "object")]  # fmt: skip
    return judge(pd.DataFrame(rows))


def curves(label):
    row = {"occluder": label, "swap": "gga", "branch": "parts", "mAP": 0.5, "low": 0.4, "high": 0.6}
    places = [{"axis": axis, "x": x} for axis in ("area", "frames") for x in (0.1, 0.2)]
    return pd.DataFrame([row | place for place in places])


def cost(label, people):
    return figures.cost_figure(BINS, BINS, title=label)


def learned(label):
    """Learning curves of one row."""
    curves = pd.DataFrame({"step": [1, 2], "mAP": [0.4, 0.5], "dead": 0.1, "guide": 0.8})
    return curves.assign(label=label, seed=0)


def ranked(label, people):
    query, gallery = people.split("query"), people.split("gallery")
    hits = pd.DataFrame({"gallery": [0, 1], "distance": 0.1, "pid": 1, "camid": 2,
                         "match": [True, False]})  # fmt: skip
    return figures.rank_sheet(query, gallery, {0: hits}, SIZE, title=label, notes={0: label})


def ablated(label, people):
    summary = pd.DataFrame({"mAP": [0.5], "low": 0.4, "high": 0.6}, index=[label])
    results = pd.DataFrame({"label": [label], "mAP": 0.5})
    return figures.ablation_figure(summary, results, title=label)


def embedded(label, people):
    points = pd.DataFrame({"pid": [1, 1, 2], "camid": [1, 2, 1]})
    points[["pca_x", "pca_y", "tsne_x", "tsne_y"]] = np.arange(12.0).reshape(3, 4)
    points.attrs["perplexity"] = 1.0
    return figures.embedding_figure(points, title=label)


def studied(label, people):
    row = {"arm": label, "branch": "p1", "occluder": "object", "runs": 3, "value": 0.1,
           "low": 0.0, "high": 0.2, "smallest": 0.02, "ceiling": 0.3}  # fmt: skip
    measures = "response", "extra gain under an occluder"
    study = pd.DataFrame([row | {"measure": name} for name in measures])
    return figures.attention_study_figure(study, title=label)


FIGURES = {
    "ablation_figure": ablated,
    "attention_sheet": lambda label, _: figures.attention_sheet(
        FRAMES, MAPS, title=label, provenance=label
    ),
    "attention_study_figure": studied,
    "batch_sheet": lambda label, _: figures.batch_sheet(FRAMES[None], FRAMES[None], [label]),
    "camera_figure": lambda label, _: figures.camera_figure(PAIRS, title=label),
    "cmc_band_figure": lambda label, _: figures.cmc_band_figure({label: BANDS}, title=label),
    "cost_figure": cost,
    "curves_figure": lambda label, _: figures.curves_figure(
        learned(label), pd.DataFrame({"method": [label], "mAP": [0.5]}), title=label
    ),
    "dead_units_figure": lambda label, _: figures.dead_units_figure(learned(label), title=label),
    "embedding_figure": embedded,
    "forest_figure": lambda label, _: figures.forest_figure(battery(label), title=label),
    "harm_figure": lambda label, _: figures.harm_figure(battery(label), title=label),
    "parts_figure": lambda label, _: figures.parts_figure(
        pd.DataFrame(
            {"measure": ["rank with what parts are worth"], "branch": label, "arm": label,
             "value": 0.1, "low": 0.0, "high": 0.2}
        ),
        title=label,
    ),
    "health_figure": lambda label, _: figures.health_figure(
        [{"step": s, "health": {"dead": {"p1": 0.1}, "guide": {"p1": 0.8}, "rank": {"p1": 5.0},
                                "trunk": 0.3}} for s in (1, 2)],
        title=label,
    ),
    "frame_weights_figure": lambda label, _: figures.frame_weights_figure(
        WEIGHTS, title=label, provenance=label
    ),
    "mask_sheet": lambda label, _: figures.mask_sheet(
        [FRAMES], [np.zeros((T, *SIZE), np.uint8)], {0: label, 1: "other"}, title=label,
        names=[label],
    ),
    "rank_sheet": ranked,
    "time_ridge": lambda label, _: figures.time_ridge(
        np.full((6, 4), 1.1), title=label, provenance=label, clip=3
    ),
    "robustness_figure": lambda label, _: figures.robustness_figure(curves(label), title=label),
    "tracklet_sheet": lambda label, people: figures.tracklet_sheet(
        people, [0], SIZE, title=label, labels=[label]
    ),
    "weight_statistics_figure": lambda label, _: figures.weight_statistics_figure(
        {"p1": np.full((5, T, 4), 1.2)}, title=label, provenance=label
    ),
}  # fmt: skip
NO_LABELS = {"dataset_figure", "distance_figure", "learning_curves", "matrices_figure"}
"""They print numbers and words of their own; of the distances the title alone is the caller's."""


def test_every_figure_with_labels_is_tried():
    drawing = {name for name in figures.__all__ if name.endswith(("figure", "sheet", "ridge"))}
    assert drawing - NO_LABELS == FIGURES.keys()


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_a_label_as_it_is(name, label, people):
    figure = FIGURES[name](label, people)
    figure.canvas.draw()  # where a formula would be read
    shown = [text for text in figure.findobj(plt.Text) if label in text.get_text()]
    assert shown
    assert not any(text.get_parse_math() for text in shown)
    if name in ("cmc_band_figure", "mask_sheet"):
        legend = [text.get_text() for one in figure.legends for text in one.get_texts()]
        assert any(text.startswith(label) for text in legend), "nothing is left out of a legend"
    plt.close(figure)


# --- the report ---------------------------------------------------------------------------------


@pytest.fixture
def hostile(people, tmp_path, monkeypatch):
    """A run of which every word that can be anything is hostile."""
    names = []
    for name in people.names:
        names.append(f"{EVIL}-{name}")
        shutil.copy(people.root / name, people.root / names[-1])
    tracklets = dataclasses.replace(people, dataset=EVIL, names=np.array(names, people.names.dtype),
                                    notes=(EVIL,))  # fmt: skip
    monkeypatch.setitem(DATASETS, EVIL, lambda root, split: tracklets)
    model = dataclasses.replace(DEMO.model, width=16)
    config = dataclasses.replace(DEMO, dataset=EVIL, root=people.root, frames=2, workers=0,
                                 model=model, device="cpu")  # fmt: skip
    run = Run(tmp_path / f"run {EVIL}")
    run.open(config)
    torch.manual_seed(0)
    state = {"num_ids": 3, "model": build_model(config, 3).state_dict(), "data": EVIL,
             "split": EVIL}  # fmt: skip
    run.save_state(1, state)
    names = ("lr", "cross_entropy", "triplet", "center", "loss", "gradient", "distance_5",
             "distance_50", "distance_95")  # fmt: skip
    run.append("steps", {"step": 1, "epoch": 1, "stage": 1} | dict.fromkeys(names, 1.0))
    run.save_failure({"step": 1, "error": EVIL})
    (run.folder / "environment.json").write_text(json.dumps({EVIL: EVIL}))
    ledger(EVIL).to_csv(run.folder / "ledger.csv", index=False)
    (run.folder / "attention").mkdir()
    pd.DataFrame([{EVIL: EVIL}]).to_csv(run.folder / "attention" / "verdicts.csv", index=False)
    return run, config


def test_a_report_shows_hostile_labels_as_they_are(hostile, tmp_path):
    run, config = hostile
    page = Page(write(run, config, tmp_path / "report.html"))
    assert_safe(page)
    assert "<img src=x" not in page.source
    assert "Rank lists" in page.headings
    assert "Attention" in page.headings
    assert f"failed: {EVIL}" in page.text
    shown = html.escape(EVIL, quote=False)
    assert page.source.count("&lt;img src=x") >= 15
    assert page.text.count(EVIL) >= 15
    assert shown.count("&lt;script") == 1


def test_a_report_without_its_data_shows_hostile_labels_too(hostile, tmp_path):
    run, config = hostile
    unknown = dataclasses.replace(config, dataset=f"other {EVIL}")
    page = Page(write(run, unknown, tmp_path / "report.html"))
    assert_safe(page)
    assert "<img src=x" not in page.source
    assert "no data set is named" in page.text


def test_the_configuration_is_escaped(tmp_path):
    run = Run(tmp_path / "run")
    model = dataclasses.replace(DEMO.model, weights=EVIL)
    run.open(dataclasses.replace(DEMO, root=tmp_path / EVIL, packed=tmp_path / EVIL, model=model))
    assert EVIL in json.dumps(to_dict(run.load_config()), ensure_ascii=False).replace(
        r"\"", '"'
    ).replace(r"\\", "\\")
    page = Page(write(run, run.load_config(), tmp_path / "report.html"))
    assert_safe(page)
    assert page.text.count(EVIL) >= 3


def test_a_file_name_that_is_no_text_is_written_with_a_backslash():
    page = render("bytes \udcff", "", [Section("\udcff", plain="\udcff")])
    assert page.encode().count(rb"\udcff") == 5  # title, heading, link, heading, text


# --- the browser --------------------------------------------------------------------------------


def side(label):
    maps = {label: np.zeros((T, 4, 2), np.float32)}
    return browser.Side(label, FRAMES, maps, np.full(T, 1 / T), np.zeros(T, bool), {label: [label]})


@pytest.mark.parametrize("label", [*LABELS, "two\nlines"])
def test_the_browsers_pictures_take_every_label(label):
    scale = browser.Scale("weight", label, ((-1, label), (0, label), (1, label)))
    terms = [browser.Term(label, 0.2), browser.Term(label, 0.2)]
    pair = browser.pair_view([side(label)] * 2, terms, scale, frame=0, opacity=1.0, stamp=label)
    assert label in pair.spots[-1].text
    bars = brush.Bars([label], np.ones(1), np.ones(1))
    touch = brush.brush_view(FRAMES[0], np.zeros((4, 2)), bars, covered=None, opacity=1.0,
                             limits=True, title=label, changes={label: label})  # fmt: skip
    tiles = browser.paste_grid([browser.strip_tile(FRAMES)], [label])
    data = paint.png(browser.stack([pair.image, touch.image, tiles], [label]), {"query": label})
    assert Image.open(BytesIO(data)).text["query"] == label


def imported(path):
    """Give what a module imports, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_nothing_of_the_kit_shows_text_as_html():
    """Labels and buttons do not; what does is not imported, and templates escape by themselves."""
    names = ("HTML", "HTMLMath", "Javascript", "Markdown", "Latex", "Output")
    shown = {f"{module}.{name}" for module in ("ipywidgets", "IPython.display") for name in names}
    for path in PACKAGE.rglob("*.py"):
        assert not shown & set(imported(path)), path
    marked = [path for path in PACKAGE.rglob("*.py") if "markupsafe.Markup" in set(imported(path))]
    assert marked == [PACKAGE / "report" / "page.py"]
    assert not re.search(r"\|\s*safe", (PACKAGE / "report" / "page.html").read_text("utf-8"))
    for path in PACKAGE.rglob("*.js"):
        assert not re.search("innerHTML|outerHTML|insertAdjacent|eval", path.read_text("utf-8")), (
            path
        )
