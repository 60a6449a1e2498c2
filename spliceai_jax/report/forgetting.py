"""The page's section about the old species: what the model forgot while it learned the new one."""

from dataclasses import dataclass

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.bootstrap import Differences
from spliceai_jax.evaluation.forgetting import forgetting_in_words
from spliceai_jax.evaluation.metrics import AUPRC
from spliceai_jax.report.verdict import Row, row
from spliceai_jax.runs.history import Split
from spliceai_jax.runs.read import Run

_SPECIES: tuple[tuple[Split, str], ...] = (("test", "new species"), ("old_species", "old species"))


@dataclass(frozen=True)
class ForgettingSection:
    """What the section shows.

    Attributes:
        sentence: Whether the model has forgotten, and how much.
        rows: Species, kind of site, and the AUPRC there before and after.
    """

    sentence: str
    rows: list[tuple[str, SiteKind, Row]]


def forgetting_section(run: Run, changes: Differences | None) -> ForgettingSection | None:
    """Return what the section shows; None where the run has no data set of the old species, or no epoch yet.

    Arguments:
        run: The run.
        changes: How the tuned model compares with the untouched one on the test set, where that is known.
    """
    history = run.history
    if "old_species" not in history.untouched or run.tuned_epoch is None:
        return None
    found = history.ending.sets.get("old_species") if history.ending else None
    tuned, compared = history.epochs[run.tuned_epoch].splits, {"test": changes, "old_species": found}
    rows = [
        (species, kind, row(AUPRC, kind, history.untouched[name].metrics, tuned[name].metrics, compared[name]))
        for name, species in _SPECIES
        for kind in SITE_KINDS
    ]
    unknown = "Whether the change on the old species may be chance is found when the run ends"
    return ForgettingSection(f"{forgetting_in_words(found) if found else unknown}.", rows)
