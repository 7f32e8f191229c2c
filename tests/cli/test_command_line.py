"""What a shell sees: help with examples, errors in one line, exit codes."""

import functools
import re
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import tyro

from mmagga import __version__, errors
from mmagga.__main__ import VERBS, main
from mmagga.cli import shell
from mmagga.cli.datasets import render
from mmagga.cli.flags import parse
from mmagga.config import DEMO
from mmagga.data import load_tracklets, synthetic
from mmagga.data.synthetic.layouts import LAYOUTS
from mmagga.data.synthetic.plan import PRESETS
from mmagga.errors import DataError
from mmagga.runs import Run
from mmagga.system.shortage import shortage


def example(verb):
    """Give the words of the example in a verb's docstring, after `python -m mmagga`."""
    (line,) = re.findall(r"^ +Example: python -m mmagga (.+)$", VERBS[verb].__doc__, re.MULTILINE)
    return shlex.split(line)


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_an_example_that_is_valid(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    assert f"python -m mmagga {verb}" in capsys.readouterr().out
    words = example(verb)
    assert words[: len(verb.split())] == verb.split()
    called = []

    @functools.wraps(VERBS[verb])
    def stub(*args, **options):
        called.append(True)

    if verb == "train":
        stub(parse(words[1:]))
    else:
        tyro.cli(stub, args=words[len(verb.split()) :])
    assert called


@pytest.mark.parametrize("words", ["--help", "status", *(f"{verb} --help" for verb in VERBS)])
def test_help_and_status_do_without_torch(words, tmp_path):
    code = (
        "import sys; from mmagga.__main__ import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_choices_are_all_there_are():
    """They are said twice, so that help need not import what renders."""
    hints = get_type_hints(render)
    assert get_args(hints["preset"]) == tuple(PRESETS)
    assert get_args(hints["layout"]) == tuple(LAYOUTS)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["data"], ["data", "--help"]])
