"""Compare models and runs on one data set, and make a page about it."""

from collections.abc import Sequence
from datetime import datetime
from glob import glob
from pathlib import Path

from spliceai_jax.architecture import SITE_KINDS
from spliceai_jax.display import Display
from spliceai_jax.errors import SettingsError, check_whole
from spliceai_jax.evaluation.compared import ModelComparison, compare_models
from spliceai_jax.evaluation.metrics import MEASURES
from spliceai_jax.files import check_writable, write_whole
from spliceai_jax.network.ensemble import read_models
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.runs.folder import RunFolder


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
