"""Make the start weights RENDERED_V1 from nothing: render, train, score, write, describe.

    python benchmarks/rendered_v1.py [--photographs FOLDER] [--out FILE.safetensors]

The network is the baseline on a ResNet-18, trained from random weights on the rendered preset
`start`: 1,200 people who are in no other preset, before six cameras, with random changes of light
and colour. Convolutions and matrices are stored in half precision, BatchNorm in single. Scores are
those of the stored weights, on people who were not in training, beside embeddings that learn
nothing. `--photographs` is a folder in PRID 2011's layout; its ten splits are scored without any
training.
"""

import datetime
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from safetensors.torch import save
from torch import Tensor

from mmagga.config import DEMO, Config, ModelConfig, StageConfig, config_hash
from mmagga.data import Tracklets, load_checked
from mmagga.data.synthetic import PRESETS, render
from mmagga.model import Baseline
from mmagga.model.build import build_model
from mmagga.retrieval import Protocol, bootstrap, evaluate
from mmagga.retrieval.embedding import query_and_gallery
from mmagga.retrieval.yardsticks import yardsticks
from mmagga.runs import Run
from mmagga.system.device import resolve_device
from mmagga.system.files import commit, write_json
from mmagga.training import train

START = replace(
    DEMO,
    root=Path("data/synthetic-start"),
    frames=2,
    ids_per_batch=32,
    clips_per_id=4,
    model=ModelConfig(name="baseline", backbone="resnet18"),
    augment=replace(DEMO.augment, tone=0.3),
    stages=(StageConfig(epochs=80, lr=1e-3),),
    milestones=(50, 70),
    warmup=200,
    eval_every=0,
    hardware=replace(DEMO.hardware, deterministic=False),
)


def main(
    out: Path = Path("mmagga/model/rendered_v1.safetensors"),
    data: Path = Path("data"),
    runs: Path = Path("runs"),
    photographs: Path | None = None,
    epochs: int = START.stages[0].epochs,
    people: int | None = None,
    device: str = "auto",
    workers: int = 4,
    only_scores: bool = False,
) -> None:
    """Train and write; `people` and `epochs` make a smaller one, to try the command.

    With `only_scores` weights that are there are scored again, and nothing is trained.
    """
    card = json.loads(out.with_suffix(".json").read_text("utf-8")) if only_scores else {}
    if not only_scores:
        card = made(out, data, runs, epochs, people, device, workers)
        card["sha256"] = hashlib.sha256(out.read_bytes()).hexdigest()
        card["bytes"] = out.stat().st_size
    model = replace(START.model, weights=str(out), weights_head=True)
    config = replace(START, model=model, device=device, workers=workers)
    network = build_model(config, 1).to(resolve_device(device)).eval()
    found = card.setdefault("scores", {})
    if people is None:
        demo = load_checked("synthetic", data / "synthetic-demo", preset="demo")
        found["demo, people not seen"] = scores(network, demo, config)
    if photographs is not None:
        splits = [load_checked("prid2011", photographs, split) for split in range(10)]
        found["photographs, ten splits"] = averaged([scores(network, s, config) for s in splits])
    write_json(out.with_suffix(".json"), card)
    print(json.dumps(card, indent=1))


def made(
    out: Path, data: Path, runs: Path, epochs: int, people: int | None, device: str, workers: int
) -> dict[str, Any]:
    """Render, train and write the weights; return what is known of them."""
    spec = PRESETS["start"]
    if people is not None:
        spec = replace(spec, train_ids=people, test_ids=people, tracklets=(2, 3), cameras=2)
    root = render(data / "synthetic-start", spec)
    share = epochs / START.stages[0].epochs
    config = replace(
        START,
        root=root,
        ids_per_batch=min(START.ids_per_batch, spec.train_ids),
        clips_per_id=START.clips_per_id if people is None else 2,
        stages=(replace(START.stages[0], epochs=epochs),),
        milestones=tuple(max(1, round(share * m)) for m in START.milestones),
        device=device,
        workers=workers,
    )
    tracklets = load_checked("synthetic", root)
    run = train(config, Run.of(config, runs).folder, tracklets=tracklets)
    model, record = run.load_with_record()
    tensors = {k: stored(v) for k, v in model.state_dict().items() if ".classifier." not in k}
    commit(out, lambda file: file.write(save(tensors)))
    last, clips = run.records("epochs")[-1], config.ids_per_batch * config.clips_per_id
    test = {key: round(100 * last["metrics"][key], 1) for key in ("mAP", "rank-1")}
    test |= {key: last["metrics"][key] for key in ("queries", "identities")}
    return {
        "name": "RENDERED_V1",
        "network": "the baseline on a ResNet-18 with non-local blocks, 512 features",
        "people": spec.train_ids,
        "cameras": spec.cameras,
        "data": str(spec),
        "config": config_hash(config),
        "seed": config.seed,
        "steps": record["step"],
        "frames": record["step"] * clips * config.frames,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "health": last["health"],
        "unseen people of its own preset": test,
    }


def stored(tensor: Tensor) -> Tensor:
    """Return a tensor as it is stored: what has more than one dimension in half precision."""
    return (tensor.half() if tensor.ndim > 1 else tensor).cpu().contiguous()


def scores(network: Baseline, tracklets: Tracklets, config: Config) -> dict[str, dict[str, float]]:
    """Score the network and what learns nothing: in percent, with the interval of the mAP."""
    methods = {"RENDERED_V1": query_and_gallery(network, tracklets, config)}
    methods |= yardsticks(tracklets, (config.height, config.width))
    found = {}
    for name, embeddings in methods.items():
        score = evaluate(*embeddings, Protocol.for_tracklets(tracklets))
        interval = bootstrap(score.per_query)
        values = {"mAP": score.mAP, "low": interval.low, "high": interval.high}
        values["rank-1"] = score.rank(1)
        found[name] = {key: round(100 * value, 1) for key, value in values.items()}
    return found


def averaged(splits: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation over splits of each method's mAP and rank-1."""
    found: dict[str, dict[str, float]] = {}
    for method in splits[0]:
        found[method] = {}
        for key in ("mAP", "rank-1"):
            values = [split[method][key] for split in splits]
            found[method] |= {key: round(float(np.mean(values)), 1)}
            found[method] |= {f"{key} sd": round(float(np.std(values, ddof=1)), 1)}
    return found


if __name__ == "__main__":
    tyro.cli(main)
