"""Start worker processes that need not import the program that starts them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_main() -> Iterator[None]:
    """While entered, processes started by spawn or forkserver do not run `__main__` again.

    So a script without `if __name__ == "__main__":`, or one piped into Python, may call what
    starts processes. Their functions must belong to importable modules, as the kit's do.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
