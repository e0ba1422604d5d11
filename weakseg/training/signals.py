"""Turn SIGTERM, SIGINT and SIGHUP into a flag that the training loop reads between steps."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from weakseg.errors import WeaksegError

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Interrupted(WeaksegError):
    """Work was asked to stop; it saved its state and can be resumed."""


class StopFlag:
    """Remember that somebody asked to stop, so that work ends where it can be resumed.

    As a context manager it takes over SIGTERM, SIGINT and SIGHUP (a terminal that is closed) and
    gives them back at the end. The handlers only set the flag; a second SIGINT raises
    KeyboardInterrupt, for the impatient. Where SIGHUP is ignored, as under nohup, it stays so.
    Outside the main thread, where Python allows no handlers, the flag can still be set by hand.
    """

    def __init__(self) -> None:
        """Start with the flag down and the handlers as they were."""
        self._reason = ""
        self._previous: dict[signal.Signals, Any] = {}

    @property
    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return bool(self._reason)

    @property
    def reason(self) -> str:
        """What asked to stop, such as SIGTERM; empty while nothing did."""
        return self._reason

    def set(self, reason: str = "a request") -> None:
        """Ask to stop."""
        self._reason = reason

    def __enter__(self) -> StopFlag:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._previous.items():
            # None stands for a handler that was not installed from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.is_set and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.set(name)
