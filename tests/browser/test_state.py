import numpy as np
import pandas as pd
import pytest
import torch

from mmagga.attention.maps import relative
from mmagga.browser.cache import Cache
from mmagga.browser.gallery import find
from mmagga.browser.state import BrowserState, Reweighting, block_size, unit
from mmagga.browser.view import Brush, Settings, compose
from mmagga.errors import ResourceError
from mmagga.retrieval import Embeddings, rank_list
from mmagga.retrieval.queries import as_test, ordered
from mmagga.runs import opened


def per_query(*values):
    first = [pd.NA if np.isnan(v) else (1 if v == 1 else 3) for v in values]
    return pd.DataFrame({"average_precision": values, "first_hit": pd.array(first, dtype="Int64")})


@pytest.mark.parametrize(
    ("rule", "order"),
    [
        ("worst", [1, 3, 4, 0, 2]),
        ("best", [0, 4, 3, 1, 2]),
        ("median", [3, 4, 1, 0, 2]),
        ("occluded", [4, 0, 1, 2, 3]),
        ("change", [1, 0, 3, 4, 2]),
    ],
)
def test_queries_come_in_the_order_of_the_rule(rule, order):
    table = per_query(1.0, 0.1, np.nan, 0.4, 0.5)
    other = per_query(0.8, 0.9, np.nan, 0.4, 0.5)
    hidden = np.array([0.2, 0.1, 0.0, 0.0, 0.9])
    assert ordered(table, rule, occluded=hidden, other=other).tolist() == order


def test_filters_and_random_order():
    table = per_query(1.0, 0.1, np.nan, 0.4)
    assert ordered(table, show="missed").tolist() == [1, 3]
    assert ordered(table, show="found").tolist() == [0]
    assert ordered(table, show="unmatched").tolist() == [2]
    many = per_query(*np.linspace(0, 1, 30))
    drawn = ordered(many, "random", seed=1)
    assert sorted(drawn) == list(range(30))
    assert (drawn == ordered(many, "random", seed=1)).all()
    assert (drawn != ordered(many, "random", seed=2)).any()
    with pytest.raises(ValueError, match="masks"):
        ordered(table, "occluded")


def test_a_rank_list_is_that_of_the_evaluation(state):
    embeddings = Embeddings(state.vectors, *map(torch.tensor, (state.all.pids, state.all.camids)))
    split = state.first_query
    gallery, query = (
        Embeddings(*(field[rows] for field in embeddings))
        for rows in (slice(split), slice(split, None))
    )
    for number in range(len(query.pids)):
        row = split + number
        found = state.rank(row, state.vectors[row], Reweighting())
        theirs = rank_list(query, gallery, state.protocol, number)
        np.testing.assert_allclose(found.distances, theirs["distance"], atol=1e-5)
        assert set(found.rows) == set(theirs["gallery"])
        score = state.scores.per_query.iloc[number]
        assert found.average_precision == pytest.approx(score["average_precision"], abs=1e-6)
        assert found.first == score["first_hit"]


def test_find_leaves_out_the_querys_own_camera():
    vectors = torch.eye(4)
    pids, camids = np.array([1, 1, 2, 0]), np.array([1, 2, 1, 1])
    query = torch.tensor([0.9, 0.3, 0.2, 0.1])
    found = find(vectors, query, pids=pids, views=camids, who=(1, 1))
    assert found.rows.tolist() == [1, 2, 3]
    assert found.matches.tolist() == [True, False, False]
    assert found.hits.tolist() == [1]
    assert found.first == 1
    assert found.first_row == 1
    nobody = find(vectors, query, pids=pids, views=camids, who=(7, 1))
    assert nobody.first is None
    assert np.isnan(nobody.average_precision)


def test_embeddings_are_kept_in_the_run_folder(run, state, monkeypatch):
    vectors = state.vectors
    assert list((run.folder / "embeddings").glob(f"{state.checkpoint}-*.npy"))
    monkeypatch.setattr(opened, "tracklet_embeddings", None)  # calling it would fail
    torch.testing.assert_close(BrowserState(run).vectors, vectors)


def test_a_damaged_checkpoint_is_passed_over_and_the_name_is_that_of_the_one_used(make_run):
    run = make_run("damaged")
    before = BrowserState(run).checkpoint
    state = run.load_state()
    run.save_state(2, state | {"step": 2})
    newest = run.folder / "checkpoints" / "00000002.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged checkpoint skipped"):
        again = BrowserState(run)
    assert again.checkpoint == before


