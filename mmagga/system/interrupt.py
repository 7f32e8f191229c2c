"""Turn a request to stop (Ctrl-C, a notebook's interrupt, a scheduler's SIGTERM) into a flag."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from mmagga.errors import Stopped


class StopRequest:
    """While entered, the first SIGINT or SIGTERM only sets `requested`; a second acts at once."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)
    _entered: "StopRequest | None" = None

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        # Python delivers signals to the main thread only; elsewhere there is nothing to catch.
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._on_signal) for s in self.SIGNALS}
            StopRequest._entered = self
        return self

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()
        StopRequest._entered = None


def raise_if_stopped() -> None:
    """Raise Stopped if the `StopRequest` that is entered, if any, has been signalled.

    Work that changes nothing on disk, such as an evaluation, calls it between batches.
    """
    if StopRequest._entered is not None and StopRequest._entered.requested:
        raise Stopped("stopped on request")
