"""`dataset.html`: figures about data sets, on one page."""

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Num
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from spliceai_jax.architecture import SITE_KINDS, SiteKind
from spliceai_jax.data_sets.folder import DataFolder, DataSetsRecord, GeneKind
from spliceai_jax.data_sets.gene_views import example_genes
from spliceai_jax.data_sets.genes import USUAL_MOTIFS, ChosenGene
from spliceai_jax.data_sets.plan import DataPlan, sites_of
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import TITLES, SetName
from spliceai_jax.files import write_whole
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.genome.splicing import sites_beside
from spliceai_jax.report.logos import draw_logos
from spliceai_jax.report.page import rendered
from spliceai_jax.report.plots import COLOURS, Drawing, draw_figure
from spliceai_jax.report.test_set import LOGO_SPANS, BaseCounts

_ORDER: tuple[SetName, ...] = ("train", "validation", "test")

_BARS = 20
"""The most sequences that are shown one by one."""

_LOGO_SITES = 3000
"""The most sites of a kind that a logo is made from; more do not change it to the eye."""

_BINS_PER_TENFOLD = 10
_OTHERS_NAMED = 3

_KINDS = 12
"""The most sources and biotypes that are shown one by one."""

_MOST_COUNTED = 20
"""The last bin of the figures of sites and transcripts of a gene."""

Lengths = dict[SetName, Int[np.ndarray, " parts"]]
Numbers = dict[SetName, Int[np.ndarray, " genes"]]


class Bar(NamedTuple):
    """A sequence in the chart of genes.

    Attributes:
        sequence: Its name.
        genes: The number of its genes.
        parts: Set -> the number of its genes there, and the length of their part of the bar, in percent.
    """

    sequence: str
    genes: int
    parts: dict[SetName, tuple[int, float]]


class Share(NamedTuple):
    """A row of the table of motifs."""

    name: str
    introns: int
    share: float


def write_page(
    folder: DataFolder, settings: CreateDataSettings, plan: DataPlan, record: DataSetsRecord, genome: Genome
) -> None:
    """Draw the figures and write the page."""
    names = [name for name in _ORDER if name in record.sets]
    bars, (unlisted, unlisted_genes) = _bars(record)
    page = rendered(
        "spliceai_jax.data_sets",
        "dataset.html",
        title=folder.root.name,
        folder=folder.root,
        now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        names=names,
        titles=TITLES,
        record=record,
        choices=asdict(record.identity.settings),
        bars=bars,
        unlisted=unlisted,
        unlisted_genes=unlisted_genes,
        plots={drawing.name: drawing for drawing in _figures(plan, names, genome)},
        motifs=_motif_table(record.motifs),
        unusual=sum(not check.usual for check in record.checks),
        examples=example_genes(plan),
        kinds=record.kinds[:_KINDS],
        other_kinds=_other_kinds(record.kinds[_KINDS:]),
        decided_by=sorted(record.decided_by.items(), key=lambda reason: -reason[1]),
        introns_named={"Shortest introns": record.shortest_introns, "Longest introns": record.longest_introns},
        left_out=sorted(record.left_out.items(), key=lambda reason: -reason[1]),
        sites_left_out=any(counts.left_out_sites for counts in record.sets.values()),
        sequences=len(genome.lengths),
        bases=sum(genome.lengths.values()),
        command=settings.command(),
    )
    write_whole(folder.page, page)


def _bars(record: DataSetsRecord) -> tuple[list[Bar], tuple[int, int]]:
    """Return the sequences with most genes, and the numbers of the other sequences and of their genes."""
    totals: Counter[str] = Counter()
    for counts in record.sequences.values():
        totals.update(counts)
    listed = totals.most_common(_BARS)
    longest = listed[0][1]
    if longest == 1:  # a gene a sequence: bars would say nothing
        listed = []
    bars = []
    for sequence, genes in listed:
        parts: dict[SetName, tuple[int, float]] = {}
        for name in _ORDER:
            if there := record.sequences.get(name, {}).get(sequence, 0):
                parts[name] = (there, 100 * there / longest)
        bars.append(Bar(sequence, genes, parts))
    return bars, (len(totals) - len(listed), totals.total() - sum(genes for _, genes in listed))


def _motif_table(motifs: dict[str, int]) -> list[Share]:
    total = max(sum(motifs.values()), 1)
    others = {motif: count for motif, count in motifs.items() if motif not in USUAL_MOTIFS}
    rows = [(motif, motifs.get(motif, 0)) for motif in USUAL_MOTIFS]
    named = ", ".join(f"{motif} {count:,}" for motif, count in Counter(others).most_common(_OTHERS_NAMED))
    more = ", ..." if len(others) > _OTHERS_NAMED else ""
    rows.append((f"others ({named}{more})" if others else "others", sum(others.values())))
    return [Share(name, count, count / total) for name, count in rows]


def _other_kinds(kinds: list[GeneKind]) -> tuple[int, int, int]:
    """Return the numbers of kinds, of their genes, and of those in the sets."""
    return len(kinds), sum(kind.annotated for kind in kinds), sum(kind.in_sets for kind in kinds)


