"""A progress bar with rate and remaining time."""

import sys
from collections.abc import Iterable
from typing import Any


def progress(iterable: Iterable | None = None, *, enabled: bool = True, **options: Any) -> Any:
    """Wrap tqdm: a widget in a notebook, a line in a terminal, nothing in a log file."""
    from tqdm import tqdm
    from tqdm.notebook import tqdm as notebook_tqdm

    if not enabled:
        return tqdm(iterable, disable=True, **options)
    shell = sys.modules.get("IPython")
    ip = shell.get_ipython() if shell else None
    if ip is not None and "IPKernelApp" in ip.config:
        return notebook_tqdm(iterable, **options)
    return tqdm(iterable, disable=None, dynamic_ncols=True, **options)
