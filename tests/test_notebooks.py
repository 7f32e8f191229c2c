"""The notebooks run from top to bottom, in order, on a very small set; and look as they should."""

from pathlib import Path

import nbformat
import pytest
from walk import walk

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]
FIGURES = {
    "1_data": {"data_statistics.png", "contact_sheet.png", "masks.png", "batch.png"},
    "2_train": {"learning_curves.png", "mma_matrices.png"},
    "3_evaluate": {
        "cmc.png", "rank_lists.png", "distances.png", "cameras.png", "length_and_occlusion.png",
    },
    "4_ablations": {"ablation.png", "ablation_study.png"},
    "5_attention": {"attention_sheet.png", "attention_forest.png", "attention_curves.png"},
}  # fmt: skip
SMALL = {"frames": 2, "ids_per_batch": 2, "clips_per_id": 2, "workers": 0}


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


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    base = tmp_path_factory.mktemp("walk")
    return {
        "ROOT": str(base / "data"), "RUNS": str(base / "runs"), "FIGURES": str(base / "figures"),
        "PRESET": "tiny", "EPOCHS": (1, 1, 1), "CLIPS": 4,
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs(path, places):
    """Each finds what the one before it made, and would make it if it were alone."""
    changes = {} if path.stem == "1_data" else {"CHANGES": SMALL}
    notebook = walk(path, places | changes, echo=False)
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.get("name") == "stderr" and "Warning" in o.text]
    drawn = {p.name for p in Path(places["FIGURES"]).iterdir()}
    assert FIGURES[path.stem] <= drawn
    shown = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(shown) == len(FIGURES[path.stem]), "each figure is shown in the page, too"
    printed = "".join(o.text for o in outputs if o.get("name") == "stdout")
    assert printed.strip()
    if path.stem == "3_evaluate":
        assert "difference in mAP" in printed