def test_help_lists_verbs_and_exit_codes(words, capsys):
    assert main(words) == 0
    out = capsys.readouterr().out
    listed = [verb for verb in VERBS if not words or "data" not in words or "data " in verb]
    assert all(f"\n  {verb} " in out for verb in listed)
    everyone = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {0, 1, shell.INTERRUPTED, *(error.code for error in everyone)}
    assert {int(code) for code in re.findall(r"[:;]\s+(\d+) ", out)} == codes
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["trian"], "'train'"),
        (["data", "pakc"], "'data pack'"),
        (["evalute", "--run", "x"], "'evaluate'"),
        (["test", "x"], "'evaluate'"),
        (["eval", "x"], "'evaluate'"),
        (["check"], "'data check'"),
        (["heatmap"], "'attention'"),
    ],
)
def test_an_unknown_verb_is_told_the_nearest(words, meant, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"did you mean {meant}?" in err
    assert err.count("\n") == 1


def test_an_unknown_verb_far_from_all_is_told_none(capsys):
    assert main(["xyzzy"]) == 2
    assert capsys.readouterr().err == "mmagga: no verb 'xyzzy'; mmagga --help lists all\n"


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mmagga {__version__}\n"


def test_a_python_without_the_packages_is_told_which_to_use(capsys):
    def verb() -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch.nn")

    assert shell.answer({"verb": verb}, ["verb"]) == 2
    error = capsys.readouterr().err
    assert "'torch.nn' is missing from this Python, " + sys.executable in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["evaluate", "x", "--rot", "x"], "--root"),
        (["train", "demo", "--sed", "1"], "--seed INT"),
        (["train", "dmeo"], "demo, paper"),
        (["render", "--root", "x", "--preset", "huge"], "medium"),
    ],
)
def test_a_wrong_option_is_told_the_right_one(words, meant, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert meant in err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (errors.MmaggaError("a"), 2, "a"),
        (errors.SettingError("a"), 2, "a"),
        (errors.DataError("a"), 3, "a"),
        (errors.CheckpointError("a"), 4, "a"),
        (errors.ResourceError("a"), 5, "a"),
        (errors.NumericError("a"), 6, "a"),
        (errors.Stopped("a"), 75, "a"),
        (MemoryError("1 TB"), 5, str(shortage(MemoryError("1 TB")))),
        (OSError(5, "no answer", "/x"), 5, str(shortage(OSError(5, "no answer", "/x")))),
        (PermissionError(13, "Permission denied", "/x"), 2, "Permission denied: /x"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_user_can_mend_is_one_line_and_an_exit_code(error, code, said, capsys):
    def fails() -> None:
        raise error

    assert shell.answer({"fails": fails}, ["fails"]) == code
    assert capsys.readouterr().err == f"mmagga fails: {said}\n"


def test_a_fault_of_the_kit_keeps_its_traceback():
    def fails() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shell.answer({"fails": fails}, ["fails"])


@pytest.fixture
def _python_sees_ctrl_c():
    """Also where the tests run in the background of a shell, which makes its jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_python_sees_ctrl_c")
def test_ctrl_c_is_one_line(capsys):
    def waits() -> None:
        signal.raise_signal(signal.SIGINT)

    assert shell.answer({"waits": waits}, ["waits"]) == 130
    assert capsys.readouterr().err == "mmagga waits: interrupted\n"


@pytest.mark.parametrize("words", [["--help"], ["data", "check", "--help"]])
def test_a_reader_that_goes_is_no_error(words):
    """As in `mmagga --help | head -1`."""
    child = subprocess.Popen(
        [sys.executable, "-m", "mmagga", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == shell.NO_READER
    child.stderr.close()


def test_a_name_that_cannot_be_shown_is_shown_escaped(tmp_path):
    """A folder in another encoding, and a terminal that knows only ASCII."""
    run = tmp_path / "caf\udce9-×"
    run.mkdir()
    (run / "config.json").write_text("{")
    words = [sys.executable, "-m", "mmagga", "status", "--runs", str(tmp_path)]
    environment = {"PYTHONIOENCODING": "ascii:strict"}
    child = subprocess.run(words, capture_output=True, env=environment, check=True)
    assert rb"caf\udce9-\xd7" in child.stdout


def test_errors_of_the_data_verbs(tmp_path, capsys):
    assert main(["data", "summary", "--dataset", "mars", "--root", str(tmp_path)]) == 3
    error = capsys.readouterr().err
    assert error.startswith("mmagga data summary: ")
    assert error.count("\n") == 1
    assert main(["data", "check", "--dataset", "marss", "--root", str(tmp_path)]) == 2
    assert "no data set is named 'marss'; there are synthetic, mars" in capsys.readouterr().err


def test_an_unknown_data_set_is_named_as_that(tmp_path, capsys):
    Run(tmp_path).open(DEMO)
    for words in (["evaluate", str(tmp_path)], ["train", "demo", "--runs", str(tmp_path / "runs")]):
        assert main([*words, "--dataset", "marss"]) == 2
        assert "no data set is named 'marss'; there are synthetic" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--device cuda:99", "there is no device 'cuda:99' here"),
        ("--device gpu", "no device 'gpu' here: use cpu"),
        ("--frames 0", "frames: at least 1, not 0"),
        ("--ids-per-batch -1", "ids_per_batch: at least 1, not -1"),
        ("--stages", "stages: at least 1, not 0"),
        ("--seed -1", "seed: from 0 to"),
        ("--workers -1", "workers: from 0 to"),
        ("--stages 3:0.1:all 0:0.1:mma", "the epochs of a stage: at least 1, not 0"),
        ("--root nowhere", "nowhere is not a folder"),
    ],
)
def test_training_that_cannot_be(option, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "demo", *option.split()]) in (2, 3)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["render", "--root", "{}", "--workers", "-1"],
        ["data", "check", "--dataset", "synthetic", "--root", "{}", "--workers", "-1"],
        ["data", "pack", "--dataset", "synthetic", "--root", "{}", "--out", "x", "--width", "0"],
        ["data", "crop", "--videos", "v", "--tracks", "t", "--out", "x", "--max-gap", "-1"],
    ],
)
def test_numbers_that_no_verb_takes(words, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "new" if words[0] == "render" else tiny
    assert main([word.format(root) for word in words]) == 2
    error = capsys.readouterr().err
    assert "at least" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["--root=~/there"], ["--root", "~/there"]])
def test_a_tilde_is_the_home_folder(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["data", "summary", "--dataset", "mars", *words]) == 3
    assert f"{tmp_path / 'there'} is not a folder" in capsys.readouterr().err
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "there"))):
        load_tracklets("mars", "~/there")
    assert Run(Path("~/run")).folder == tmp_path / "run"
    assert synthetic.render("~/tiny", "tiny", workers=1, progress=False) == tmp_path / "tiny"
    assert not (tmp_path / "~").exists()


def test_tables_want_a_clone(tmp_path, monkeypatch, capsys):
    """The numbers of the paper are no part of the installed package."""
    monkeypatch.chdir(tmp_path)
    assert main(["tables"]) == 3
    assert "give --results of a clone of the repository" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["{}", "--run {}", "--run={}"])
@pytest.mark.parametrize("verb", ["evaluate", "attention", "ledger", "replay", "report", "status"])
def test_a_run_that_is_not_there(verb, form, tmp_path, capsys):
    """A run is named with or without --run."""
    assert main([verb, *form.format(tmp_path).split()]) == 2
    assert "is not a run folder: config.json is missing" in capsys.readouterr().err


def test_a_warning_is_one_line_without_the_place_in_the_code():
    said, before = [], warnings.formatwarning

    def warns() -> None:
        said.append(warnings.formatwarning("two frames", UserWarning, "file.py", 7))

    assert shell.answer({"warns": warns}, ["warns"]) == 0
    assert said == ["mmagga warns: warning: two frames\n"]
    assert warnings.formatwarning is before


def test_verbs_of_one_process_are_refused_under_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert shell.answer({"ledger": list}, ["ledger", "run"]) == 2
    assert "one process does this: python -m mmagga ledger" in capsys.readouterr().err