def test_a_second_look_needs_no_network(state):
    row = state.first_query
    state.seen(row)
    before = state.forwards
    seen = state.seen(row)
    assert state.forwards == before
    torch.testing.assert_close(unit(seen.look), state.vectors[row])


def test_contributions_add_up_under_every_swap(state):
    row = state.first_query
    seen = state.seen(row)
    for swap in (
        Reweighting(),
        Reweighting("uniform"),
        Reweighting("oracle"),
        Reweighting("gga", 0.1),
    ):
        one = state.weighted(seen, swap)
        whole = state.similarity(one, state.vectors[0])
        total = sum(float(part.sum()) for part in whole.parts.values()) + float(whole.constant)
        assert total == pytest.approx(float(unit(one) @ state.vectors[0]), abs=1e-5)


def test_uniform_weights_give_uniform_maps(state):
    seen = state.seen(state.first_query)
    uniform = state.weight_maps(state.weighted(seen, Reweighting("uniform")), 0)
    for name in ("p1", "p2", "p3"):
        np.testing.assert_allclose(uniform[name], 0, atol=1e-5)
    assert max(abs(values).max() for values in state.weight_maps(seen.look, 0).values()) > 1e-4


def test_a_temperature_sharpens_by_its_power(state):
    seen = state.seen(state.first_query)
    plain, sharp = seen.look, state.weighted(seen, Reweighting("gga", 0.5))
    for name, values in relative(plain.attention).items():
        if name != "global":
            power = values.flatten(1) ** 2
            found = relative(sharp.attention)[name].flatten(1)
            torch.testing.assert_close(found, power / power.mean(1, keepdim=True))


def test_the_gallery_can_be_given_other_weights_too(make_run):
    state = BrowserState(make_run("both"))
    plain = state.gallery_vectors(Reweighting(), True)
    assert list(state.load_gallery())[-1] == 1
    before = state.forwards
    uniform = state.gallery_vectors(Reweighting("uniform"), True)
    row = 0
    expected = unit(state.weighted(state.seen(row), Reweighting("uniform")))
    torch.testing.assert_close(uniform[row], expected)
    assert not torch.equal(uniform, plain)
    state.gallery_vectors(Reweighting("oracle"), True)
    assert state.forwards <= before + len(state.seen(row).frames)
    torch.testing.assert_close(state.gallery_vectors(Reweighting("uniform"), False), plain)


def test_a_large_gallery_is_never_held(make_run, monkeypatch):
    state = BrowserState(make_run("large"))
    monkeypatch.setattr("mmagga.browser.state.BUDGET", 1000)
    assert not state.holds_gallery
    with pytest.raises(ResourceError, match="query alone"):
        next(state.load_gallery())
    assert state.forwards == 0


def test_the_brush_changes_what_it_covers_and_is_remembered(state):
    settings = Settings(0, brush=Brush("grey", 0, 0, 1, 1, every=True))
    plain, covered = compose(state, Settings(0)), compose(state, settings)
    assert plain.touch.image.tobytes() != covered.touch.image.tobytes()
    before = state.forwards
    again = compose(state, settings)
    assert state.forwards == before
    assert again.pair.image.tobytes() == covered.pair.image.tobytes()
    assert not np.allclose(covered.found.distances, plain.found.distances, atol=1e-6)


def test_a_box_stays_inside_the_frame():
    for brush in (Brush("box", 1, 1, 0.05, 0.05), Brush("box", 0.9, 0.9, 1, 1), Brush()):
        top, left, height, width = brush.box((128, 64))
        assert 0 <= top <= 128 - height
        assert 0 <= left <= 64 - width


def test_a_cache_forgets_what_was_not_used_for_longest():
    cache, made = Cache(3), []

    def make(key):
        made.append(key)
        return key

    for key in "abcabd":  # a and b are used again, so that c goes
        cache.get(key, lambda key=key: make(key))
    assert made == list("abcd")
    cache.get("a", lambda: make("a"))
    cache.get("c", lambda: make("c"))
    assert made == list("abcdc")
    cache.get("big", lambda: make("big"), lambda value: 99)
    assert list(cache.values) == ["big"]


def test_training_persons_can_be_queries(state):
    split = as_test(state.tracklets)
    people = state.tracklets.split("train")
    query, found = split.split("query"), split.split("gallery")
    assert len(query) + len(found) == len(people)
    pairs = set(zip(people.pids.tolist(), people.camids.tolist()))
    assert sorted(pairs) == sorted(zip(query.pids.tolist(), query.camids.tolist()))


def test_blocks_fill_the_image():
    assert [block_size(*size) for size in ((128, 64), (256, 128), (256, 192))] == [16, 32, 32]
