"""What a shell sees: one verb a call, errors in one line, exit codes, completion of words.

The verbs themselves are in `mmagga.__main__`.
"""

import difflib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from mmagga.errors import MmaggaError, ResourceError

Verbs = Mapping[str, Callable[..., None]]

INTERRUPTED = 130  # as shells say it: 128 and the signal's number
NO_READER = 141

USAGE = """\
usage: python -m mmagga VERB [options]      VERB --help says more, with an example

{verbs}

exit codes: 0 done; 1 a fault of the kit, with its traceback; 2 words or a setting that cannot be;
  3 data missing or damaged; 4 checkpoint likewise; 5 disk or memory full; 6 a loss that is not
  finite; 75 stopped and saved, the same command goes on; 130 interrupted
completion: eval "$(mmagga --tyro-print-completion bash)", or zsh
"""


def answer(verbs: Verbs, words: Sequence[str]) -> int:
    """Do what `words` ask for; give the exit code. What a user can mend is told in one line."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # names that the terminal cannot show
        sys.stdout.reconfigure(errors="backslashreplace")
    verb = next((verb for verb in verbs if verb.split() == list(words)[: len(verb.split())]), "")
    name = f"mmagga {verb}".strip()
    try:
        args = words[len(verb.split()) :]
        code = call(verbs, verb, args) if verb else guide(verbs, words)
        sys.stdout.flush()  # now, while a reader that has gone can still be told from a fault
        return code
    except MmaggaError as error:
        return _fail(name, error, error.code)
    except KeyboardInterrupt:
        return _fail(name, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has gone, such as `head`: there is nobody to tell, not even at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except MemoryError as error:
        return _fail(name, f"out of memory. {error}".strip(), ResourceError.code)
    except OSError as error:
        if error.filename is None:
            raise
        return _fail(name, f"{error.strerror}: {error.filename}", MmaggaError.code)


def call(verbs: Verbs, verb: str, args: Sequence[str]) -> int:
    """Call a verb with its words; give 0, or 2 for words that it does not know."""
    try:
        if verb == "train":
            verbs[verb](args)
        else:
            import tyro

            tyro.cli(verbs[verb], prog=f"mmagga {verb}", args=args)
    except SystemExit as end:  # after --help, or after the message on a wrong option
        return int(end.code or 0)
    return 0


def guide(verbs: Verbs, words: Sequence[str]) -> int:
    """Answer where no verb is named: help, completion, or the verb that was perhaps meant."""
    if words and words[0].startswith("--tyro-"):
        from mmagga.cli.flags import complete

        return complete(verbs, words)
    group = {verb: verbs[verb] for verb in verbs if words and verb.startswith(f"{words[0]} ")}
    if list(words[1 if group else 0 :]) in ([], ["-h"], ["--help"]):
        print(USAGE.format(verbs=listing(group or verbs)), end="")
        return 0
    asked = " ".join(words[:2] if group else words[:1])
    (nearest,) = difflib.get_close_matches(asked, group or verbs, n=1, cutoff=0)
    raise MmaggaError(f"no verb {asked!r}; the nearest is {nearest!r}. mmagga --help lists all")


def listing(verbs: Verbs) -> str:
    """Give one line for each verb: its name, and what it says about itself first."""
    width = max(map(len, verbs)) + 2
    docs = {verb: function.__doc__ or "" for verb, function in verbs.items()}
    return "\n".join(f"  {verb:{width}}{doc.partition(chr(10))[0]}" for verb, doc in docs.items())


def _fail(name: str, what: object, code: int) -> int:
    print(f"{name}: {what}", file=sys.stderr)
    return code
