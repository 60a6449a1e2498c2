"""Keep a device busy: dispatch the next piece of work before reading the result of the last."""

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import TypeVar

T = TypeVar("T")


def one_in_flight(dispatched: Iterable[T]) -> Iterator[T]:
    """Yield each item only after the next one has been taken from `dispatched`.

    Taking an item dispatches its computation, and reading a result waits for it. With one item always in flight the
    device never waits for the host.
    """
    for item, _ in pairwise(chain(dispatched, [None])):
        yield item  # type: ignore[misc]  # the None is never first in a pair
