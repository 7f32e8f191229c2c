"""A notebook's interrupt: the cell stops, the kernel lives, the same cell goes on to the end."""

import dataclasses
import json
import time

import pytest
from jupyter_client.manager import start_new_kernel

from mmagga.config import DEMO, StageConfig, to_dict
from mmagga.data.synthetic import render
from mmagga.runs import Run
from mmagga.training import train

CELL = """
import json
from mmagga.config import from_dict
from mmagga.training import train
run = train(from_dict(json.loads({config!r})), {folder!r}, bar=False)
"""


@pytest.mark.slow
def test_an_interrupted_cell_goes_on_when_run_again(tmp_path):
    root = render(tmp_path / "tiny", "tiny", workers=1, progress=False)
    config = dataclasses.replace(
        DEMO, root=root, frames=2, ids_per_batch=2, clips_per_id=2, workers=0, eval_batch=8,
        model=dataclasses.replace(DEMO.model, width=32), checkpoint_every=1e9,
        stages=(StageConfig(12, 1e-3),),
    )  # fmt: skip
    whole = train(config, tmp_path / "whole", bar=False)
    run = Run(tmp_path / "run")
    cell = CELL.format(config=json.dumps(to_dict(config)), folder=str(run.folder))
    manager, client = start_new_kernel()
    try:
        asked = client.execute(cell)
        while not run.folder.exists() or run.read("steps").empty:
            time.sleep(0.02)
        manager.interrupt_kernel()
        reply = client.get_shell_msg(timeout=300)
        while reply["parent_header"]["msg_id"] != asked:
            reply = client.get_shell_msg(timeout=300)
        assert reply["content"]["status"] == "error"
        assert reply["content"]["ename"] == "Stopped"
        assert "run it again to continue" in reply["content"]["evalue"]
        assert 0 < len(run.read("steps")) < len(whole.read("steps"))
        again = client.execute_interactive(cell, timeout=600, output_hook=lambda message: None)
        assert again["content"]["status"] == "ok"
        alive = client.execute_interactive("print(1)", timeout=60, output_hook=lambda m: None)
        assert alive["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    for name in ("steps.jsonl", "epochs.jsonl", "metrics.json", "queries.csv"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
