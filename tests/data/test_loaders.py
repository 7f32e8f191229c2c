import dataclasses
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmagga.config import DEMO
from mmagga.data import clips, workers
from mmagga.data.clips import dense_clips, dense_loader, steps_per_epoch, train_loader
from mmagga.data.tracklets import make_tracklets
from mmagga.data.workers import reading
from mmagga.errors import DataError, ResourceError

SIZE = (32, 16)
LENGTHS = (1, 3, 4, 5, 9, 8, 2, 7)
CONFIG = dataclasses.replace(
    DEMO, height=32, width=16, frames=4, ids_per_batch=2, clips_per_id=2, workers=0
)


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory):
    return make(tmp_path_factory.mktemp("frames"))


def make(root):
    """Eight tracklets of four persons; a frame's colour says which tracklet and frame it is."""
    names, rows = [], []
    for i, length in enumerate(LENGTHS):
        rows.append(("train", 1 + i // 2, 1 + i % 2, len(names), length))
        for frame in range(length):
            names.append(f"{i}_{frame}.png")
            Image.new("RGB", SIZE[::-1], (20 * i, 20 * frame, 7)).save(root / names[-1])
    return make_tracklets("toy", root, rows, names)


def all_batches(tracklets, config, **where):
    return list(train_loader(tracklets, config, stop_epoch=3, **where))


def assert_equal(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert (x.epoch, x.step) == (y.epoch, y.step)
        for name in ("clips", "labels", "rows", "frames"):
            assert torch.equal(getattr(x, name), getattr(y, name))


def test_clips_hold_the_frames_they_say(tracklets):
    for batch in all_batches(tracklets, CONFIG):
        assert batch.clips.shape == (4, 4, 3, *SIZE)
        assert batch.clips.dtype == torch.uint8
        assert torch.equal(batch.clips[:, :, 0, 0, 0].long(), 20 * batch.rows[:, None].expand(4, 4))
        assert torch.equal(batch.clips[:, :, 1, 5, 5].long(), 20 * batch.frames)
        assert torch.equal(batch.labels, batch.rows // 2)
        assert (batch.frames < torch.tensor(LENGTHS)[batch.rows][:, None]).all()


def test_clip_starts_depend_on_seed_epoch_and_step(tmp_path):
    """Four persons of one tracklet, of 40 frames each: two batches of four clips an epoch."""
    names = [f"{frame}.png" for frame in range(160)]
    for name in names:
        Image.new("RGB", SIZE[::-1]).save(tmp_path / name)
    rows = [("train", pid, 1, 40 * pid, 40) for pid in range(4)]
    tracklets = make_tracklets("toy", tmp_path, rows, names)
    config = dataclasses.replace(CONFIG, seed=1)
    starts = [batch.frames[:, 0].tolist() for batch in all_batches(tracklets, config)]
    assert starts[:2] == [[17, 30, 20, 27], [1, 2, 7, 27]]
    assert len({tuple(values) for values in starts}) == 6, "3 epochs of 2 steps"
    other = all_batches(tracklets, dataclasses.replace(config, seed=2))
    assert other[0].frames[:, 0].tolist() != starts[0]


@pytest.mark.parametrize("count", [1, 2])
def test_workers_change_nothing(tracklets, count):
    config = dataclasses.replace(CONFIG, workers=count)
    assert_equal(all_batches(tracklets, config), all_batches(tracklets, CONFIG))


def test_training_can_be_entered_at_any_step(tracklets):
    everything = all_batches(tracklets, CONFIG)
    assert steps_per_epoch(tracklets, CONFIG) == 2
    for i in range(len(everything)):
        assert_equal(all_batches(tracklets, CONFIG, start=divmod(i, 2)), everything[i:])


def test_loading_leaves_the_global_generators_alone(tracklets):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002 - the legacy generator is what is looked at
    expected = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    all_batches(tracklets, CONFIG)
    assert (torch.rand(1), np.random.rand()) == expected  # noqa: NPY002


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 2])
def test_dense_batches_hold_every_clip_in_order(tracklets, batch, count):
    batches = list(dense_loader(tracklets, 4, SIZE, batch, workers=count))
    assert {len(owner) for _, owner in batches[:-1]} <= {batch}, "constant size but for the last"
    owners = torch.cat([owner for _, owner in batches]).tolist()
    frames = torch.cat([found for found, _ in batches])
    expected = [(row, clip) for row, n in enumerate(LENGTHS) for clip in dense_clips(n, 4)]
    assert owners == [row for row, _ in expected]
    assert (frames[:, :, 1, 0, 0].long() // 20).tolist() == [clip for _, clip in expected]


def test_data_sets_can_be_sent_to_spawned_workers(tracklets):
    training = pickle.loads(pickle.dumps(clips._TrainingBatches(tracklets, CONFIG, slice(None))))
    first = next(train_loader(tracklets, CONFIG, stop_epoch=1))
    assert_equal([training[0, 0]], [first])
    dense = pickle.loads(pickle.dumps(clips._DenseClips(tracklets, 4, SIZE, 3, packed=None)))
    assert torch.equal(dense[1][0], list(dense_loader(tracklets, 4, SIZE, 3))[1][0])


@pytest.mark.parametrize(("frames", "error"), [(4, ZeroDivisionError), (0, ValueError)])
def test_an_error_ends_the_processes_that_read(tracklets, frames, error):
    """Whether in the loop or in a reader. They ignore SIGTERM, by which Python would end them when
    it exits itself: it would hang.
    """
    config = dataclasses.replace(CONFIG, frames=frames, workers=2)
    batches = train_loader(tracklets, config, stop_epoch=1)
    with pytest.raises(error) as held, reading(batches):
        print(1 // 0 if next(batches) else "")
    assert held.tb, "the traceback keeps the loop's variables, as it does at the end of a program"
    assert not multiprocessing.active_children()


# --- what becomes of reading processes ------------------------------------------------------------


def shared_memory(monkeypatch, free):
    """Make /dev/shm one with so many bytes free."""
    usage = shutil.disk_usage("/")._replace(free=free)
    monkeypatch.setattr(workers.shutil, "disk_usage", lambda path: usage)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # torch, where there is one CPU
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")  # Python 3.12, of fork
@pytest.mark.parametrize(
    ("free", "told"), [(10**9, ""), (200_000, "batches go through pipes"), (10_000, "main process")]
)
def test_batches_are_the_same_however_much_shared_memory_there_is(
    tracklets, monkeypatch, free, told
):
    """A batch has 24,576 bytes, and two workers have up to six of them."""
    expected, dense = all_batches(tracklets, CONFIG), list(dense_loader(tracklets, 4, SIZE, 8))
    monkeypatch.setattr(workers, "reader_count", lambda asked: asked)
    shared_memory(monkeypatch, free)
    config = dataclasses.replace(CONFIG, workers=2)
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        assert_equal(all_batches(tracklets, config), expected)
    with pytest.warns(UserWarning, match=told) if told else nullcontext():
        found = list(dense_loader(tracklets, 4, SIZE, 8, workers=2))
    for (clips_, rows), (clips__, rows_) in zip(found, dense, strict=True):
        assert torch.equal(clips_, clips__)
        assert torch.equal(rows, rows_)


SMALL_SHM = """
    import sys
    from mmagga.data import workers
    from mmagga.data.clips import train_loader
    sys.path.insert(0, {tests!r})
    from data.test_loaders import CONFIG, make
    from dataclasses import replace
    import pathlib, shutil
    workers.TIMEOUT = 30.0
    print(shutil.disk_usage("/dev/shm").free)
    config = replace(CONFIG, workers=2, height=64, width=64)  # 196,608 bytes a batch
    batches = train_loader(make(pathlib.Path(sys.argv[1])), config, stop_epoch=3)
    print(len(list(batches)), "batches")
"""


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="mounting a small /dev/shm needs root and unshare",
)
@pytest.mark.parametrize("size", ["100k", "300k", "16k"])
def test_a_small_shared_memory_is_no_hang(tracklets, size):
    """torch's workers drop what does not fit, and the main process would wait for ever."""
    mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
    code = textwrap.dedent(SMALL_SHM.format(tests=str(Path(__file__).parents[1])))
    words = ["unshare", "-m", "sh", "-c", mount, "sh", sys.executable, "-W", "always", "-c", code]
    done = subprocess.run(
        [*words, str(tracklets.root)], capture_output=True, text=True, timeout=120
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "6 batches" in done.stdout
    assert "/dev/shm has" in done.stderr or "/dev/shm is full" in done.stderr


def _broken(self, key):
    raise DataError("frame 7 cannot be read")


def _unpicklable(self, key):
    error = DataError("frame 7 cannot be read")
    error.handle = lambda: None
    raise error


@pytest.mark.parametrize("count", [0, 1])
def test_an_error_in_a_worker_is_the_line_that_it_is_elsewhere(tracklets, monkeypatch, count):
    monkeypatch.setattr(clips._TrainingBatches, "__getitem__", _broken)
    batches = train_loader(tracklets, dataclasses.replace(CONFIG, workers=count), stop_epoch=1)
    with pytest.raises(DataError) as held, reading(batches):
        next(batches)
    assert str(held.value) == "frame 7 cannot be read"


def test_an_error_that_cannot_be_sent_is_told_nevertheless(tracklets, monkeypatch):
    monkeypatch.setattr(clips._TrainingBatches, "__getitem__", _unpicklable)
    batches = train_loader(tracklets, dataclasses.replace(CONFIG, workers=1), stop_epoch=1)
    with pytest.raises(RuntimeError, match="DataError: frame 7"), reading(batches):
        next(batches)


def _asleep(self, key):
    time.sleep(60)


def test_a_worker_that_hangs_ends_in_an_error(tracklets, monkeypatch):
    monkeypatch.setattr(clips._TrainingBatches, "__getitem__", _asleep)
    monkeypatch.setattr(workers, "TIMEOUT", 1.0)
    batches = train_loader(tracklets, dataclasses.replace(CONFIG, workers=1), stop_epoch=1)
    told = r"died or hangs .*timed out after 1.*workers=0"
    with pytest.raises(ResourceError, match=told), reading(batches):
        next(batches)
    assert not multiprocessing.active_children()
