"""The harness itself: it must see what it is there to see."""

import pytest

from hostile.conftest import Attack, Outcome, printable, refused


def test_refusal(attack: Attack) -> None:
    """A plain error passes, by a fork as by the installed program."""
    for environment in ({}, {"LANG": "C"}):
        outcome = attack("inspect", "nothing.pt", **environment)
        refused(outcome, "nothing.pt", "no such weights file")
        assert outcome.grown < 3e8


@pytest.mark.parametrize(
    "change",
    [
        {"status": 1}, {"status": -11}, {"stdout": "x"}, {"seconds": 61.0}, {"grown": 5 * 10**9}, {"written": ("out",)},
        {"stderr": ""}, {"stderr": "spliceai-jax: a\nspliceai-jax: b\n"}, {"stderr": "spliceai-jax: \x1b[31mred\n"},
        {"stderr": "spliceai-jax: unexpected OSError: a\n"}, {"stderr": "spliceai-jax: another reason\n"},
    ],
)  # fmt: skip
def test_what_is_no_refusal(change: dict) -> None:
    """Whatever is not as it should be is seen."""
    good = {"status": 2, "stdout": "", "stderr": "spliceai-jax: a file\n", "seconds": 1.0, "grown": 0, "written": ()}
    refused(Outcome(**good), "a file")
    with pytest.raises(AssertionError):
        refused(Outcome(**good | change), "a file")


@pytest.mark.parametrize("letter", ["\x1b", "\x00", "\r", "\x85", "\u2028", "\u202e", "\ud800", "\x9b"])
def test_unprintable(letter: str) -> None:
    """Control characters, those that turn the direction of text, and halves of letters."""
    assert printable("Gène 1, 日本\n")
    assert not printable(f"a{letter}b")
