"""A pack gives the pixels that the files give, or refuses."""

import multiprocessing
import pickle

import numpy as np
import pytest
from data.test_frames import BAD, picture, small_set, write_bad

from mmagga.data.files import packed
from mmagga.data.files.index import checked
from mmagga.data.files.packed import PackedFrames, pack, read_header
from mmagga.data.frames import open_frames
from mmagga.data.tracklets import Tracklets, make_tracklets
from mmagga.errors import DataError, ResourceError

SIZES = [(64, 32), (32, 16)]


@pytest.fixture
def small(tmp_path):
    return small_set(tmp_path / "set")


@pytest.fixture
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("packs") / "行人.pack"


def quiet_pack(tracklets: Tracklets, path, size=SIZES[0]):
    pack(tracklets, path, size, progress=False)


def assert_same_pixels(tracklets: Tracklets, path, size):
    files, frames = open_frames(tracklets, size), open_frames(tracklets, size, path)
    assert isinstance(frames.source, PackedFrames)
    for row, length in enumerate(tracklets.lengths):
        positions = [*reversed(range(length)), 0]
        np.testing.assert_array_equal(frames.read(row, positions), files.read(row, positions))


def test_a_pack_of_other_pixels_under_the_same_names_is_refused(small, path):
    checked(small, progress=False)
    quiet_pack(small, path)
    assert_same_pixels(small, path, SIZES[0])
    picture(7).save(small.frames(2)[3])
    with pytest.warns(UserWarning, match="1 of 9 frames .* have changed"):
        checked(small, progress=False)
    with pytest.raises(DataError, match=r"holds other pixels of 1 frames, .*003\.jpg.*Pack again"):
        open_frames(small, SIZES[0], path)
    quiet_pack(small, path)
    assert_same_pixels(small, path, SIZES[0])


@pytest.mark.parametrize("size", SIZES)
def test_packed_or_not_the_pixels_are_identical(small, path, size):
    quiet_pack(small, path, size)
    assert_same_pixels(small, path, size)
    assert read_header(path)["bytes"] == path.stat().st_size


def test_subsets_read_the_pack_of_the_whole(small, path):
    quiet_pack(small, path)
    assert_same_pixels(small.subset([2, 0]), path, SIZES[0])
    part = make_tracklets("small", small.root, [("query", 9, 1, 0, 3)], small.names[[8, 0, 4]])
    assert_same_pixels(part, path, SIZES[0])


def test_only_frames_of_tracklets_are_packed(small, path):
    quiet_pack(small.subset([1, 0]), path)
    assert read_header(path)["frames"] == 4
    assert_same_pixels(small.subset([0]), path, SIZES[0])
    with pytest.raises(DataError, match="holds other frames, wanted: 行人 #2"):
        open_frames(small, SIZES[0], path)


def test_a_pack_serves_its_own_size_alone(small, path):
    quiet_pack(small, path, SIZES[0])
    with pytest.raises(DataError, match=r"holds size \[64, 32\], wanted: \[32, 16\]"):
        open_frames(small, SIZES[1], path)


def test_another_data_set_is_refused(small, path, tmp_path):
    quiet_pack(small, path)
    other = make_tracklets("other", small.root, [("train", 1, 1, 0, 9)], small.names)
    with pytest.raises(DataError, match="holds data set small, wanted: other"):
        open_frames(other, SIZES[0], path)


def test_a_spawned_process_reads_the_same(small, path):
    quiet_pack(small, path)
    frames = open_frames(small, SIZES[0], path)
    expected = frames.read(2, [0, 3])
    assert len(pickle.dumps(frames)) < 4096, "the mapped file must stay behind"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(frames.read, (2, [0, 3])), expected)


# --- what is not a pack -------------------------------------------------------------------------


def test_missing_foreign_and_damaged_packs_are_refused(small, path):
    with pytest.raises(DataError, match="no pack at"):
        open_frames(small, SIZES[0], path)
    quiet_pack(small, path)
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[-3] ^= 1
    damaged = {
        b"": "is not a pack",
        b"\x89PNG\r\n\x1a\n" * 600: "is not a pack",
        b"[]".ljust(5000): "is not a pack that this version reads",
        content.replace(b"mmagga pack 2", b"mmagga pack 1"): "is not a pack that this version",
        content[:-1]: "has .* of .* bytes",
        content[:5000]: "has .* of .* bytes",
        bytes(flipped): "is damaged",
    }
    for content, words in damaged.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match=words):
            open_frames(small, SIZES[0], path)


@pytest.mark.parametrize("name", BAD)
def test_no_bad_frame_gets_into_a_pack(tmp_path, path, name):
    write_bad(tmp_path / name, BAD[name][0])
    picture(0).save(tmp_path / "good.jpg")
    tracklets = make_tracklets("bad", tmp_path, [("train", 1, 1, 0, 2)], ["good.jpg", name])
    with pytest.raises(DataError, match="Copy it again"):
        quiet_pack(tracklets, path)
    assert list(path.parent.iterdir()) == []


def test_a_pack_inside_the_data_set_is_refused(small):
    with pytest.raises(DataError, match="is inside the data set, which is never written to"):
        quiet_pack(small, small.root / "a.pack")


def test_an_interrupted_packing_leaves_the_old_pack(small, path, monkeypatch):
    quiet_pack(small, path)
    before = path.read_bytes()
    monkeypatch.setattr(packed, "join_names", lambda names: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        quiet_pack(small, path, SIZES[1])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_pack_that_does_not_fit_is_refused_at_once(small, path, monkeypatch):
    monkeypatch.setattr(packed, "decode", None)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(ResourceError, match=r"need 5.53e-05 GB, free 1e-06 GB"):
        quiet_pack(small, path)


def test_memory_does_not_grow_with_the_data(tmp_path, path):
    import tracemalloc

    picture(0).save(tmp_path / "a.png")
    tracklets = make_tracklets("big", tmp_path, [("train", 1, 1, 0, 400)], ["a.png"] * 400)
    tracemalloc.start()
    quiet_pack(tracklets, path, (128, 64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.stat().st_size > 400 * 128 * 64 * 3
    assert peak < 2_000_000
