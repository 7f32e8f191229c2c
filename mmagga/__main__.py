"""`python -m mmagga VERB`: the same calls as the notebooks, one verb each.

The verbs are functions of `mmagga.cli`. A verb imports what it needs when it is used, so that the
list of verbs answers at once; its options and their help come from its signature and from the
dataclasses in `mmagga.config`. Errors and exit codes are handled by `mmagga.cli.shell`.
"""

import sys
from collections.abc import Callable

from mmagga.cli import datasets, embeddings, runs, studies
from mmagga.cli.shell import answer

VERBS: dict[str, Callable] = {
    "render": datasets.render,
    "train": runs.train,
    "evaluate": runs.evaluate,
    "attention": runs.attention,
    "ledger": runs.ledger,
    "ablate": studies.ablate,
    "tables": studies.tables,
    "status": runs.status,
    "report": runs.report,
    "embed": embeddings.embed,
    "search": embeddings.search,
    "score": embeddings.score,
    "export": embeddings.export,
    "import-official": runs.import_official,
    "replay": runs.replay,
    "data summary": datasets.summary,
    "data check": datasets.check,
    "data pack": datasets.pack,
    "data crop": datasets.crop,
}


def main(argv: list[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    return answer(VERBS, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
