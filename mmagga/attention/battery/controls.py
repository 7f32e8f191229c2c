"""Networks that bracket the trained one: taught to ignore occluders, or with layers undone.

The positive control is a trained network whose scoring layers alone are taught, with masks, to
down-weight occluders, at a temperature that allows it: it shows what the battery can detect.
Undoing the layers of a network from its output down (cascading randomisation,
Adebayo 2018) shows how much of what the weights do was learned. Labels that were shuffled before
training leave nothing to learn but noise.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mmagga.attention.battery import measures
from mmagga.attention.battery.clips import CLEAN, FILMED, Condition, Sample
from mmagga.attention.battery.measure_rows import flat
from mmagga.attention.battery.observe import (
    Request,
    fast,
    observe,
    tokens_of,
)
from mmagga.attention.battery.occluders import token_shares
from mmagga.config import Config
from mmagga.data.masks import is_rendered
from mmagga.data.tracklets import Tracklets
from mmagga.model.head import GuidedAttention, weighted_sum
from mmagga.model.networks import ClipModel
from mmagga.model.outputs import Tokens, tree_cat, tree_map
from mmagga.randomness import generator, seed_torch

TAUGHT = 0.1
"""Temperature of the network that is taught to ignore occluders."""
LEVELS = ("scores", "projections", "MMA", "layer4", "layer3", "layer2", "layer1")
"""Layers from the output down, as they are randomised one after the other."""


def shuffled_labels(tracklets: Tracklets, seed: int = 0) -> Tracklets:
    """Permute the ids of the training persons among the training tracklets.

    A network trained on these can only memorise. Test tracklets stay.
    """
    table = tracklets.table.copy()
    train = (table["split"] == "train").to_numpy()
    pids = table.loc[train, "pid"].to_numpy()
    table.loc[train, "pid"] = generator(seed, "shuffled labels").permutation(pids)
    return replace(tracklets, table=table)


# --- the positive control -----------------------------------------------------------------------


def taught_to_ignore(
    model: ClipModel,
    tracklets: Tracklets,
    config: Config,
    *,
    limit: int = 400,
    steps: int = 400,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
    filmed: bool | None = None,
) -> ClipModel:
    """Teach a copy of a network's scoring layers to down-weight occluders.

    The target is the soft oracle, ∝ exp(-covered share / `TAUGHT`), of clips of training tracklets
    shown clean, with pasted objects and persons, and with filmed occluders where they can be
    rendered; the loss is the Kullback-Leibler divergence from it. Backbone, MMA and projections
    stay as they are, so that the control has the same tokens and differs in their weights alone.

    Args:
        model: with guided attention, in evaluation mode; it is left alone.
        tracklets: their training split is used.
        config: frames, size, batch of clips, hardware.
        limit: tracklets to learn from.
        steps: of Adam.
        batch: clips per step.
        rate: learning rate.
        seed: of the draws.
        filmed: whether occluders are filmed; None where the data set is a rendered one.

    Returns:
        The new network, in evaluation mode, its attention at temperature `TAUGHT`.
    """
    size = (config.height, config.width)
    if filmed is None:
        filmed = is_rendered(tracklets)
    sample = Sample.draw(
        tracklets.split("train"), config.frames, size, seed=seed, limit=limit, filmed=filmed
    )
    kinds = ["none", "object", "person", *([FILMED] if filmed else [])]
    subject = fast(model, config.hardware)
    lessons = [_lesson(subject, sample, Condition(kind), config.eval_batch) for kind in kinds]
    tokens, covered = tree_cat(lessons)  # L = kinds·Q clips: (L, T, D), (L, T, P, D); (L, T, P)
    taught = copy.deepcopy(model).requires_grad_(False)
    scorers = [s for s in taught.head.part_score.values() if isinstance(s, GuidedAttention)]
    if not scorers:
        raise ValueError("only guided attention can be taught: this network pools otherwise")
    for scorer in scorers:
        scorer.temperature = TAUGHT
        scorer.requires_grad_(True)
    # Features change their scale with training: the scoring layers are initialised again.
    with torch.random.fork_rng():
        seed_torch(seed, "taught")
        for module in taught.head.part_score.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
    _teach(
        taught,
        tokens,
        covered,
        steps=steps,
        batch=batch,
        rate=rate,
        draws=generator(seed, "lessons"),
    )
    return taught.requires_grad_(True).eval()


@torch.inference_mode()
def _lesson(
    model: ClipModel, sample: Sample, condition: Condition, batch: int
) -> tuple[Tokens, dict[str, Tensor]]:
    """Return the tokens of all clips under a condition, and what is covered, on the device."""
    shown = [sample.show(row, condition) for row in range(len(sample))]
    clips, covered = (np.stack(arrays) for arrays in zip(*shown))
    tokens = tokens_of(model, clips.__getitem__, len(clips), batch)
    return tokens, tree_map(Tensor.cpu, token_shares(covered, model.head))


def _teach(
    model: ClipModel,
    tokens: Tokens,
    covered: dict[str, Tensor],
    *,
    steps: int,
    batch: int,
    rate: float,
    draws: np.random.Generator,
) -> None:
    head, device = model.head, model.head.bnneck.weight.device
    # What was computed for inference takes no part in a gradient: copy it.
    tokens = tree_map(lambda values: values.clone().to(device), tokens)
    covered = {name: values.clone().to(device) for name, values in covered.items()}
    optimizer = torch.optim.Adam(head.part_score.parameters(), rate)
    for _ in range(steps):
        rows = torch.from_numpy(draws.integers(len(tokens.frames), size=batch)).to(device)
        some = tree_map(lambda values, rows=rows: values[rows], tokens)
        frames = head.frame_score(some.frames).squeeze(-1).softmax(1)  # (B, T)
        guide = weighted_sum(frames, some.frames)  # (B, D)
        loss = torch.zeros((), device=device)
        for name, score in head.part_score.items():
            weights = score(some.parts[name].flatten(1, 2), guide)  # (B, T·P)
            wanted = (-covered[name][rows].flatten(1) / TAUGHT).softmax(1)  # (B, T·P)
            loss = loss + torch.nn.functional.kl_div(
                weights.clamp(min=1e-9).log(), wanted, reduction="batchmean"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# --- layers undone ------------------------------------------------------------------------------


def cascade(
    model: ClipModel, sample: Sample, config: Config, occluder: str, *, seed: int = 0
) -> pd.DataFrame:
    """Randomise a network's layers from the output down, and look at its weights again.

    Returns:
        A row for each level and branch: level ("trained", then `LEVELS` that the network has, each
        with all before it), branch, rank (Spearman's correlation of the weights of clean clips with
        the trained network's) and response to the occluder in nats, clips weighted by what is
        covered.
    """
    rows: list[dict] = []
    trained: dict[str, np.ndarray] = {}
    for level, network in _undone(model, seed):
        copied = fast(network, config.hardware)
        clean = observe(copied, sample, CLEAN, Request(batch=config.eval_batch))
        after = observe(copied, sample, Condition(occluder), Request(batch=config.eval_batch))
        trained = trained or clean.weights
        for branch in model.head.grids:
            before, now = flat(clean.weights[branch]), flat(after.weights[branch])
            slope, worth = measures.response(before, now, flat(after.covered[branch]))
            known = np.isfinite(slope) & (worth > 0)
            value = np.average(slope[known], weights=worth[known]) if known.any() else np.nan
            rank = measures.rank_correlation(flat(trained[branch]), before)
            rank = np.nanmean(rank) if np.isfinite(rank).any() else np.nan
            rows.append({"level": level, "branch": branch, "rank": rank, "response": value})
    return pd.DataFrame(rows)


def _undone(model: ClipModel, seed: int) -> Iterator[tuple[str, ClipModel]]:
    """Yield the network as it is, then with ever more of its layers random."""
    yield "trained", model
    network = copy.deepcopy(model)
    head, trunk = network.head, network.backbone
    layers = {
        "scores": [head.part_score, head.frame_score],
        "projections": [head.project],
        "MMA": [head.mma],
        **{name: [getattr(trunk, name)] for name in LEVELS[3:] if hasattr(trunk, name)},
    }
    for level, modules in layers.items():
        with torch.random.fork_rng(), torch.no_grad():
            seed_torch(seed, f"cascade {level}")
            for module in (m for whole in modules for m in whole.modules()):
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
                elif isinstance(getattr(module, "matrix", None), nn.Parameter):
                    module.matrix.uniform_(0, float(module.matrix.abs().mean()) * 2)
        yield level, network
