"""What a shell sees: one verb a call, errors in one line, exit codes.

`mmagga.__main__` lists the verbs.
"""

import difflib
import inspect
import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmagga import __version__
from mmagga.errors import MmaggaError
from mmagga.system.shortage import shortage

_ALSO = {
    "evaluate": ("test", "validate"),
    "embed": ("features", "extract"),
    "search": ("query", "rank", "find"),
    "score": ("judge", "referee"),
    "export": ("onnx",),
    "train": ("run", "fit", "resume"),
    "render": ("demo", "synthetic", "generate"),
    "attention": ("battery", "heatmap", "gradcam", "cam"),
    "ledger": ("protocols",),
    "tables": ("latex",),
    "status": ("list", "ls", "runs", "info"),
    "report": ("html",),
    "import-official": ("convert", "load"),
    "data summary": ("stats", "count", "datasets"),
    "data check": ("index", "verify"),
    "data crop": ("video", "mot"),
}
"""Other words that people try for a verb."""

Verbs = Mapping[str, Callable[..., None]]

SHARED = ("train", "evaluate")
"""Verbs that the processes of torchrun share out among them."""
INTERRUPTED = 130  # as shells say it: 128 and the signal's number
NO_READER = 141

USAGE = """\
usage: python -m mmagga VERB [options]      VERB --help says more, with an example

{verbs}

exit codes: 0 done; 1 a fault of the kit, with its traceback; 2 an invalid word or setting;
  3 data missing or damaged; 4 checkpoint missing or damaged; 5 disk or memory full; 6 loss not
  finite; 75 stopped and saved, the same command resumes; 130 interrupted
"""


def answer(verbs: Verbs, words: Sequence[str]) -> int:
    """Run what `words` ask for and return the exit code; a user's errors are one line each."""
    words = [_expand_home(word) for word in words]
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    verb = next((verb for verb in verbs if verb.split() == list(words)[: len(verb.split())]), "")
    name = f"mmagga {verb}".strip()
    try:
        args = words[len(verb.split()) :]
        _refuse_copies(verb)
        with _short_warnings(name):
            code = call(verbs, verb, args) if verb else guide(verbs, words)
        sys.stdout.flush()  # now, while a reader that has gone can still be told from a fault
        return code
    except MmaggaError as error:
        return _fail(name, error, error.code)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe: the flush at exit must not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _packages():
            raise
        return _fail(name, _missing(error.name), MmaggaError.code)
    except (MemoryError, OSError, RuntimeError) as error:
        if (short := shortage(error)) is not None:
            return _fail(name, short, short.code)
        if not isinstance(error, OSError) or error.filename is None:
            raise
        return _fail(name, f"{error.strerror}: {error.filename}", MmaggaError.code)


@contextmanager
def _short_warnings(name: str) -> Iterator[None]:
    """While entered, a warning is one line, without the place in the code."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *place, **more: f"{name}: warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def _refuse_copies(verb: str) -> None:
    """Raise MmaggaError where torchrun starts several processes of a verb that one does."""
    if verb and verb not in SHARED and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MmaggaError(f"one process does this: python -m mmagga {verb} ..., without torchrun")


def _expand_home(word: str) -> str:
    """Replace ~ at the start of a word, or after `--option=` where shells leave it, by the home."""
    option, separator, value = word.partition("=")
    if not option.startswith("-"):
        option, separator, value = "", "", word
    if value != "~" and not value.startswith(("~/", "~\\")):
        return word
    return f"{option}{separator}{os.path.expanduser(value)}"


def call(verbs: Verbs, verb: str, args: Sequence[str]) -> int:
    """Call a verb with its words; return 0, or 2 for words that it does not know."""
    try:
        if verb == "train":
            verbs[verb](args)
        else:
            import tyro

            tyro.cli(verbs[verb], prog=f"mmagga {verb}", args=_run_first(verbs[verb], args))
    except SystemExit as end:  # after --help, or after the message on a wrong option
        return int(end.code or 0)
    return 0


def _run_first(verb: Callable[..., None], args: Sequence[str]) -> list[str]:
    """Accept `--run RUN` where a verb takes RUN first."""
    words = list(args)
    if next(iter(inspect.signature(verb).parameters), "") != "run":
        return words
    for at, word in enumerate(words):
        if word.startswith("--run="):
            return [word.removeprefix("--run="), *words[:at], *words[at + 1 :]]
        if word == "--run" and at + 1 < len(words):
            return [words[at + 1], *words[:at], *words[at + 2 :]]
    return words


def guide(verbs: Verbs, words: Sequence[str]) -> int:
    """Answer where no verb is named: with help, the version, or the verbs that may be meant."""
    group = {verb: verbs[verb] for verb in verbs if words and verb.startswith(f"{words[0]} ")}
    rest = list(words[1 if group else 0 :])
    if rest in ([], ["-h"], ["--help"], ["help"]):
        print(USAGE.format(verbs=listing(group or verbs)), end="")
        return 0
    if rest == ["--version"]:
        print(f"mmagga {__version__}")
        return 0
    asked = " ".join(words[: 2 if group else 1])
    meant = " or ".join(map(repr, nearest(asked, list(verbs))))
    advice = f"did you mean {meant}? " if meant else ""
    raise MmaggaError(f"no verb {asked!r}; {advice}mmagga --help lists all")


def nearest(asked: str, verbs: Sequence[str]) -> list[str]:
    """Return the verbs that `asked` may mean: by another word, its beginning, or its spelling."""
    meant = [verb for verb in verbs if asked.lower() in _ALSO.get(verb, ())]
    begin = [verb for verb in verbs if any(w.startswith(asked) for w in (verb, *verb.split()))]
    spelled = {word: verb for verb in verbs for word in (*verb.split(), verb)}
    alike = difflib.get_close_matches(asked, spelled, cutoff=0.7)
    return list(dict.fromkeys([*meant, *begin, *(spelled[word] for word in alike)]))[:3]


def listing(verbs: Verbs) -> str:
    """Return one line for each verb: its name, and the first line of its docstring."""
    width = max(map(len, verbs)) + 2
    docs = {verb: function.__doc__ or "" for verb, function in verbs.items()}
    return "\n".join(f"  {verb:{width}}{doc.partition(chr(10))[0]}" for verb, doc in docs.items())


def _fail(name: str, what: object, code: int) -> int:
    print(f"{name}: {what}", file=sys.stderr)
    return code


def _packages() -> set[str]:
    """Return the names under which Python imports what the kit depends on."""
    return {
        "cv2", "ipywidgets", "jinja2", "matplotlib", "numpy", "pandas", "PIL", "pytorch_grad_cam",
        "scipy", "seaborn", "sklearn", "torch", "torchvision", "tqdm", "tyro",
    }  # fmt: skip


def _missing(package: str) -> str:
    """Explain which Python to use where this one lacks the kit's packages."""
    home = Path(__file__).parents[2]
    found = [home / ".venv" / place for place in ("bin/python", "Scripts/python.exe")]
    python = next((str(p) for p in found if p.exists() and str(p) != sys.executable), None)
    advice = f"use {python}" if python else "activate the environment the kit was installed in"
    return f"the package {package!r} is missing from this Python, {sys.executable}: {advice}"
