"""Networks that bracket the trained one, and maps that are compared with the truth."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import CHANNELS, CONFIG, FRAMES, Eye, write_people
from torch import nn

from mmagga.attention.battery import clips, measures
from mmagga.attention.battery.clips import Condition, Sample
from mmagga.attention.battery.controls import LEVELS, cascade, shuffled_labels, taught_to_ignore
from mmagga.attention.battery.filmed import filmed_clip, filmed_numbers
from mmagga.attention.battery.measure_rows import flat
from mmagga.attention.battery.observe import clean_tokens, exchanged_guides, observe
from mmagga.attention.battery.parts_seen import _agreement, _blocks, part_material, part_values
from mmagga.attention.battery.run import Material
from mmagga.data import load_tracklets
from mmagga.data.synthetic import render
from mmagga.model import make_mmagga
from mmagga.model.head import Head
from mmagga.model.networks import ClipModel


@pytest.fixture(scope="module", autouse=True)
def grey_objects():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "OBJECTS", ("grey",))
        yield


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"), persons=12)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    root = render(tmp_path_factory.mktemp("world") / "tiny", "tiny", progress=False)
    return load_tracklets("synthetic", root)


def guided(seed=0):
    """A head of real guided attention on a backbone that sees grey."""
    torch.manual_seed(seed)
    head = Head(CHANNELS, 2, FRAMES, width=CHANNELS, granularities=("p1",), mma="stripes", gem_p=1)
    for project in head.project.values():
        nn.init.eye_(project.weight)
        nn.init.zeros_(project.bias)
    return ClipModel(Eye(), head).eval()


def response(model, sample):
    clean, after = (observe(model, sample, c) for c in (clips.CLEAN, Condition("object")))
    slope, worth = measures.response(
        *(flat(x["p1"]) for x in (clean.weights, after.weights, after.covered))
    )
    return np.nansum(slope * worth) / worth[np.isfinite(slope)].sum()


def test_a_network_can_be_taught_to_ignore_occluders(people):
    """The positive control answers ten times as strongly as GGA's bound allows, or nearly so."""
    train = replace(people, table=people.table.assign(split="train"))
    model = guided()
    before = {name: w.clone() for name, w in model.state_dict().items()}
    taught = taught_to_ignore(model, train, CONFIG, steps=150, rate=1e-2, filmed=False)
    sample = Sample.draw(people.split("query"), FRAMES, (CONFIG.height, CONFIG.width), seed=0)
    assert response(taught, sample) < -2
    assert abs(response(model, sample)) < 1
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())
    same = taught.state_dict()
    assert all(torch.equal(w, same[n]) for n, w in before.items() if "part_score" not in n)


def test_a_drawn_sample_shows_everybody_before_anybody_twice(people):
    table = pd.concat([people.table] * 3, ignore_index=True)
    queries = replace(people, table=table).split("query")
    persons = len(np.unique(queries.pids))
    few, more = (
        Sample.draw(queries, FRAMES, (128, 64), seed=0, limit=n) for n in (persons, persons + 2)
    )
    assert len(np.unique(few.tracklets.pids)) == persons
    assert sorted(more.tracklets.table["pid"].value_counts())[-3:] == [1, 2, 2]


def test_undoing_layers_starts_from_the_trained_network(people):
    torch.manual_seed(0)
    model = make_mmagga(2, FRAMES, backbone="resnet18", width=16, non_local=0).eval()
    few = Sample.draw(people.split("query"), FRAMES, (128, 64), seed=0, limit=4)
    found = cascade(model, few, CONFIG, "object")
    assert list(found["level"].unique()) == ["trained", *LEVELS]
    start = found[found["level"] == "trained"]
    assert start["rank"].to_numpy() == pytest.approx(1)
    assert found[found["level"] == "layer1"]["rank"].abs().mean() < 0.9


