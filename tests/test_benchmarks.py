"""The benchmarks' page says what the committed results say; the GPU script runs small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import readme

BENCHMARKS = readme.README.parent


def test_the_tables_are_those_of_the_results():
    page = readme.README.read_text(encoding="utf-8")
    assert readme.filled(page) == page, "run python benchmarks/readme.py"
    assert all(f"<!-- {name} -->" in page for name in readme.TABLES)


def test_a_changed_result_changes_the_page(tmp_path):
    for path in readme.RESULTS.glob("speed-*.csv"):
        rows = pd.read_csv(path)
        time = next(name for name in ("seconds", "micros", "ms") if name in rows)
        rows.assign(**{time: rows[time] * 2}).to_csv(tmp_path / path.name, index=False)
    for table in readme.TABLES.values():
        assert table(tmp_path) != table(readme.RESULTS)


@pytest.mark.slow
def test_the_gpu_script_runs_small_on_a_cpu(tmp_path):
    words = ["--device", "cpu", "--tiny", "--steps", "weights", "recipe"]
    places = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    environment = os.environ | {"PYTHON": sys.executable}
    command = [str(BENCHMARKS / "gpu.sh"), *words, *places]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = pd.read_csv(tmp_path / "out" / "steps.csv").set_index("step")
    assert steps["exit"].to_dict() == {"weights": 0, "recipe": 0}
    card = json.loads((tmp_path / "out" / "tiny.json").read_text("utf-8"))
    assert card["people"] == 3
    assert "from random weights" in (tmp_path / "out" / "recipe.log").read_text("utf-8")
