"""Models and runs compared on one data set: measures, differences to the first model, genes they differ on, a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import glob
from pathlib import Path

import numpy as np

from spliceai_jax.architecture import ARCHITECTURES, SITE_KINDS
from spliceai_jax.display import Display
from spliceai_jax.errors import SettingsError, check_whole
from spliceai_jax.evaluation.bootstrap import Differences, GeneCounts, differences, genes_of
from spliceai_jax.evaluation.evaluate import evaluate_windows
from spliceai_jax.evaluation.metrics import AUPRC, MEASURES, TOP_K, Metrics
from spliceai_jax.files import check_writable, write_whole
from spliceai_jax.network.ensemble import read_models
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.gene_table import NamedGene, genes_by_name
from spliceai_jax.windows.hdf5 import read_windows
from spliceai_jax.windows.windows import Windows

LISTED = 10
"""The most genes that are listed as those that a model finds better, or worse, than the first."""

_SHOWN = 5
"""How many of these the table shows."""


@dataclass(frozen=True)
class GeneChange:
    """A gene in which a model makes fewer errors than the first one, or more.

    Attributes:
        name: The gene's name; where the data set's maker left no table of genes, the shard and windows that it takes.
        place: Where it lies in the genome; empty where that is not known.
        sites: The number of its donors and acceptors.
        missed: How many of these are not called, by the first model and by this one.
        false_calls: How many other positions are called a site, by the first model and by this one.
    """

    name: str
    place: str
    sites: int
    missed: tuple[int, int]
    false_calls: tuple[int, int]

    @property
    def errors(self) -> tuple[int, int]:
        """Missed sites and false calls together, by the first model and by this one."""
        return self.missed[0] + self.false_calls[0], self.missed[1] + self.false_calls[1]


@dataclass(frozen=True)
class ComparedModel:
    """What one of the models comes to.

    Attributes:
        name: What it is called.
        models: The number of models, the mean of whose probabilities it is.
        flanking_size: Its flanking size.
        metrics: Its metrics on the data set.
        differences: How it compares with the first model; None for the first.
        winners: The genes in which it makes fewer errors than the first model, those with the largest difference first.
        losers: The genes in which it makes more.
    """

    name: str
    models: int
    flanking_size: int
    metrics: Metrics
    differences: Differences | None
    winners: tuple[GeneChange, ...]
    losers: tuple[GeneChange, ...]


@dataclass(frozen=True)
class ModelComparison:
    """Several models on one data set.

    Attributes:
        dataset: The HDF5 file.
        windows: The number of windows.
        genes: The number of genes, as far as the data set shows which windows are of one gene.
        models: The models; the first is the one that the others are compared with.
    """

    dataset: str
    windows: int
    genes: int
    models: tuple[ComparedModel, ...]


def compare_models(
    models: Mapping[str, Sequence[Pretrained]], dataset: str, seed: int, display: Display
) -> ModelComparison:
    """Score models on a data set, one after the other, and compare them with the first.

    Arguments:
        models: Name -> one or more models of one flanking size, whose mean is meant.
        seed: Decides which genes are drawn for the intervals.

    Raises:
        DatasetError: See `read_windows`.
    """
    sets: dict[int, Windows] = {}
    for one, *_ in models.values():
        if one.flanking_size not in sets:
            sets[one.flanking_size] = read_windows(dataset, one.flanking_size, display)
    largest = sets[max(sets)]
    genes = genes_of(largest)
    counts: list[GeneCounts] = []
    metrics: list[Metrics] = []
    with display.progress("compare", len(models) * len(largest)) as advance:
        for together in models.values():
            architecture = ARCHITECTURES[together[0].flanking_size]
            engine, counted = Engine(architecture, Recipe()), GeneCounts(genes, seed)
            placed = [engine.place(model.scoring_variables) for model in together]
            found, _ = evaluate_windows(
                engine, placed, sets[architecture.flanking_size], architecture.batch_size, advance, counted
            )
            counts.append(counted)
            metrics.append(found)
    named, first = genes_by_name(largest, genes), counts[0].resampled(metrics[0])
    results = []
    for i, (name, together) in enumerate(models.items()):
        winners, losers = _changes(named, counts[0], counts[i])
        results.append(
            ComparedModel(
                name,
                len(together),
                together[0].flanking_size,
                metrics[i],
                differences(first, counts[i].resampled(metrics[i])) if i else None,
                winners,
                losers,
            )
        )
    return ModelComparison(dataset, len(largest), counts[0].total, tuple(results))


def _changes(
    named: Sequence[NamedGene], first: GeneCounts, other: GeneCounts
) -> tuple[tuple[GeneChange, ...], tuple[GeneChange, ...]]:
    """Return the genes in which the other model makes fewer errors than the first, and those in which it makes more."""
    both = np.stack([sum(counts.called[kind] for kind in SITE_KINDS) for counts in (first, other)])
    hits, called, sites = np.moveaxis(both, -1, 0)
    missed, false = sites - hits, called - hits
    fewer = (missed + false)[0] - (missed + false)[1]

    def change(gene: int) -> GeneChange:
        before_after = [(int(counts[0, gene]), int(counts[1, gene])) for counts in (missed, false)]
        return GeneChange(named[gene].name, named[gene].place, int(sites[0, gene]), *before_after)

    order = np.argsort(-fewer, kind="stable")
    winners = [gene for gene in order[:LISTED] if fewer[gene] > 0]
    losers = [gene for gene in order[::-1][:LISTED] if fewer[gene] < 0]
    return tuple(map(change, winners)), tuple(map(change, losers))


def comparison_table(comparison: ModelComparison) -> str:
    """Return a comparison as text."""
    first, *others = comparison.models
    width = max(5, *(len(model.name) for model in comparison.models))
    site = f"{AUPRC.name:>6}  {TOP_K.name:>5}"
    lines = [
        f"{comparison.dataset}: {comparison.windows} windows, {comparison.genes} genes, "
        f"{first.metrics.donor.sites} donors, {first.metrics.acceptor.sites} acceptors",
        f"{'':{width}}  {'':>8}  {'donors':>13}  {'acceptors':>13}",
        f"{'model':{width}}  {'loss':>8}  {site}  {site}",
    ]
    for model in comparison.models:
        measured = [f"{AUPRC.of(one):6.3f}  {TOP_K.of(one):5.3f}" for one in map(model.metrics.site, SITE_KINDS)]
        lines.append(f"{model.name:{width}}  {model.metrics.loss:8.5f}  {'  '.join(measured)}")
    for model in others:
        assert model.differences is not None
        lines += ["", f"{model.name} is {model.differences.said} {first.name}: {model.differences.words}"]
        for kind in SITE_KINDS:
            found = model.differences.site(kind)
            lines.append(f"  {kind}s: AUPRC {found[AUPRC.key].words}, top-k {found[TOP_K.key].words}")
        for title, genes in (("fewer errors", model.winners), ("more errors", model.losers)):
            if genes:
                shown = "; ".join(f"{gene.name} ({gene.errors[0]}, then {gene.errors[1]})" for gene in genes[:_SHOWN])
                lines.append(f"  genes with {title}, missed sites and false calls: {shown}")
    return "\n".join(lines)


def compare(
    models: Sequence[str | Path],
    dataset: str | Path,
    output: str | Path | None = None,
    calibrated: bool = False,
    random_seed: int = 42,
    display: Display | None = None,
) -> ModelComparison:
    """Compare models on a data set: each with the first, by a paired bootstrap over genes.

    Arguments:
        models: Two or more `.pt` files or Orbax checkpoints, of any flanking sizes; a run's folder, or the folder above
            it, stands for its best model, another folder for the mean of the probabilities of all `.pt` files in it.
        dataset: The HDF5 file, of genes that none of the models was trained on.
        output: A page (HTML) to write.
        calibrated: Apply the temperature that lies beside each file: see `Pretrained.from_pt`.
        random_seed: Decides which genes are drawn for the intervals.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.

    Raises:
        SettingsError: Fewer than two models are given, or one is given twice.
        WeightsError: See `Pretrained.from_pt`.
        DatasetError: See `read_windows`.
        RunFolderError: The page cannot be written.
    """
    if len(models) < 2:
        raise SettingsError("`models`: expected two or more to compare; to measure one, use `spliceai-jax evaluate`")
    check_whole("random_seed", random_seed)
    named: dict[str, list[Pretrained]] = {}
    for path in models:
        if str(path) in named:
            raise SettingsError(f"`models`: {path} is given twice; give models that differ")
        named[str(path)] = read_models(_best_of_run(Path(path)), None, calibrated)
    if output is not None:
        if Path(output).is_dir():
            raise SettingsError(f"`output`: {output} is a folder; give the name of a page, such as comparison.html")
        check_writable(Path(output).absolute().parent, "output")
    found = compare_models(named, str(dataset), random_seed, display or Display())
    if output is not None:
        write_whole(Path(output), _page(found))
    return found


def _best_of_run(path: Path) -> Path:
    if glob("*.pt", root_dir=path):  # a folder of models
        return path
    folder = RunFolder.found(path)
    return folder.best_model if folder.holds_run else path


def _page(comparison: ModelComparison) -> str:
    # jinja2 takes a while to import, which what can go wrong before need not wait for.
    from spliceai_jax.report.page import rendered

    return rendered(
        "spliceai_jax.report",
        "compare.html",
        comparison=comparison,
        first=comparison.models[0],
        kinds=SITE_KINDS,
        measures=MEASURES,
        tones={"better": "good", "worse": "bad", "unclear": "open"},
        now=datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
    )
