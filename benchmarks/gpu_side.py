"""One side of gpu.py: a process that builds steps and times them whenever it is asked, so that the sides take turns."""

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

WARM_UP = 4


class Step(NamedTuple):
    """A training step or an evaluation of one batch.

    Attributes:
        start: Start the step; it may still be in progress afterwards.
        wait: Wait until all steps have ended, and return the last one's loss if there is one.
        facts: What is known about the program.
    """

    start: Callable[[], Any]
    wait: Callable[[], float | None]
    facts: dict[str, Any]


def serve(device: dict[str, Any], build: Callable[[dict[str, Any]], Step]) -> None:
    """Answer requests, one JSON object a line, until standard input ends.

    Arguments:
        device: Sent first: what this side runs on.
        build: Returns the step of a row. It is called once for each row.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to standard output, which here belongs to the answers

    def answer(found: dict[str, Any]) -> None:
        print(json.dumps(found), file=answers, flush=True)

    steps: dict[str, tuple[Step, float]] = {}
    answer(device)
    for line in sys.stdin:
        request = json.loads(line)
        key = json.dumps(request["row"])
        try:
            if key not in steps:
                begin = time.perf_counter()
                step = build(request["row"])
                step.start()
                step.wait()
                steps[key] = step, time.perf_counter() - begin
            step, first = steps[key]
            answer({"first_s": first, **timed(step, request["steps"]), **step.facts})
        except Exception as error:
            traceback.print_exc()
            answer({"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


def timed(step: Step, steps: int) -> dict[str, Any]:
    """Time steps, each with a wait for its end, and then as many again without a wait between them; milliseconds."""
    for _ in range(WARM_UP):
        step.start()
    step.wait()
    single = []
    for _ in range(steps):
        begin = time.perf_counter()
        step.start()
        step.wait()
        single.append(1e3 * (time.perf_counter() - begin))
    begin = time.perf_counter()
    for _ in range(steps):
        step.start()
    loss = step.wait()
    queued = 1e3 * (time.perf_counter() - begin) / steps
    return {"ms": statistics.median(single), "least": min(single), "most": max(single), "queued": queued, "loss": loss}
