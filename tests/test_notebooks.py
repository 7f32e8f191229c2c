"""The notebooks run from top to bottom, in order, on a very small set; and look as they should."""

import dataclasses
import re
import shutil
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from walk import source_hash, walk, write_page

from mmagga.config import PAPER, ModelConfig
from mmagga.data.synthetic import PRESETS, render

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
FIGURES = {
    "1_data": {"data_statistics.png", "contact_sheet.png", "masks.png", "batch.png"},
    "2_train": {"health.png", "recipe.png", "start.png", "learning_curves.png", "mma_matrices.png"},
    "3_evaluate": {
        "cmc.png", "rank_lists.png", "distances.png", "cameras.png", "length_and_occlusion.png",
        "embedding_map.png",
    },
    "4_ablations": {"ablation_curves.png", "ablation.png", "ablation_study.png"},
    "5_attention": {
        "attention_sheet.png", "frame_weights.png", "time_ridge.png", "weight_statistics.png",
    },
    "6_battery": {
        "attention_forest.png", "attention_curves.png", "attention_harm.png",
        "attention_study.png",
    },
}  # fmt: skip
ELSEWHERE = {"attention_study.png"}
"""Figures whose numbers are committed results; from notebook 2 on, all others have a CSV file."""
SMALL = {"frames": 2, "ids_per_batch": 2, "clips_per_id": 2, "workers": 0}
SHORT = {"stages": tuple(dataclasses.replace(s, epochs=1) for s in PAPER.stages), "milestones": ()}
IMPORT = "from mmagga.config import ModelConfig, StageConfig; "
"""Parameters are written into a cell as their repr; those of a configuration need its names."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert max(len(cell.source.splitlines()) for cell in code) <= 15
    assert [c.metadata.get("tags") for c in code].count(["parameters"]) == 1
    first = notebook.cells[0].source
    assert "**Question.**" in first
    assert any(c.source.startswith("## Answer") for c in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_the_committed_page_is_of_this_notebook(path):
    page = path.parent / "rendered" / f"{path.stem}.md"
    text = page.read_text(encoding="utf-8")
    assert source_hash(path) in text.splitlines()[0], "run make rendered, and look at the page"
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert "](../../figures/" in text
    assert "widget-view" not in text
    assert not re.search(r"/(home|tmp|root|work|Users)/", text), "a path of the machine it ran on"


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    base = tmp_path_factory.mktemp("walk")
    return {
        "ROOT": str(base / "data"), "RUNS": str(base / "runs"), "FIGURES": str(base / "figures"),
        "PRESET": "tiny", "EPOCHS": (1, 1, 1), "CLIPS": 4,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs(path, places, tmp_path):
    """Each finds what the one before it made, and would make it if it were alone."""
    changes = {} if path.stem == "1_data" else {IMPORT + "CHANGES": SMALL | SHORT}
    notebook = walk(path, places | changes, echo=False)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    pages = tmp_path / "pages"
    text = write_page(deepcopy(notebook), path, pages, Path(places["FIGURES"])).read_text(
        encoding="utf-8"
    )
    links = re.findall(r"\]\((.+?\.png)\)", text)
    assert all((pages / link).is_file() for link in links)
    assert len(links) == len(FIGURES[path.stem]) + (path.stem == "5_attention")
    assert not [o for o in outputs if o.get("name") == "stderr" and "Warning" in o.text]
    drawn = {p.name for p in Path(places["FIGURES"]).iterdir()}
    assert FIGURES[path.stem] <= drawn
    if path.stem != "1_data":
        assert {f"{name[:-4]}.csv" for name in FIGURES[path.stem] - ELSEWHERE} <= drawn
    shown = [o for o in outputs if "image/png" in o.get("data", {})]
    widgets = path.stem == "5_attention"
    assert len(shown) == len(FIGURES[path.stem]) + widgets, "each figure is shown in the page, too"
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert printed.strip()
    if path.stem == "3_evaluate":
        assert "difference in mAP" in printed


def mars_of_photographs(root, photographs):
    """Write a small tree in MARS's layout: 18 of the people train, the next four are tested."""
    render(
        root, dataclasses.replace(PRESETS["tiny"], train_ids=18, tracklets=(2, 2)), progress=False
    )
    shutil.rmtree(root / "masks")
    (root / "info" / "frames.csv").unlink()
    people = sorted(path for path in photographs.rglob("person_*") if "cam_a" in path.parts)
    names = {
        pid: path.name for pid, path in zip(sorted(p.name for p in root.glob("bbox_*/*")), people)
    }
    for frame in root.glob("bbox_*/*/*.jpg"):
        if frame.parent.name in names:
            camera = "cam_a" if "C1" in frame.name else "cam_b"
            shots = sorted((people[0].parents[1] / camera / names[frame.parent.name]).iterdir())
            with Image.open(shots[int(frame.stem[-3:]) % len(shots)]) as shot:
                shot.convert("RGB").save(frame, quality=90)
    return root


@pytest.mark.slow
def test_with_mars_nothing_but_data_set_and_folder_changes(real_data, tmp_path):
    """All in order, on photographs in MARS's layout: no masks, few persons, PAPER's preset
    made small by CHANGES alone.
    """
    root = mars_of_photographs(tmp_path / "mars", real_data / "real_pedestrians")
    model = ModelConfig(backbone="resnet18", width=16)
    small = SMALL | SHORT | {"model": model, "height": 128, "width": 64, "eval_every": 0}
    places = {"DATASET": "mars", "ROOT": str(root), "RUNS": str(tmp_path / "runs"),
              "FIGURES": str(tmp_path / "figures"), "EPOCHS": None, "CLIPS": 2}  # fmt: skip
    for path in NOTEBOOKS:
        changes = {} if path.stem == "1_data" else {IMPORT + "CHANGES": small}
        notebook = walk(path, places | changes, echo=False)
        streams = [o for c in notebook.cells for o in c.get("outputs", [])]
        assert not [o for o in streams if o.get("name") == "stderr" and "Warning" in o.text]
    drawn = {p.name for p in (tmp_path / "figures").glob("*.png")}
    assert drawn == set().union(*FIGURES.values()) - {"masks.png"}
