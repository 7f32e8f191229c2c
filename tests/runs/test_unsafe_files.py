"""No file that is loaded runs code: hostile checkpoints, and a reading of our own sources."""

import ast
import hashlib
import io
import json
import os
import pickle
import tarfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

import mmagga
from mmagga.__main__ import main
from mmagga.errors import CheckpointError
from mmagga.model import load_official, make_baseline
from mmagga.model.weights import start_from
from mmagga.runs import checkpoint


class Command:
    """Pickles into a shell command that makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch '{self.target}'",)


class HostileDict(OrderedDict):
    """A dictionary as state dicts are, but with a call of its own."""

    def __reduce__(self):
        return os.system, (f"touch '{self['target']}'",)


class Reentry:
    """Pickles into the bytes of a storage, which torch would load without its guard."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        buffer = io.BytesIO()
        torch.save(Command(self.target), buffer, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (buffer.getvalue(),)


def whole(target):
    return Command(target)


def nested(target):
    return {"state_dict": {"conv1.weight": [torch.zeros(1), {"deep": Command(target)}]}}


def ordered(target):
    return {"state_dict": HostileDict(target=str(target))}


def storage(target):
    return {"state_dict": {"conv1.weight": Reentry(target)}}


def as_tar(payload, path):
    """The format of torch 0.1: a tar archive of pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(payload, protocol=2)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


WRITERS = {
    "zip": torch.save,
    "legacy": lambda payload, path: torch.save(payload, path, _use_new_zipfile_serialization=False),
    "tar": as_tar,
    "pickle": lambda payload, path: path.write_bytes(pickle.dumps(payload, protocol=2)),
}


def as_checkpoint(path):
    """Put the file where a run has its checkpoint, with a record whose hash is right."""
    folder = path.parent / "checkpoints"
    folder.mkdir()
    data = path.read_bytes()
    (folder / "00000001.pt").write_bytes(data)
    record = {"sha256": hashlib.sha256(data).hexdigest()}
    (folder / "00000001.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("payload", [whole, nested, ordered, storage])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path, capsys, payload, form):
    path, target, out = tmp_path / "hostile.pth.tar", tmp_path / "touched", tmp_path / "out"
    WRITERS[form](payload(target), path)
    folder = as_checkpoint(path)
    for use in (
        lambda: load_official(path),
        lambda: checkpoint.load_latest(folder),
        lambda: start_from(make_baseline(2, backbone="resnet18"), path),
    ):
        with pytest.raises(CheckpointError):
            use()
    assert main(["import-official", str(path), str(out)]) == CheckpointError.code
    assert "would mean running its code" in capsys.readouterr().err
    assert not out.exists()
    assert not target.exists()


def test_the_payloads_do_their_work_where_nothing_guards(tmp_path):
    """The negative control: a payload that is broken would pass every test above."""
    for i, payload in enumerate((whole, nested, ordered, storage)):
        target = tmp_path / str(i)
        pickle.loads(pickle.dumps(payload(target)))
        assert target.exists(), payload


# --- our own sources ----------------------------------------------------------------------------

UNSAFE = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
ARCHIVES = ("tarfile", "zipfile", "unpack_archive", "extractall", "extract_archive")
RUNS = ("eval", "exec", "os.system", "pd.read_pickle", "torch.hub.load")


def unsafe(source):
    """Find what could run code from a file, or unpack one past its folder: (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name in UNSAFE for alias in node.names):
            found.append((node.lineno, "import"))
        if isinstance(node, ast.ImportFrom) and node.module in UNSAFE:
            names = {alias.name for alias in node.names} - {"UnpicklingError"}
            found += [(node.lineno, name) for name in names]
        for field in ("name", "attr", "module"):  # of an import, of what follows a dot
            if (name := getattr(node, field, None)) in ARCHIVES:
                found.append((node.lineno, name))
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if name.endswith("torch.load") and options.get("weights_only") != "True":
                found.append((node.lineno, name))
            if name in ("np.load", "numpy.load") and options.get("allow_pickle") != "False":
                found.append((node.lineno, name))
            if name in RUNS or options.get("shell", "False") != "False":
                found.append((node.lineno, name))
    return found


def test_no_source_loads_a_file_that_could_run_code():
    """Nor unpacks an archive: whoever fetches a data set unpacks it, with a tool of their own."""
    sources = sorted(Path(mmagga.__file__).parent.rglob("*.py"))
    assert len(sources) > 20
    found = {path.name: unsafe(path.read_text("utf-8")) for path in sources}
    assert {name: [what for _, what in calls] for name, calls in found.items() if calls} == {
        "text.py": ["zipfile"],  # reads one member of a list of tracks, extracts nothing
    }


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "np.load(path, allow_pickle=True)",
        "pd.read_pickle(path)",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(text, shell=True)",
        "import tarfile",
        "from zipfile import ZipFile",
        "from shutil import unpack_archive",
        "shutil.unpack_archive(path)",
        "archive.extractall(folder)",
    ],
)
def test_the_reading_finds_what_it_looks_for(source):
    assert len(unsafe(source)) == 1
