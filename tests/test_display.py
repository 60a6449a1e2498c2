"""What is shown of a run's progress."""

import pytest

from spliceai_jax import display
from spliceai_jax.display import ConsoleDisplay


def test_no_rate_is_shown_that_compiling_is_part_of(monkeypatch, capsys) -> None:
    """The first batch takes 1000 s, the others 40 s each; a report of nothing done is no error."""
    now = 0.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    with ConsoleDisplay().progress("epoch 1 of 2", 60) as advance:
        for seconds, done in ((31, 0), (969, 10), (40, 10), (40, 10), (40, 10), (40, 10)):
            now += seconds
            advance(done)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1 of 2: 0/60 windows",
        "epoch 1 of 2: 10/60 windows",
        "epoch 1 of 2: 20/60 windows",
        "epoch 1 of 2: 30/60 windows",
        "epoch 1 of 2: 40/60 windows, 0.2 windows/s, 0:01:20 left",
        "epoch 1 of 2: 50/60 windows, 0.2 windows/s, 0:00:40 left",
    ]


@pytest.mark.parametrize("wording", [None, str.upper])
def test_lines_and_facts_go_through_the_wording(wording, capsys) -> None:
    shown = ConsoleDisplay(wording) if wording else ConsoleDisplay()
    shown.line("a line")
    shown.facts({"one": "x", "three": "y"})
    expected = "a line\n  one  x\nthree  y\n\n"
    assert capsys.readouterr().out == (expected.replace("a line", "A LINE").replace("x", "X").replace("  y", "  Y")
                                       if wording else expected)  # fmt: skip
