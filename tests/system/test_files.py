"""The commit protocol: the old file or the new one, never a mixture, never a left-over."""

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mmagga.errors import DataError, ResourceError, SettingError
from mmagga.system import files
from mmagga.system.files import kit_folders, read_csv


def run_child(code: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_commit_replaces_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "new folder" / "行人 #1 [a].bin"
    for content in (b"old", b"new"):
        files.commit(target, lambda file, content=content: file.write(content))
        assert target.read_bytes() == content
    assert names(target.parent) == [target.name]


def test_commit_syncs_file_before_rename_and_folder_after(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace

    def log_sync(descriptor):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def log_replace(*paths):
        events.append("replace")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", log_sync)
    monkeypatch.setattr(os, "replace", log_replace)
    files.write_text(tmp_path / "a", "x")
    assert events == ["file", "replace", "folder"]


@pytest.mark.parametrize("error", [ValueError, RuntimeError, KeyboardInterrupt, PermissionError])
def test_any_error_leaves_the_old_file_and_no_other(tmp_path, error):
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        raise error("stop")

    with pytest.raises(error, match="stop"):
        files.commit(target, write)
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_too_little_room_is_refused_before_the_first_byte(tmp_path):
    written = []
    with pytest.raises(ResourceError, match=r"need 1e\+09 GB, free .* GB at .*/a\. Make room"):
        files.commit(tmp_path / "a", written.append, need=10**18)
    assert not written
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", ["ENOSPC", "EFBIG", "EDQUOT"])
def test_a_full_disk_is_a_resource_error(tmp_path, code):
    def write(file):
        raise OSError(getattr(errno, code), "full")

    with pytest.raises(ResourceError, match="disk or quota full") as raised:
        files.commit(tmp_path / "a", write)
    assert raised.value.code == 5


FULL_DISK = """
import resource, signal, sys
import numpy, torch
from mmagga.system import files
from mmagga.system.files import kit_folders, read_csv
from mmagga.errors import ResourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
writers = {
    "bytes": lambda file: file.write(bytes(1 << 20)),
    "torch": lambda file: torch.save(torch.zeros(1 << 18), file),
    "numpy": lambda file: numpy.savez(file, a=numpy.zeros(1 << 17)),
}
for name, write in writers.items():
    try:
        files.commit(sys.argv[1], write)
    except ResourceError as error:
        print(name, "refused:", error)
"""


def test_a_disk_that_fills_up_in_the_middle(tmp_path):
    """RLIMIT_FSIZE plays the disk; torch.save hides the cause in a RuntimeError without errno."""
    target = tmp_path / "old"
    target.write_bytes(b"old")
    child = run_child(FULL_DISK, target)
    assert child.returncode == 0, child.stderr
    assert child.stdout.count("refused: disk or quota full") == 3, child.stdout + child.stderr
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["old"]


KILLED = """
import os, signal, sys
from mmagga.system import files
from mmagga.system.files import kit_folders, read_csv
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
files.write_text(sys.argv[1], "new")
"""


def test_a_kill_before_the_rename_leaves_the_old_file(tmp_path):
    target = tmp_path / "a"
    target.write_bytes(b"old")
    assert run_child(KILLED, target).returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    files.sweep(tmp_path)
    assert names(tmp_path) == ["a"]


def test_sweep_leaves_other_files_alone(tmp_path):
    for name in ("a.tmp", "tmp-1", "a.tmp-b", "a"):
        (tmp_path / name).touch()
    files.sweep(tmp_path)
    assert len(names(tmp_path)) == 4


def test_a_reader_sees_only_whole_files(tmp_path):
    target = tmp_path / "a"
    files.write_text(target, "0" * 100_000)
    stop = threading.Event()
    seen = set()

    def watch():
        while not stop.is_set():
            text = target.read_text()
            seen.add((len(text), len(set(text))))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for digit in range(40):
        files.write_text(target, str(digit % 10) * 100_000)
    stop.set()
    watcher.join()
    assert seen == {(100_000, 1)}


def test_json_text_and_hash(tmp_path):
    files.write_json(tmp_path / "a.json", {"person": "行人", "mAP": 0.5})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"person": "行人", "mAP": 0.5}
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", {"mAP": float("nan")})
    files.write_text(tmp_path / "b", "abc")
    assert files.sha256(tmp_path / "b").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_fsync_is_warned_of_once(tmp_path, monkeypatch, number):
    """CIFS, sshfs and others refuse it on folders; an error of the disk is none of these."""

    def fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(files, "_warned", False)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            files.write_text(tmp_path / "a", "x")
        return
    with pytest.warns(UserWarning, match=rf"{tmp_path} refuses fsync .* power cut"):
        files.write_text(tmp_path / "a", "x")
    files.write_text(tmp_path / "b", "y")
    assert names(tmp_path) == ["a", "b"]


def test_no_two_processes_choose_one_temporary_name(tmp_path, monkeypatch):
    """Not even with the same number on two hosts, or in two containers of one name."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    monkeypatch.setattr(files.socket, "gethostname", lambda: "a/b: ü")
    one, other = (files.temporary_name(tmp_path / "x.pt") for _ in range(2))
    assert one != other
    assert one.name.startswith("x.pt.tmp-ab-7-")
    one.touch()
    files.sweep(tmp_path)
    assert names(tmp_path) == []


def test_where_a_result_cannot_be_written_is_said_before(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place, told in (
        (tmp_path, "is a folder; name a file in it"),
        (tmp_path / "file" / "a.csv", "file is not a folder"),
        (tmp_path / "file" / "b" / "a.csv", "file is not a folder"),
        (tmp_path / ("x" * 255), "File name too long"),
    ):
        with pytest.raises(SettingError, match=told):
            files.require_writable(place)
    files.require_writable(tmp_path / "new" / "a.csv")
    files.require_writable(tmp_path / "a.csv")
    assert names(tmp_path) == ["file"]
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SettingError, match=f"{tmp_path} is read-only"):
        files.require_writable(tmp_path / "a.csv")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_is_said_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "probe").symlink_to("/dev/full")
    monkeypatch.setattr(files, "temporary_name", lambda path: tmp_path / "probe")
    with pytest.raises(ResourceError, match="disk or quota full"):
        files.require_writable(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is damaged"),
        (b'a,b\n"1,2\n3', "is damaged"),
        (b"a,b\n\xff\xfe,1\n", "is damaged"),
        (bytes(64), "has no column 'b'"),
        (b"a,c\n1,2\n", "has no column 'b'"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, content, told):
    path = tmp_path / "queries.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"queries.csv {told}.*remove it and make it again"):
        read_csv(path, ["b"])


def test_folders_of_a_notebook_are_the_kit_s_wherever_it_runs(tmp_path, monkeypatch):
    kit = Path(files.__file__).parents[2]
    monkeypatch.chdir(tmp_path)
    assert kit_folders("../runs", tmp_path) == (kit / "runs", tmp_path)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site/mmagga/system/files.py"))
    with pytest.raises(SettingError, match=r"\.\./runs is relative to the kit's notebooks folder"):
        kit_folders("../runs")
    assert kit_folders(tmp_path) == (tmp_path,)
