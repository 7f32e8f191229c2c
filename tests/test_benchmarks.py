"""The benchmarks' page says what the committed results say, word for word."""

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import readme


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
