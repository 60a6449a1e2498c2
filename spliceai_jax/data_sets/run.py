"""Data sets from a genome and its annotation: checked, split, written, each file whole or not at all."""

import shutil
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from spliceai_jax.data_sets import writing
from spliceai_jax.data_sets.folder import DataFolder, DataSetsRecord, Identity, Source, check_sources, described
from spliceai_jax.data_sets.plan import DataPlan, plan_data_sets
from spliceai_jax.data_sets.settings import CreateDataSettings
from spliceai_jax.data_sets.split import SetName
from spliceai_jax.data_sets.writing import SetCounts
from spliceai_jax.display import Advance, Display
from spliceai_jax.errors import Interrupted, RunFolderError, SpliceAIWarning
from spliceai_jax.files import check_writable, held, nearest_existing, unexpected_errors_logged, written_whole
from spliceai_jax.genome.annotation import read_annotation
from spliceai_jax.genome.fasta import Genome
from spliceai_jax.loops import StopRequest, stop_request

_BUSY = "another process makes data sets here; wait for it, or give another `output_dir`"


@dataclass(frozen=True)
class DataSets:
    """Data sets on disk.

    Attributes:
        folder: Their folder.
        train: The data set to train on; None with `chr_split="test"`, as `validation` is.
        validation: The data set whose loss picks the best model.
        test: The data set to test on.
        record: Where they come from, what they hold, and what was left out.
    """

    folder: Path
    train: Path | None
    validation: Path | None
    test: Path
    record: DataSetsRecord


def create_data(settings: CreateDataSettings, display: Display | None = None) -> DataSets:
    """Make data sets, as `spliceai-jax create-data` does.

    Where the folder holds the data sets of the same settings and files already, nothing is done. Memory does not depend
    on the genome's size, except for the table of genes, some kilobytes each. While it works, it needs a byte a base on
    disk besides the results.

    Arguments:
        settings: What to make.
        display: Shows what is done, as `ConsoleDisplay()` does; None shows nothing.

    Raises:
        SequenceError: The FASTA or the annotation file cannot be used, or they do not belong together.
        DatasetError: A set would be without splice sites.
        SettingsError: The settings do not suit the genome.
        RunFolderError: The folder holds something else, is in use, cannot be written, or has no room.
        Interrupted: A signal came; the same command begins again.
    """
    display = display or Display()
    folder = DataFolder(settings.output_dir)
    scratch = check_writable(folder.root)
    sources = Source.of(settings.genome_fasta, "a FASTA file"), Source.of(settings.annotation_gff, "a GFF3 or GTF file")
    identity = Identity.of(settings, *sources)
    if record := folder.check(identity):
        return _made_already(folder, record, display)
    annotation = read_annotation(settings.annotation_gff)
    with unexpected_errors_logged(folder.root / "error.log"), closing(Genome(settings.genome_fasta, scratch)) as genome:
        check_sources(*sources)
        plan = plan_data_sets(settings, genome, annotation, scratch, display)
        _check_room(folder, plan.bytes_needed(settings))
        display.facts(plan.facts() | {"folder": str(folder.root)})
        with held(folder.root, _BUSY), stop_request() as stop:
            if record := folder.check(identity):  # another process has made them meanwhile
                return _made_already(folder, record, display)
            folder.begin(identity)
            counts = _write(plan, folder, settings, genome, display, stop)
            record = plan.record(identity, sources, genome, counts)
            _draw_page(folder, settings, plan, record, genome)
            folder.finish(record)
    words = described(record.sets)
    for name in record.sets:
        display.line(f"{folder.dataset(name)}: {words[name]}")
    if folder.page.exists():
        display.line(f"page: {folder.page}")
    return _data_sets(folder, record)


def _made_already(folder: DataFolder, record: DataSetsRecord, display: Display) -> DataSets:
    display.facts({"folder": f"{folder.root}: made already"} | described(record.sets))
    return _data_sets(folder, record)


def _data_sets(folder: DataFolder, record: DataSetsRecord) -> DataSets:
    def path(name: SetName) -> Path | None:
        return folder.dataset(name) if name in record.sets else None

    return DataSets(folder.root, path("train"), path("validation"), folder.dataset("test"), record)


def _check_room(folder: DataFolder, needed: int) -> None:
    existing = nearest_existing(folder.root)
    if (free := shutil.disk_usage(existing).free) < needed:
        raise RunFolderError(
            f"`output_dir`: the data sets need up to {needed / 1e6:.0f} MB and {existing} has {free / 1e6:.0f} MB "
            "free; make room or give another folder"
        )


def _write(
    plan: DataPlan,
    folder: DataFolder,
    settings: CreateDataSettings,
    genome: Genome,
    display: Display,
    stop: StopRequest,
) -> dict[SetName, SetCounts]:
    counts: dict[SetName, SetCounts] = {}
    for name, genes in plan.sets.items():
        with written_whole(folder.datafile(name)) as path:
            writing.write_datafile(path, genes, genome)
        with written_whole(folder.stats(name)) as path:
            writing.write_stats(path, genes)
        with written_whole(folder.other_sites(name)) as path:
            writing.write_other_sites(path, genes)
        if name in plan.removed:
            with written_whole(folder.removed_paralogs(name)) as path:
                writing.write_removed_paralogs(path, plan.removed[name])
        if settings.write_fasta:
            with written_whole(folder.fasta(name)) as path:
                writing.write_fasta(path, genes, genome)
        with (
            written_whole(folder.dataset(name)) as path,
            display.progress(f"writing {name}", len(genes), "genes") as advance,
        ):
            watched = _watched(advance, stop)
            counts[name] = writing.write_dataset(path, genes, genome, settings.context, watched)
            if settings.verify_h5:
                writing.verify_dataset(path, genes, genome, settings.context, _watched(lambda _: None, stop))
    return counts


def _draw_page(
    folder: DataFolder,
    settings: CreateDataSettings,
    plan: DataPlan,
    record: DataSetsRecord,
    genome: Genome,
) -> None:
    """Draw the page about the data sets. They are whole already, so a failure here is only a warning."""
    try:
        # matplotlib takes half a second to import, which `transfer` and a wrong input need not wait for.
        from spliceai_jax.data_sets.page import write_page

        write_page(folder, settings, plan, record, genome)
    except Exception as error:  # whatever it is, the data sets are of use without their page
        text = f"{folder.page}: could not be made ({error}); the data sets are whole"
        warnings.warn(text, SpliceAIWarning, stacklevel=2)


def _watched(advance: Advance, stop: StopRequest) -> Callable[[int], None]:
    """Return a callback that also raises `Interrupted` once a signal has come."""

    def advanced(done: int) -> None:
        advance(done)
        if stop.received:
            raise Interrupted(
                f"stopped by {stop.received.name}; the data sets are not complete, give the same command again",
                stop.received,
            )

    return advanced
