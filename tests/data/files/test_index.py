"""Bad files are all found at once; identities never move; rot and hostile indexes are refused."""

import errno
import hashlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from data.test_frames import BAD, picture, small_set, write_bad
from PIL import Image

from mmagga.data.files import index, scanning
from mmagga.data.files.decoding import read_bytes
from mmagga.data.files.index import (
    cache_dir,
    check_frames,
    checked,
    load_index,
    quality,
    read_index,
    verify,
)
from mmagga.data.frames import open_frames
from mmagga.data.tracklets import make_tracklets
from mmagga.errors import DataError, ResourceError
from mmagga.system.shortage import shortage


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MMAGGA_CACHE", str(folder))
    return folder


@pytest.fixture
def small(tmp_path):
    return small_set(tmp_path / "set")


def quiet_check(tracklets, **options):
    return check_frames(tracklets, **({"progress": False, "workers": 1} | options))


def with_bad_files(root: Path):
    """Person 1 has every kind of bad file among good ones, person 2 only bad, person 3 good."""
    good = [f"1/good {i}.jpg" for i in range(3)]
    bad = [f"1/{name}" for name in BAD]
    mixed = [good[0], *bad, *good[1:]]
    names = [*mixed, "2/empty.jpg", "2/missing.jpg", "3/a.jpg", "3/b.jpg"]
    rows = [
        ("train", 1, 1, 0, len(mixed)),
        ("query", 2, 2, len(mixed), 2),
        ("gallery", 3, 3, len(mixed) + 2, 2),
    ]
    for person in "123":
        (root / person).mkdir(parents=True)
    for i, name in enumerate([*good, *names[-2:]]):
        picture(i).save(root / name)
    for name, (content, *_) in BAD.items():
        write_bad(root / "1" / name, content)
    (root / "2/empty.jpg").touch()
    return make_tracklets("bad", root, rows, names)


def state(folder: Path) -> dict[str, tuple]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


# --- check --------------------------------------------------------------------------------------


def test_the_index_records_every_frame(small):
    report = quiet_check(small)
    names, rows = read_index(report.path)
    assert report.tracklets is small
    assert report.frames == len(names) == 9
    assert names.tolist() == small.names.tolist()
    assert set(zip(rows["width"], rows["height"], rows["mode"], strict=True)) == {(32, 64, b"RGB")}
    content = small.frames(0)[0].read_bytes()
    assert rows["bytes"][0] == len(content)
    assert bytes(rows["hash"][0]) == hashlib.blake2b(content, digest_size=16).digest()
    assert "9 frames checked, 0 bad, 0 tracklets left empty" in str(report)
    assert "9 32×64" in str(report)


