"""A model's worst mistakes as the page shows them: the sequence, and what a biologist would look at first."""

from dataclasses import dataclass

from spliceai_jax.report.comparison import Comparison
from spliceai_jax.report.mistakes import CONTEXT_SHOWN, NEAR, Mistake


@dataclass(frozen=True)
class ShownMistake:
    """A mistake as the page shows it.

    Attributes:
        mistake: The mistake.
        parts: (letters, CSS class) of its context, which together are the sequence.
        note: What a biologist would look at first.
    """

    mistake: Mistake
    parts: list[tuple[str, str]]
    note: str


def show_mistakes(comparison: Comparison | None, missed: bool) -> list[ShownMistake]:
    """Return the misses or the false calls; those of the same sequence are shown once."""
    if comparison is None:
        return []
    alike: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in comparison.mistakes:
        if mistake.missed == missed:
            alike.setdefault((mistake.kind, mistake.bases), []).append(mistake)
    return [ShownMistake(same[0], _parts(same[0]), _note(same[0], len(same))) for same in alike.values()]


def _intron_pair(mistake: Mistake) -> tuple[slice, str]:
    """Return where the intron's outermost two bases are in the context, and what they should be."""
    if mistake.kind == "donor":
        return slice(CONTEXT_SHOWN + 1, CONTEXT_SHOWN + 3), "GT"
    return slice(CONTEXT_SHOWN - 2, CONTEXT_SHOWN), "AG"


def _parts(mistake: Mistake) -> list[tuple[str, str]]:
    place, expected = _intron_pair(mistake)
    before, found, after = mistake.bases[: place.start], mistake.bases[place], mistake.bases[place.stop :]
    pair = (found.lower(), "pair" if found == expected else "pair odd")
    if mistake.kind == "donor":
        return [(before, "exon"), pair, (after.lower(), "intron")]
    return [(before.lower(), "intron"), pair, (after, "exon")]


def _note(mistake: Mistake, times: int) -> str:
    place, expected = _intron_pair(mistake)
    notes = []
    if (found := mistake.bases[place]) != expected:
        notes.append(f"{found} where {expected} is usual")
    if mistake.of_other_transcript:
        notes.append(f"another transcript of the gene has this {mistake.kind}")
    if mistake.nearest:
        direction = "downstream" if mistake.nearest > 0 else "upstream"
        away = f"{abs(mistake.nearest)} base{'s' if abs(mistake.nearest) > 1 else ''} {direction}"
        one = f"{'an' if mistake.kind == 'acceptor' else 'a'} {mistake.kind}"
        notes.append(f"the model calls {one} {away}" if mistake.missed else f"{one} is annotated {away}")
    elif not mistake.missed and not mistake.of_other_transcript:
        notes.append(f"no {mistake.kind} is annotated within {NEAR} bases")
    if times > 1:
        notes.append(f"{times} times, in windows of the same sequence")
    return "; ".join(notes)
