"""What the models find on whole sequences of the genome, as the page shows it."""

from dataclasses import dataclass

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.evaluation.genome_metrics import PLACES, RECALL, GenomeMetrics, Place
from spliceai_jax.report.mistakes import ModelName
from spliceai_jax.runs.genome_evaluation import GenomeEvaluation
from spliceai_jax.runs.read import Run

PLACE_NAMES: dict[Place, str] = {
    "inside": "inside genes",
    "antisense": "antisense of genes",
    "outside": "outside genes",
}
"""What the places are called on the page."""


@dataclass(frozen=True)
class GenomeRow:
    """What a model finds of one kind of site, in digits.

    Attributes:
        kind: The kind.
        model: The model.
        auprc: Its AUPRC.
        top_k: Its top-k accuracy.
        threshold: The score that 90 % of the sites reach.
        rates: The false positives a megabase of strand at this threshold: everywhere, and in each place.
    """

    kind: SiteKind
    model: ModelName
    auprc: str
    top_k: str
    threshold: str
    rates: tuple[str, ...]


@dataclass(frozen=True)
class GenomeSection:
    """The section of the page.

    Attributes:
        evaluation: The files that were used, and the sequences.
        metrics: What the last model finds.
        rows: The table.
        sentences: What the last model finds, in words.
    """

    evaluation: GenomeEvaluation
    metrics: GenomeMetrics
    rows: list[GenomeRow]
    sentences: list[str]


def genome_section(run: Run) -> GenomeSection | None:
    """Return the section; None if the run has no models that were scored on whole sequences.

    A model that has changed since it was scored is left out.
    """
    if run.genome is None:
        return None
    current: dict[ModelName, str | None] = {"untouched": run.identity.pretrained_model, "tuned": run.tuned_sha256}
    found = {
        name: run.genome.models[name].metrics
        for name, fingerprint in current.items()
        if name in run.genome.models and run.genome.models[name].fingerprint == fingerprint
    }
    if not found:
        return None
    last = list(found)[-1]
    return GenomeSection(
        run.genome,
        found[last],
        [_row(kind, name, metrics) for kind in SITE_KINDS for name, metrics in found.items()],
        [_sentence(kind, last, found[last]) for kind in SITE_KINDS],
    )


def _row(kind: SiteKind, name: ModelName, metrics: GenomeMetrics) -> GenomeRow:
    site = metrics.site(kind)
    rates = (metrics.per_megabase(kind), *(metrics.per_megabase(kind, place) for place in PLACES))
    return GenomeRow(
        kind,
        name,
        f"{site.auprc:.3f}",
        f"{site.top_k:.3f}",
        f"{site.threshold:.2g}",
        tuple(f"{rate:,.1f}" for rate in rates),
    )


def _sentence(kind: SiteKind, name: ModelName, metrics: GenomeMetrics) -> str:
    site = metrics.site(kind)
    false = [f"{site.false_positives[place]:,} {PLACE_NAMES[place]}" for place in PLACES]
    return (
        f"At a score of {site.threshold:.2g}, the {name} model finds {RECALL:.0%} of the {site.sites:,} {kind}s, with "
        f"{metrics.per_megabase(kind):,.1f} false positives per megabase of strand. Altogether there are "
        f"{', '.join(false[:-1])} and {false[-1]}."
    )