def test_all_bad_files_are_reported_at_once(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    with pytest.raises(DataError) as raised:
        quiet_check(tracklets)
    message = str(raised.value)
    total = len(BAD) + 2
    assert f"{total} of {total + 5} frames of bad in {tmp_path / 'set'} are bad" in message
    counts = {
        kind: int(n) for n, kind in re.findall(r"(\d+) ([a-z ]+)[,)]", message.split(": ")[0])
    }
    kinds = [kind for _, kind, _ in BAD.values()] + ["empty", "missing"]
    assert counts == {kind: kinds.count(kind) for kind in kinds}
    assert "1/truncated.jpg (damaged), 1/truncated.png (damaged)" in message
    assert "--on-bad drop" in message
    assert "\n" not in message
    listing = (cache_dir(tracklets) / "bad.csv").read_text("utf-8").splitlines()
    assert len(listing) == total + 1
    assert "1/page.jpg,not an image" in listing
    with pytest.raises(DataError, match="no index at"):
        load_index(tracklets)


def test_drop_leaves_frames_out_and_swaps_nothing(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    report = quiet_check(tracklets, on_bad="drop")
    kept = report.tracklets
    columns = ["split", "pid", "camid", "length"]
    assert kept.table[columns].to_numpy().tolist() == [["train", 1, 1, 3], ["gallery", 3, 3, 2]]
    assert [p.name for p in kept.frames(0)] == ["good 0.jpg", "good 1.jpg", "good 2.jpg"]
    assert [p.name for p in kept.frames(1)] == ["a.jpg", "b.jpg"]
    assert report.dropped == (1,)
    assert len(report.bad) == len(BAD) + 2
    assert f"{len(BAD) + 2} bad frames left out (" in kept.notes[-1]
    assert "tracklets left empty and dropped: 1" in kept.notes[-1]
    assert open_frames(kept, (64, 32)).read(0, [0, 1, 2]).shape == (3, 64, 32, 3)
    loaded = load_index(tracklets)
    assert loaded.table.equals(kept.table)
    assert loaded.names.tolist() == kept.names.tolist()
    assert loaded.notes == kept.notes


@pytest.mark.parametrize("on_bad", ["error", "drop"])
def test_a_frame_that_the_disk_cannot_read_is_dropped_only_if_asked(small, monkeypatch, on_bad):
    lost = str(small.root / small.names[1])

    def read(path):
        if str(path) != lost:
            return read_bytes(path)
        error = OSError(errno.EIO, "Input/output error", lost)
        raise shortage(error) from error

    monkeypatch.setattr(scanning, "read_bytes", read)
    if on_bad == "error":
        with pytest.raises(ResourceError, match="the disk or network share"):
            check_frames(small, workers=1, progress=False)
        return
    report = check_frames(small, workers=1, progress=False, on_bad="drop")
    assert report.bad["kind"].tolist() == ["unreadable"]
    assert report.tracklets.lengths.sum() == small.lengths.sum() - 1


def test_nothing_left_is_an_error(tmp_path):
    tracklets = make_tracklets("gone", tmp_path / "unmounted", [("train", 1, 1, 0, 2)], ["a", "b"])
    with pytest.raises(DataError, match=r"2 of 2 frames .* \(2 missing\)"):
        quiet_check(tracklets, on_bad="drop")


def test_worker_processes_find_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", 8)
    tracklets = with_bad_files(tmp_path / "set")
    alone = read_index(quiet_check(tracklets, on_bad="drop").path)
    shared = read_index(quiet_check(tracklets, on_bad="drop", workers=2).path)
    for left, right in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(left, right)


def test_quality_counts_what_was_found(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    report = quiet_check(tracklets, on_bad="drop")
    table = quality(tracklets)
    assert table["frames"].sum() == report.frames
    bad = table[table["found"] != "good"]
    assert bad["frames"].sum() == len(report.bad) > 0
    assert set(bad["found"]) == set(report.bad["kind"])


def test_frames_are_checked_once_and_then_known(tmp_path, monkeypatch):
    tracklets = with_bad_files(tmp_path / "set")
    with pytest.raises(DataError, match="are bad"):
        checked(tracklets, progress=False)
    left = quiet_check(tracklets, on_bad="drop").tracklets
    monkeypatch.setattr(index, "check_frames", None)  # nothing may be decoded again
    assert checked(tracklets, progress=False).table.equals(left.table)


def _die(names):
    os.kill(os.getpid(), 9)


def test_a_killed_worker_is_an_error_and_not_a_wait():
    with pytest.raises(ResourceError, match="one of 2 processes was killed"):
        list(scanning._spread(_die, [np.array(["a"])] * 2, 2))


def test_the_data_set_is_never_written_to(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    before = state(tmp_path / "set")
    quiet_check(tracklets, on_bad="drop")
    verify(tracklets, progress=False, workers=1)
    assert state(tmp_path / "set") == before


def test_a_cache_inside_the_data_set_is_refused(small, monkeypatch):
    monkeypatch.setenv("MMAGGA_CACHE", str(small.root / "cache"))
    with pytest.raises(DataError, match="is inside the data set"):
        check_frames(small)


def test_cache_folder_depends_on_root_and_names(small, tmp_path, cache):
    other_root = make_tracklets("small", tmp_path, [("train", 1, 1, 0, 9)], small.names)
    other_names = make_tracklets("small", small.root, [("train", 1, 1, 0, 8)], small.names[:8])
    odd = make_tracklets("../odd: name", small.root, [("train", 1, 1, 0, 9)], small.names)
    folders = {cache_dir(t) for t in (small, other_root, other_names, odd)}
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {cache}
    assert cache_dir(small.subset([1])) == cache_dir(small)


@pytest.mark.parametrize(
    "name", ["é.png", "e\u0301.png", "a b.png", "a..b.png", "CON", "x\\y", "#?"]
)
def test_odd_names_are_read(tmp_path, name):
    picture(0).save(tmp_path / name, "PNG")
    tracklets = make_tracklets("odd", tmp_path, [("train", 1, 1, 0, 1)], [name])
    names, _ = read_index(quiet_check(tracklets).path)
    assert names.tolist() == [name]


def test_a_check_that_fails_takes_the_old_index_away(small):
    quiet_check(small)
    small.frames(0)[1].write_bytes(b"")
    with pytest.raises(DataError, match=r"\(1 empty\)"):
        quiet_check(small)
    with pytest.raises(DataError, match="no index at"):
        load_index(small)


# --- load_index ---------------------------------------------------------------------------------


def test_a_split_reads_the_index_of_the_whole(small):
    quiet_check(small)
    part = small.subset([2, 0])
    assert load_index(part).names is part.names


def test_frames_that_the_index_does_not_know_are_refused(small):
    quiet_check(small.subset([0, 1]))
    assert len(load_index(small.subset([0]))) == 1
    with pytest.raises(DataError, match="does not know 5 of 9 frames, the first is 行人 #2"):
        load_index(small)


ESCAPES = [
    "../../etc/passwd",
    "/etc/passwd",
    "a/../../b.jpg",
    "C:/a.jpg",
    "a\\..\\..\\b",
    "..",
    "a\0b",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_paths_that_leave_the_root_are_refused(tmp_path, name):
    tracklets = make_tracklets("hostile", tmp_path / "set", [("train", 1, 1, 0, 1)], [name])
    with pytest.raises(DataError, match="leaves the data set's folder"):
        quiet_check(tracklets)


def test_a_hostile_index_is_refused(small):
    report = quiet_check(small)
    names, rows = read_index(report.path)
    names[3] = "../a.jpg"
    with open(report.path, "wb") as file:
        index._save(file, names, rows)
    with pytest.raises(DataError, match=r"'\.\./a\.jpg' leaves the data set's folder"):
        load_index(small)


def test_a_damaged_index_is_refused_never_misread(small):
    report = quiet_check(small)
    content = report.path.read_bytes()
    names, rows = read_index(report.path)
    random = np.random.default_rng(0)
    for cut in (0, 1, 100, len(content) // 2, len(content) - 1):
        report.path.write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"index .* is damaged"):
            load_index(small)
    for place in random.integers(0, len(content), 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.integers(8)
        report.path.write_bytes(flipped)
        try:
            again = read_index(report.path)
        except DataError:
            continue
        np.testing.assert_array_equal(again[0], names)
        np.testing.assert_array_equal(again[1], rows)


def test_an_index_with_pickles_is_refused(small):
    report = quiet_check(small)
    np.savez(report.path, names=np.array([{}], object), rows=np.zeros(1), version=1)
    with pytest.raises(DataError, match="is damaged"):
        load_index(small)


# --- frames that changed -------------------------------------------------------------------------


def quiet(tracklets, **options):
    return checked(tracklets, progress=False, **options)


def exchange(one: Path, other: Path):
    """Exchange two files by renaming them: sizes and times stay with the contents."""
    spare = one.with_name("spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)


def same_size_and_time(paths):
    size = max(path.stat().st_size for path in paths)
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(size, b"\0"))  # decoders pass over the rest
        os.utime(path, ns=(10**18, 10**18))


def test_two_frames_exchanged_under_an_index_are_named(small):
    """Even if they have the same size and the same time: the whole of what names can hide."""
    one, other = small.frames(0)[0], small.frames(2)[1]
    same_size_and_time([one, other])
    quiet(small)
    before = index.fingerprints(small)
    exchange(one, other)
    believed = quiet(small, compare=False)
    assert index.fingerprints(believed) == before
    with pytest.warns(
        UserWarning, match=r"2 of 9 frames of small .* have changed .*000.jpg"
    ) as told:
        found = quiet(small)
    assert found.notes[-1] == str(told[0].message)
    after = index.fingerprints(found)
    assert after["data"] != before["data"]
    assert after["split"] == before["split"]
    assert quiet(small).notes == small.notes, "once"
    assert verify(small, progress=False, workers=1) == 9


def test_frames_that_were_only_touched_are_hashed_once(small, monkeypatch):
    quiet(small)
    before = index.fingerprints(small)
    os.utime(small.frames(0)[0])
    decoded = []
    real = index.scan
    monkeypatch.setattr(
        index, "scan", lambda *a, **k: decoded.append((len(a[1]), k["decode"])) or real(*a, **k)
    )
    assert quiet(small).notes == small.notes
    assert quiet(small).notes == small.notes
    assert decoded == [(1, False)]
    assert index.fingerprints(small) == before


def test_a_frame_that_was_spoilt_is_refused_each_time(small):
    quiet(small)
    path = small.frames(2)[3]
    content = path.read_bytes()
    path.write_bytes(content[:100])
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 of 9 .* \(1 damaged\): 行人 #2 \[a\]/003.jpg"):
            quiet(small)
    path.write_bytes(content)
    assert quiet(small).notes == small.notes


def test_what_was_left_out_belongs_to_content_too_and_comes_back_when_mended(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    quiet_check(tracklets, on_bad="drop")
    kept = quiet(tracklets)
    before = index.fingerprints(kept)
    assert before["data"] is not None
    picture(9).save(tmp_path / "set" / "2" / "missing.jpg")
    with pytest.warns(UserWarning, match="1 of .* frames .* have changed .*2/missing.jpg"):
        mended = quiet(tracklets)
    assert len(mended) == len(kept) + 1
    assert index.fingerprints(mended)["data"] != before["data"]


def test_an_index_of_an_older_version_or_of_some_frames_is_made_again(small):
    quiet(small.subset([0, 1]))
    assert len(quiet(small)) == 3
    path = cache_dir(small) / "index.npz"
    names, rows = read_index(path)
    np.savez(path, version=1, rows=rows, names=np.frombuffer(index.join_names(names), np.uint8))
    with pytest.raises(DataError, match="of another version"):
        load_index(small)
    quiet(small)
    assert len(load_index(small)) == 3


# --- the cache folder ----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["file", "read-only", "no home"])
def test_a_cache_that_cannot_be_used_is_replaced_by_a_temporary_one(
    small, tmp_path, monkeypatch, fault
):
    spare = tmp_path / "temporary"
    spare.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spare))
    place = tmp_path / "place"
    monkeypatch.setenv("MMAGGA_CACHE", str(place))
    if fault == "file":
        place.touch()
    elif fault == "read-only":
        place.mkdir()
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: path != place and access(path, mode))
    else:
        monkeypatch.delenv("MMAGGA_CACHE")
        monkeypatch.setattr(Path, "home", no_home)
    with pytest.warns(UserWarning, match=r"cache folder cannot be used .*Set MMAGGA_CACHE"):
        quiet(small)
    assert list(spare.glob("mmagga-cache-*/small-*/index.npz"))


def no_home():
    raise RuntimeError("Could not determine home directory.")


def test_an_index_in_a_cache_that_is_read_only_is_used(small, cache, monkeypatch):
    quiet(small)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    os.utime(small.frames(0)[0])
    monkeypatch.setattr(index, "commit", _refused)
    assert quiet(small).notes == small.notes


def _refused(*arguments):
    raise PermissionError(13, "Permission denied")


# --- scripts of one's own ------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from mmagga.data.files import scanning
scanning.CHUNK = 4
from mmagga.data.files.index import check_frames
from mmagga.data.tracklets import make_tracklets
root = Path({root!r})
names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
tracklets = make_tracklets("own", root, [("train", 1, 1, 0, len(names))], names)
found = check_frames(tracklets, workers=2)
print(found.frames, "frames")
"""


@pytest.mark.parametrize("piped", [False, True])
def test_a_script_needs_no_main_guard(small, tmp_path, piped):
    """Processes that check frames would run an unguarded script again, and die of it."""
    text = SCRIPT.format(root=str(small.root))
    script = tmp_path / "own.py"
    script.write_text(text, "utf-8")
    words = [sys.executable, "-" if piped else str(script)]
    given = text if piped else None
    done = subprocess.run(words, input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("9 frames") == 1


# --- verify -------------------------------------------------------------------------------------


def test_verify_finds_a_flipped_byte_that_still_decodes(small):
    quiet_check(small)
    assert verify(small, progress=False, workers=1) == 9
    path = small.frames(2)[3]
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    Image.open(path).load()
    with pytest.raises(
        DataError, match=r"1 of 9 .* \(1 changed\): 行人 #2 \[a\]/003.jpg \(changed\)"
    ):
        verify(small, progress=False, workers=1)
    path.unlink()
    with pytest.raises(DataError, match=r"\(1 missing\)"):
        verify(small, progress=False, workers=1)


def test_verify_compares_only_what_was_good(tmp_path):
    tracklets = with_bad_files(tmp_path / "set")
    quiet_check(tracklets, on_bad="drop")
    assert verify(tracklets, progress=False, workers=1) == 5
