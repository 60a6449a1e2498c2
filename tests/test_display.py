"""What is shown of a run's progress."""

import pytest

from spliceai_jax import display
from spliceai_jax.display import ConsoleDisplay


def test_a_first_report_of_nothing_done_is_no_error(monkeypatch, capsys) -> None:
    """After a long compilation, say, with small batches: 0 of 5 windows in 31 s."""
    clock = iter([0.0, 31.0, 31.0, 62.0, 62.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    with ConsoleDisplay().progress("epoch 0", 5) as advance:
        advance(0)
        advance(4)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 0: 0/5 windows, 0.0 windows/s",
        "epoch 0: 4/5 windows, 0.1 windows/s, 16 s left",
    ]


@pytest.mark.parametrize("wording", [None, str.upper])
def test_lines_and_facts_go_through_the_wording(wording, capsys) -> None:
    shown = ConsoleDisplay(wording) if wording else ConsoleDisplay()
    shown.line("a line")
    shown.facts({"one": "x", "three": "y"})
    expected = "a line\n  one  x\nthree  y\n\n"
    assert capsys.readouterr().out == (expected.replace("a line", "A LINE").replace("x", "X").replace("  y", "  Y")
                                       if wording else expected)  # fmt: skip
