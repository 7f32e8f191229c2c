"""One writer a run folder, and what becomes of the lock when its writer dies."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from mmagga.errors import MmaggaError
from mmagga.runs import lock
from mmagga.runs.lock import NAME, RunLock, holder

HOLD = """
    import sys, time
    from mmagga.runs.lock import RunLock
    with RunLock(sys.argv[1]):
        print("held", flush=True)
        time.sleep(60)
"""

# As HOLD, with a child forked from it, as loaders do, which goes on when its parent is killed.
FORK = """
    import os, sys, time
    from mmagga.runs.lock import RunLock
    with RunLock(sys.argv[1]):
        if os.fork() == 0:
            print(os.getpid(), flush=True)
        time.sleep(60)
"""

# Says when it is ready, starts when it is told to, and holds the lock until its input ends.
CONTEND = """
    import sys
    from mmagga.errors import MmaggaError
    from mmagga.runs.lock import RunLock
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        with RunLock(sys.argv[1]):
            print("won", flush=True)
            sys.stdin.read()
    except MmaggaError as error:
        print(error, flush=True)
        sys.exit(error.code)
"""


def start(code, *arguments, stdin=None):
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def owner(tmp_path):
    process = start(HOLD, tmp_path)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def write_record(folder, **changes):
    record = {"pid": os.getpid(), "host": socket.gethostname(), "since": "2026-01-01 12:00:00"}
    (folder / NAME).write_text(json.dumps(record | changes))


def no_system_locks(monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_writer_is_refused_and_told_who_the_first_is(owner, tmp_path):
    told = rf"in use by process {owner.pid} on {socket.gethostname()} since \d{{4}}-"
    for steal in (False, True):
        with pytest.raises(MmaggaError, match=told) as refused, RunLock(tmp_path, steal=steal):
            pass
        assert refused.value.code == 2
    assert holder(tmp_path)["pid"] == owner.pid


def test_the_same_process_cannot_enter_twice(tmp_path):
    with RunLock(tmp_path):
        with pytest.raises(MmaggaError, match="in use"), RunLock(tmp_path):
            pass
        assert holder(tmp_path)["pid"] == os.getpid()
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        pass


def test_a_killed_writer_holds_nothing(owner, tmp_path):
    owner.kill()
    owner.wait()
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()


def test_a_forked_child_does_not_hold_its_dead_parents_lock(tmp_path):
    process = start(FORK, tmp_path)
    child = int(process.stdout.readline())
    try:
        with pytest.raises(MmaggaError, match=f"process {process.pid}"), RunLock(tmp_path):
            pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # still there
        with RunLock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_forked_child_that_unwinds_leaves_the_lock_alone(tmp_path):
    with RunLock(tmp_path) as held:
        child = os.fork()
        if child == 0:
            held.__exit__(None, None, None)
            os._exit(0)
        os.waitpid(child, 0)
        assert holder(tmp_path)["pid"] == os.getpid()


def test_of_those_that_start_at_the_same_instant_one_wins(tmp_path):
    starters = [start(CONTEND, tmp_path, stdin=subprocess.PIPE) for _ in range(5)]
    assert [process.stdout.readline() for process in starters] == ["ready\n"] * 5
    for process in starters:
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in starters]
    for process in starters:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in starters) == [0, 2, 2, 2, 2]
    assert said.count("won\n") == 1
    assert sum("in use by process" in text for text in said) == 4


def test_an_error_inside_frees_the_folder(tmp_path):
    with pytest.raises(KeyError), RunLock(tmp_path / "new" / "run"):
        raise KeyError
    assert holder(tmp_path / "new" / "run") is None


def test_a_run_that_did_not_begin_leaves_no_folder(tmp_path):
    with RunLock(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()
    with RunLock(tmp_path / "run"):
        (tmp_path / "run" / "config.json").touch()
    assert (tmp_path / "run" / "config.json").exists()


def test_a_lock_on_a_file_that_was_taken_away_is_none(tmp_path, monkeypatch):
    """Between opening and locking, the holder left and removed the folder that it had made."""
    folder = tmp_path / "run"
    claim, times = RunLock._claim, []

    def late(self):
        if not times:
            shutil.rmtree(folder)
        times.append(1)
        claim(self)

    monkeypatch.setattr(RunLock, "_claim", late)
    with RunLock(folder):
        assert holder(folder)["pid"] == os.getpid()
    assert len(times) == 2


def on_a_network(monkeypatch):
    """Make the folder one that other hosts may see, where half a second tells."""
    monkeypatch.setattr(lock, "_on_network", lambda folder: True)
    monkeypatch.setattr(lock, "BEAT", 0.1)
    monkeypatch.setattr(lock, "WATCH", 0.5)


@pytest.mark.parametrize("network", [False, True])
def test_what_a_dead_container_left_is_taken_over(tmp_path, monkeypatch, network):
    """The system granted its lock; on a network file system nobody touches the file either."""
    if network:
        on_a_network(monkeypatch)
    write_record(tmp_path, host="gone")
    started = time.monotonic()
    with RunLock(tmp_path):
        assert holder(tmp_path)["host"] == socket.gethostname()
    assert (time.monotonic() - started > 0.4) == network


def test_another_host_that_gives_signs_of_life_is_believed(tmp_path, monkeypatch):
    """Whose lock does not reach here. `steal` does not wait for it."""
    on_a_network(monkeypatch)
    write_record(tmp_path, host="elsewhere")
    assert holder(tmp_path)["host"] == "elsewhere"
    end = threading.Event()

    def beat():
        while not end.wait(0.1):
            os.utime(tmp_path / NAME)

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(MmaggaError, match=r"on elsewhere since .* heartbeat is seen"):
            RunLock(tmp_path).__enter__()
        assert json.loads((tmp_path / NAME).read_text())["host"] == "elsewhere"
        with RunLock(tmp_path, steal=True):
            assert holder(tmp_path)["host"] == socket.gethostname()
    finally:
        end.set()
        beating.join()


def test_a_holder_on_a_network_file_system_gives_signs_of_life(tmp_path, monkeypatch):
    on_a_network(monkeypatch)
    with RunLock(tmp_path):
        assert lock._gives_signs(tmp_path / NAME)
    assert not lock._gives_signs(tmp_path / NAME)


@pytest.mark.parametrize(("kind", "network"), [("ext4", False), ("nfs4", True)])
def test_the_innermost_mount_tells_a_network_file_system(tmp_path, monkeypatch, kind, network):
    mounts = (
        "21 1 0:1 / / rw - overlay overlay rw\n"
        f"22 21 0:2 / {str(tmp_path).replace(' ', chr(92) + '040')} rw shared:1 - {kind} x rw\n"
        f"23 21 0:3 / {tmp_path}-other rw - nfs4 y rw\n"
    )
    monkeypatch.setattr(lock.Path, "read_text", lambda *arguments: mounts)
    assert lock._on_network(tmp_path / "run") == network


def test_a_recycled_pid_does_not_block(tmp_path):
    write_record(tmp_path)  # killed; its pid, ours, lives again
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        pass


def test_without_system_locks_the_record_decides(tmp_path, monkeypatch):
    no_system_locks(monkeypatch)
    with RunLock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()
        with (
            pytest.raises(MmaggaError, match="cannot be seen"),
            RunLock(tmp_path),
        ):
            pass
    write_record(tmp_path, pid=dead_pid())
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("torn", ["", '{"pid": 12', "\0\0", "12"])
def test_a_torn_record_blocks_no_one(tmp_path, torn):
    (tmp_path / NAME).write_text(torn)
    assert holder(tmp_path) is None
    with RunLock(tmp_path):
        assert holder(tmp_path)["pid"] == os.getpid()


def test_a_reader_that_looks_does_not_turn_a_writer_away(tmp_path, monkeypatch):
    (tmp_path / NAME).touch()
    with open(tmp_path / NAME, "rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: reader.close())
        with RunLock(tmp_path):
            pass


def test_what_killed_commits_left_is_swept_up(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / "config.json.tmp-12", tmp_path / "checkpoints" / "00000010.pt.tmp-12"]
    kept = tmp_path / "checkpoints" / "00000010.pt"
    for path in [*left, kept]:
        path.touch()
    with RunLock(tmp_path):
        assert not any(path.exists() for path in left)
        assert kept.exists()


def test_a_refused_start_sweeps_nothing(owner, tmp_path):
    (tmp_path / "config.json.tmp-12").touch()
    with pytest.raises(MmaggaError), RunLock(tmp_path):
        pass
    assert (tmp_path / "config.json.tmp-12").exists()