def test_shuffled_labels_are_the_same_labels_on_other_tracklets(rendered):
    shuffled = shuffled_labels(rendered, seed=1)
    train = (rendered.table["split"] == "train").to_numpy()
    assert sorted(shuffled.pids[train]) == sorted(rendered.pids[train])
    assert (shuffled.pids[train] != rendered.pids[train]).any()
    assert (shuffled.pids[~train] == rendered.pids[~train]).all()


def test_another_guide_moves_guided_weights_and_not_those_of_a_dead_guide(people):
    model = guided()
    sample = Sample.draw(people.split("query"), FRAMES, (128, 64), seed=0)
    tokens, pids = clean_tokens(model, sample), sample.tracklets.pids
    own = observe(model, sample, clips.CLEAN).weights["p1"]
    moved = measures.variation(flat(own), flat(exchanged_guides(model.head, tokens, pids)["p1"]))
    assert np.nanmean(moved) > 0
    with torch.no_grad():  # a guide that is the same for everybody: a fixed template
        model.head.project["global"].weight.zero_()
        model.head.project["global"].bias.fill_(1.0)
    tokens = clean_tokens(model, sample)
    own = observe(model, sample, clips.CLEAN).weights["p1"]
    moved = measures.variation(flat(own), flat(exchanged_guides(model.head, tokens, pids)["p1"]))
    assert np.nanmax(moved) < 1e-3


# --- filmed clips -------------------------------------------------------------------------------


def test_filmed_clips_have_an_occluder_and_a_placebo_that_hides_nothing(rendered):
    material = Material.draw(rendered, replace(CONFIG, frames=2))
    sample = material.queries
    assert sample.filmed.hides.any((1, 2, 3)).mean() > 0.5
    for row in range(len(sample)):
        clean, occluded, placebo = (
            sample.show(row, Condition(kind)) for kind in ("none", "filmed", "filmed placebo")
        )
        changed = sample.filmed.changed[row]
        assert np.array_equal(placebo[0][~changed], clean[0][~changed])
        assert np.array_equal(occluded[1], placebo[1])
        assert not clean[1].any()


def test_the_filmed_frames_are_those_around_the_moment(rendered):
    for row in range(len(rendered)):
        numbers = filmed_numbers(rendered, 2, row)
        assert len(numbers) == 2
        assert 0 <= min(numbers) <= max(numbers) < rendered.lengths[row]
    clip = filmed_clip(rendered, 0, frames=2, size=(64, 32))
    assert clip.clean.shape == (2, 64, 32, 3)
    assert clip.labels.shape == (2, 64, 32)


# --- maps against the truth ---------------------------------------------------------------------


def test_random_blocks_know_nothing_and_the_truth_knows_all():
    rng, scores = np.random.default_rng(0), []
    for _ in range(300):
        where = {part: np.zeros((4, 128, 64), bool) for part in "abcd"}
        for top, (part, mask) in zip((0, 16, 40, 90), where.items()):
            mask[:, top : top + 10 * (1 + "abcd".index(part))] = True
        worth = dict(zip("abcd", rng.standard_normal(4)))
        scores.append(_agreement(_blocks((4, 8, 4), rng), where, worth))
        truth = sum(worth[part] * mask for part, mask in where.items())
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(len(scores))
    assert _agreement(truth.astype(float), where, worth) == 1


def test_parts_are_compared_for_every_map(rendered):
    torch.manual_seed(0)
    model = make_mmagga(2, 2, backbone="resnet18", width=16, non_local=0).eval()
    sample = Material.draw(rendered, replace(CONFIG, frames=2)).queries
    material = part_material(sample, 2)
    aims = torch.nn.functional.normalize(torch.randn(len(sample), 64), dim=1)
    rows = {frame["branch"].iloc[0]: frame for frame in part_values(model, material, aims)}
    assert {"weights p1", "contributions", "Grad-CAM", "occlusion referee", "random blocks"} < {
        *rows
    }
    assert all(len(frame) == 2 for frame in rows.values())
