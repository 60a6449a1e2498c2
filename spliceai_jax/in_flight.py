"""Work that a device does while the next piece is handed to it."""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import TypeVar

T = TypeVar("T")


def one_in_flight(dispatched: Iterable[T]) -> Iterator[T]:
    """Yield each item only when the one after it has been taken from `dispatched`.

    Taking an item dispatches its computation, and reading a result waits for it. With one item always in flight the
    device never waits for the host.
    """
    for item, _ in pairwise(chain(dispatched, [None])):
        yield item  # type: ignore[misc]  # only the last item of all is None
