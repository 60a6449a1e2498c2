"""SIGTERM, SIGINT and SIGHUP ask a run to stop at the next step; a second one stops it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

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
