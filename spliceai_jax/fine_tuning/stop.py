"""Whether a run goes on, saves, or stops: a question that all processes answer together."""

import time
from dataclasses import dataclass
from enum import Enum
from signal import Signals

from spliceai_jax import processes
from spliceai_jax.loops import StopRequest

SECONDS_BETWEEN_CHECKPOINTS = 600.0


class Action(Enum):
    """What a run does next."""

    GO_ON = 0
    SAVE = 1
    STOP = 2
    """Save, then stop."""


@dataclass(frozen=True)
class Decision:
    """What all processes do next.

    Attributes:
        action: What they do.
        signal: The signal that asks them to stop.
    """

    action: Action
    signal: Signals | None = None


class StopVote:
    """Asks all processes, at each call, whether to go on; one that must stop, or save, makes all of them do so."""

    def __init__(self, request: StopRequest) -> None:
        """Vote for a stop as soon as `request` has received a signal."""
        self._request = request
        self._vote = processes.Vote()
        self._last_save = time.monotonic()

    def __call__(self, may_save: bool = False) -> Decision:
        """Vote, and return what all processes do next.

        Arguments:
            may_save: Whether to ask for a checkpoint when the last one was too long ago.
        """
        # The processes agree on the largest number: a save is 1, and a stop 2 + the signal's number.
        if self._request.received:
            wish = Action.STOP.value + self._request.received
        else:
            overdue = time.monotonic() - self._last_save > SECONDS_BETWEEN_CHECKPOINTS
            wish = Action.SAVE.value if may_save and overdue else Action.GO_ON.value
        agreed = self._vote(wish)
        if agreed >= Action.STOP.value:
            return Decision(Action.STOP, Signals(agreed - Action.STOP.value))
        return Decision(Action(agreed))

    def saved(self) -> None:
        """Note that a checkpoint has just been saved."""
        self._last_save = time.monotonic()