def _figures(plan: DataPlan, names: list[SetName], genome: Genome) -> list[Drawing]:
    sites: Numbers = {}
    transcripts: Numbers = {}
    introns: Lengths = {}
    exons: Lengths = {}
    for name in names:
        of_set = np.concatenate([chosen.introns for chosen in plan.sets[name]])
        introns[name] = of_set[:, 1] - of_set[:, 0]
        of_set = np.concatenate([chosen.canonical.exons for chosen in plan.sets[name]])
        exons[name] = of_set[:, 1] - of_set[:, 0]
        sites[name] = np.array([sites_of(chosen) for chosen in plan.sets[name]])
        transcripts[name] = np.array([len(chosen.gene.transcripts) for chosen in plan.sets[name]])
    drawings = [
        draw_figure("introns", "Lengths of introns", partial(_lengths, lengths=introns, what="introns")),
        draw_figure("exons", "Lengths of exons", partial(_lengths, lengths=exons, what="exons")),
        draw_figure(
            "sites", "Labelled sites of a gene", partial(_numbers, numbers=sites, what="labelled sites", step=2)
        ),
        draw_figure("transcripts", "Transcripts of a gene", partial(_numbers, numbers=transcripts, what="transcripts")),
    ]
    for kind, counts in _bases_around_sites([chosen for name in names for chosen in plan.sets[name]], genome).items():
        logos = [(f"{int(counts.sum(axis=1).max()):,} {kind}s", counts)]
        fill = partial(_logo, kind=kind, logos=logos)
        drawings.append(draw_figure(f"logo_{kind}", f"Bases around {kind}s", fill, grid=False))
    return drawings


def _lengths(figure: Figure, lengths: Lengths, what: str) -> None:
    """Draw the distribution of lengths in each set, on a logarithmic axis."""
    ax: Axes = figure.add_subplot()
    longest = max(int(of_set.max(initial=1)) for of_set in lengths.values())
    shortest = max(min(int(of_set.min(initial=longest)) for of_set in lengths.values()), 1)
    first, last = (int(np.floor(_BINS_PER_TENFOLD * np.log10(length))) for length in (shortest, longest))
    edges = 10 ** (np.arange(first, last + 2) / _BINS_PER_TENFOLD)
    for name, of_set in lengths.items():
        counts, _ = np.histogram(of_set, edges)
        label = f"{TITLES[name]}, median {np.median(of_set):,.0f}" if len(of_set) else f"{TITLES[name]}, none"
        _outline(ax, name, counts, edges, label)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda bases, _: f"{bases:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("bases")
    _finish(ax, f"% of the {what}")


def _numbers(figure: Figure, numbers: Numbers, what: str, step: int = 1) -> None:
    """Draw how many genes of each set have which number of something; the last bin holds those with more too.

    Bins are `step` wide: sites mostly come in pairs.
    """
    ax: Axes = figure.add_subplot()
    most = max(min(max(int(of_set.max()) for of_set in numbers.values()) // step, _MOST_COUNTED), 5)
    edges = step * (np.arange(most + 2) - 0.5)
    for name, of_set in numbers.items():
        counts = np.bincount((-(-of_set // step)).clip(max=most), minlength=most + 1)
        _outline(ax, name, counts, edges, f"{TITLES[name]}, mean {of_set.mean():.1f}")
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    more = f" ({step * most}: {step * most} or more)" if most == _MOST_COUNTED else ""
    ax.set_xlabel(f"{what} of a gene{more}")
    _finish(ax, "% of the genes")


def _outline(
    ax: Axes, name: SetName, counts: Int[np.ndarray, " bins"], edges: Num[np.ndarray, " edges"], label: str
) -> None:
    line = {"train": "-", "validation": (0, (1, 1)), "test": (0, (4, 1.5))}[name]
    ax.stairs(100 * counts / max(counts.sum(), 1), edges, color=COLOURS[name], linestyle=line, label=label)


def _finish(ax: Axes, ylabel: str) -> None:
    ax.set_ylim(0, 1.25 * ax.get_ylim()[1])  # room for the legend
    ax.set_ylabel(ylabel)
    ax.legend(fontsize=8, loc="upper right")


def _logo(figure: Figure, kind: SiteKind, logos: list[tuple[str, BaseCounts]]) -> None:
    figure.set_figheight(2.2)
    draw_logos(figure, kind, logos)


def _bases_around_sites(genes: list[ChosenGene], genome: Genome) -> dict[SiteKind, BaseCounts]:
    """Count the bases around labelled sites; where there are many, around some from all over the sets."""
    numbers = np.repeat(np.arange(len(genes)), [len(chosen.introns) for chosen in genes])
    introns = np.concatenate([chosen.introns for chosen in genes])
    picked = np.unique(np.linspace(0, len(introns) - 1, _LOGO_SITES).astype(int))
    counts: dict[SiteKind, BaseCounts] = {kind: np.zeros((len(LOGO_SPANS[kind]), 4), np.int64) for kind in SITE_KINDS}
    for number, intron in zip(numbers[picked].tolist(), introns[picked], strict=True):
        gene = genes[number].gene
        sites = sites_beside(intron[None], gene.strand)
        places: dict[SiteKind, int] = {"donor": int(sites.donors[0]), "acceptor": int(sites.acceptors[0])}
        for kind, site in places.items():
            span = LOGO_SPANS[kind]
            start = site + span.start if gene.strand == "+" else site - span.stop + 1
            codes = genome.bases(gene.sequence, start, start + len(span), gene.strand)
            known = np.flatnonzero(codes)
            counts[kind][known, codes[known] - 1] += 1
    return counts
