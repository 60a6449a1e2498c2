"""What loops over pieces of work share: a stop that signals ask for, and a device that is kept busy."""

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from types import FrameType
from typing import TypeVar

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Whether a signal has been received.

    Attributes:
        received: The signal, or None.
    """

    received: signal.Signals | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Watch for the signals while the block runs. Outside the main thread Python cannot, and none is reported."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in _SIGNALS}
    if previous[signal.SIGHUP] is signal.SIG_IGN:  # the program was started by nohup, to outlive its terminal
        del previous[signal.SIGHUP]

    def restore() -> None:
        for number, handler in previous.items():
            # getsignal returns None for a handler not set from Python, such as that of jax.distributed.initialize.
            signal.signal(number, handler or signal.SIG_DFL)

    def handle(number: int, frame: FrameType | None) -> None:
        request.received = signal.Signals(number)
        restore()
        if signal.SIGHUP in previous:  # a terminal that is closed sends it twice: from the shell and from the kernel
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    for number in previous:
        signal.signal(number, handle)
    try:
        yield request
    finally:
        restore()


T = TypeVar("T")


def one_in_flight(dispatched: Iterable[T]) -> Iterator[T]:
    """Yield each item only after the next one has been taken from `dispatched`.

    Taking an item dispatches its computation, and reading a result waits for it. With one item always in flight the
    device never waits for the host.
    """
    for item, _ in pairwise(chain(dispatched, [None])):
        yield item  # type: ignore[misc]  # the None is never first in a pair
