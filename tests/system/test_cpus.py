"""Processes that read frames follow the CPUs that may be used."""

import os

import pytest

from mmagga.system.cpus import reader_count


@pytest.mark.parametrize(
    ("cpus", "processes", "asked", "given"),
    [(1, 1, None, 1), (1, 1, 2, 1), (4, 1, None, 4), (64, 1, None, 8), (4, 2, None, 2),
     (4, 8, None, 1), (4, 1, 0, 0)],
)  # fmt: skip
def test_readers(cpus, processes, asked, given, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cpus)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert reader_count(asked) == given
