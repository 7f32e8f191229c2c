"""Text readers answer any input with a result or with one of the kit's own errors.

`MMAGGA_FUZZ=10000 python -m pytest tests/test_fuzzing.py` tries as many inputs of each reader.
"""

import contextlib
import json
import os
import warnings

import pytest
import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmagga.config import DEMO, to_dict
from mmagga.data import load_tracklets
from mmagga.data.readers.own_video import crop_video
from mmagga.data.readers.splits import choose, origin, read_splits
from mmagga.data.readers.tracks import read_tracks
from mmagga.errors import MmaggaError
from mmagga.runs import Run
from mmagga.runs.status import overview, status

pytestmark = pytest.mark.slow

TRIES = int(os.environ.get("MMAGGA_FUZZ", "100"))
fuzzed = settings(
    max_examples=TRIES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

TRACKS = "1,3,10.5,20,30,60,0.9,1,-1,-1\n2,3,11,20,30,60,0.8,1\n2,4,90,20,31,62,1,1,-1,-1\n"
HEADED = "frame;id;x1;y1;x2;y2;conf;class\r\n1;3;10,5;20;40;80;0,9;person\r\n2;3;1;20;40;81;1;car\n"
IDENTITIES = "camera,track,pid\n1,3,7\n1,4,\n2,1,7\n"
NAMES = "".join(f"{name}\n" for name in trees.mars_names(trees.MARS_TRAIN)[0])
SPLITS = json.dumps([{"train": ["a", "b"], "test": ["c", "d"]}] * 2)
CONFIG = json.dumps(to_dict(DEMO))
STEP = {"step": 1, "epoch": 1, "stage": 1, "lr": 0.001, "loss": 5.25}
STEPS = "".join(json.dumps(STEP | {"step": step}) + "\n" for step in (1, 2, 3))
EPOCH = {"step": 3, "epoch": 1, "stage": 1, "loss": 5.0, "health": {"dead": {"p1": 0.5}}}
EPOCHS = json.dumps(EPOCH) + "\n"
TIMING = json.dumps({"step": 3, "epoch": 1, "seconds": 2.5, "frames": 96}) + "\n"

ODD = st.sampled_from([
    *("", " ", "\n", "\r", "\t", ",", ";", '"', "'", "#", "\0", "\ufeff", "\u2028", "é", "🙂", "-"),
    *("0", "-1", "1.5", "1,5", "1e9", "1e400", "-inf", "nan", "NaN", "Infinity", "9" * 30),
    *("9" * 5000, "true", "null", "[]", "{}", "[", "}", ":", "frame", "id", "pid", "../"),
    "0001C1T0001F001.jpg",
])  # fmt: skip


@st.composite
def spoiled(draw, *texts):
    """A valid text after a few cuts, copies and insertions, as bytes in some encoding."""
    text = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = draw(st.integers(start, min(len(text), start + 12)))
        new = draw(st.one_of(ODD, st.text(max_size=3), st.just(text[start:stop] * 2)))
        text = text[:start] + new + text[stop:]
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]))
    return text.encode(encoding, errors="replace")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD | st.text(max_size=3), inner),
    max_leaves=8,
)


def content(*texts):
    """Contents of a file that is like one of `texts`, or JSON, or anything."""
    return st.one_of(
        spoiled(*texts), spoiled(*texts), JSON.map(lambda v: json.dumps(v).encode()), st.binary()
    )


@st.composite
def other_values(draw, text):
    """Lines of JSON in which some fields have other values, or lack, or are new."""
    lines = []
    for line in text.splitlines():
        record = json.loads(line)
        for _ in range(draw(st.integers(0, 3))):
            record[draw(st.sampled_from([*record, "new"]))] = draw(JSON)
        if draw(st.integers(0, 3)) == 0:
            record.pop(draw(st.sampled_from(list(record))))
        lines.append(json.dumps(record))
    return "\n".join([*lines, ""]).encode()


@contextlib.contextmanager
def only_our_errors():
    with warnings.catch_warnings(), contextlib.suppress(MmaggaError):
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed")


@fuzzed
@given(content(TRACKS, HEADED), st.sampled_from([(), ("person",), ("all",), ("1",)]))
def test_tracks(folder, data, classes):
    (folder / "tracks.txt").write_bytes(data)
    with only_our_errors():
        read_tracks(folder / "tracks.txt", classes)


@fuzzed
@given(content(IDENTITIES))
def test_identities(folder, data):
    (folder / "identities.csv").write_bytes(data)
    (folder / "video").mkdir(exist_ok=True)
    with pytest.raises(MmaggaError):  # at the latest there is no picture in the video
        crop_video(
            [(folder / "video", folder / "absent.txt")],
            folder / "crops",
            identities=folder / "identities.csv",
        )


@fuzzed
@given(content(SPLITS), st.integers(-1, 3))
def test_splits(folder, data, number):
    (folder / "splits.json").write_bytes(data)
    with only_our_errors():
        splits = read_splits(folder / "splits.json")
        origin("ilids_vid", splits, "splits.json")
        choose("ilids_vid", splits, number, ["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def mars(tmp_path_factory):
    return trees.mars(tmp_path_factory.mktemp("mars") / "mars")


@fuzzed
@given(content(NAMES))
def test_name_lists(mars, data):
    (mars / "info/train_name.txt").write_bytes(data)
    with only_our_errors():
        load_tracklets("mars", mars)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("runs") / "run")
    run.folder.mkdir()
    for name, text in (("config.json", CONFIG), ("steps.jsonl", STEPS), ("epochs.jsonl", EPOCHS)):
        (run.folder / name).write_text(text, encoding="utf-8")
    (run.folder / "timing.jsonl").write_text(TIMING, encoding="utf-8")
    status(run)
    return run


def look_at(run, name, data):
    """Read a run with one file changed, by all that only reads."""
    path = run.folder / name
    before = path.read_bytes()
    path.write_bytes(data)
    try:
        with only_our_errors():
            run.load_config()
        for table in ("steps", "epochs", "timing"):
            with only_our_errors():
                run.read(table)
        with only_our_errors():
            status(run)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert overview(run.folder.parent), "one line, whatever the run holds"
    finally:
        path.write_bytes(before)


@fuzzed
@given(content(CONFIG) | other_values(CONFIG))
def test_configurations(run, data):
    look_at(run, "config.json", data)


@fuzzed
@given(
    st.one_of(
        st.tuples(st.just("steps.jsonl"), content(STEPS) | other_values(STEPS)),
        st.tuples(st.just("epochs.jsonl"), content(EPOCHS) | other_values(EPOCHS)),
        st.tuples(st.just("timing.jsonl"), content(TIMING) | other_values(TIMING)),
    )
)
def test_logs(run, change):
    look_at(run, *change)
