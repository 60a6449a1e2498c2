"""Calibrate a model on a data set, and write what follows from it."""

import os
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np

from spliceai_jax import stored
from spliceai_jax.architecture import ARCHITECTURES, SITE_KINDS
from spliceai_jax.convert import read_temperature_pt, temperature_pt_bytes
from spliceai_jax.display import Advance, Display, ignore
from spliceai_jax.errors import DivergedError, RunFolderError, SettingsError, SpliceAIWarning, check_choice
from spliceai_jax.evaluation.calibration import (
    Calibration,
    MeasuredOn,
    TemperatureForm,
    calibrate_positions,
)
from spliceai_jax.evaluation.positions import Positions, PositionsGatherer
from spliceai_jax.files import check_writable, write_whole
from spliceai_jax.loops import one_in_flight
from spliceai_jax.network.model import Variables
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import Temperature, temperature_beside
from spliceai_jax.training.engine import Engine
from spliceai_jax.training.recipes import Recipe
from spliceai_jax.windows.hdf5 import check_form, read_windows
from spliceai_jax.windows.windows import Windows


def calibrate(
    model: str | Path,
    validation_dataset: str | Path,
    output_dir: str | Path,
    test_dataset: str | Path | None = None,
    flanking_size: int | None = None,
    temperatures: TemperatureForm = "class",
    temperature_file: str | Path | None = None,
    random_seed: int = 42,
    display: Display | None = None,
) -> Calibration:
    """Fit a model's temperature on a data set that it was not trained on, and write the calibrated model.

    Arguments:
        model: A `.pt` file or an Orbax checkpoint. A temperature that it holds is left out.
        validation_dataset: The HDF5 file to fit on.
        output_dir: Folder that the files are written to: `calibrated_model.pt`, `temperature.pt`, `temperature.txt`,
            `calibration.json`, `MODEL.temperature.json`, and tables and figures in `calibration/results`.
        test_dataset: An HDF5 file to measure on as well.
        flanking_size: The flanking size that the weights must have; None accepts any.
        temperatures: "class": one for each class; "single": one for all, which never changes which class has the
            highest score.
        temperature_file: A `temperature.pt` whose temperature is measured and written, instead of one that is fitted.
        random_seed: Decides which positions are drawn, where a set has more than a million to keep.
        display: Shows the progress, as `ConsoleDisplay()` does; None shows nothing.

    Raises:
        WeightsError: See `Pretrained.from_pt`; or the temperature's file is none.
        DatasetError: See `read_windows`.
        RunFolderError: The folder holds a calibrated model already, or cannot be written.
    """
    check_choice("temperatures", temperatures, ("class", "single"))
    display, path, folder = display or Display(), Path(model), Path(output_dir).absolute()
    given = None if temperature_file is None else read_temperature_pt(temperature_file)
    pretrained = Pretrained.load_weights(path, flanking_size)
    _check_folder(folder)
    sets = _read_sets(validation_dataset, test_dataset, pretrained.flanking_size, display)
    architecture = ARCHITECTURES[pretrained.flanking_size]
    engine = Engine(architecture, Recipe())
    with display.progress("calibrate", sum(map(len, sets.values()))) as advance:
        placed, rows = engine.place(pretrained.variables), architecture.batch_size
        positions = {
            name: gather_positions(engine, placed, windows, rows, random_seed, advance)
            for name, windows in sets.items()
        }
    calibration = calibrate_positions(positions, sets["validation"], pretrained.sha256_at(path), given or temperatures)
    _write(folder, path, pretrained, calibration)
    for doubt in calibration.doubts:
        warnings.warn(doubt, SpliceAIWarning, stacklevel=2)
    return calibration


def gather_positions(
    engine: Engine, variables: Variables, windows: Windows, rows: int, seed: int, after_batch: Advance = ignore
) -> Positions:
    """Send windows through a network and gather their labelled positions.

    Arguments:
        variables: Placed on the engine's devices.
        after_batch: Called with the number of windows done in each batch.

    Raises:
        DivergedError: The network's output is infinite or not a number.
    """
    gathered = PositionsGatherer(seed)
    dispatched = ((packed, engine.logits(variables, packed.batch)) for packed in windows.scoring_batches(rows))
    for packed, found in one_in_flight(dispatched):
        logits = packed.by_window(found)
        if not np.isfinite(logits).all():
            raise DivergedError(f"{windows.files}: the model's output here is not finite; its weights are unusable")
        gathered.add(logits, packed.labels)
        after_batch(len(packed.positions))
    return gathered.result()


def _check_folder(folder: Path) -> None:
    if os.path.lexists(folder) and not folder.is_dir():
        raise RunFolderError(f"`output_dir`: {folder} is a file; give a folder")
    check_writable(folder)
    if (there := folder / "calibrated_model.pt").exists():
        raise RunFolderError(f"{there}: exists already; give another `output_dir`, or move the file away")


def _read_sets(
    validation: str | Path, test: str | Path | None, flanking_size: int, display: Display
) -> dict[MeasuredOn, Windows]:
    paths: dict[MeasuredOn, str | Path] = {"validation": validation}
    if test is not None:
        paths["test"] = test
    for path in paths.values():  # before the first one is read, which may take minutes
        check_form(path)
    sets = {name: read_windows(path, flanking_size, display) for name, path in paths.items()}
    if test is not None and sets["test"].fingerprint == sets["validation"].fingerprint:
        raise SettingsError(
            f"{test}: the test set is the validation set; what is measured there would be too good; give another "
            "`test_dataset`, or none"
        )
    return sets


def _write(folder: Path, model: Path, pretrained: Pretrained, calibration: Calibration) -> None:
    # matplotlib takes a second to import, which what can go wrong before need not wait for.
    from spliceai_jax.report.panels import reliability_plot

    for name, measures in calibration.measures.items():
        results = folder / "calibration" / "results" / name
        for kind, found in (("original", measures.before), ("calibrated", measures.after)):
            title = kind.capitalize()
            text = f"{title}_NLL\t{title}_ECE\n{found.nll:.8f}\t{found.ece:.8f}\n"
            write_whole(results / f"metrics_{kind}.txt", text)
        for site in SITE_KINDS:
            write_whole(results / "plots" / f"reliability_{site}.png", reliability_plot(site, measures).png)
    write_whole(folder / "calibration.json", stored.render(asdict(calibration)))
    write_whole(folder / "temperature.pt", temperature_pt_bytes(calibration.temperature))
    write_whole(folder / "temperature.txt", _as_numpy_prints(calibration.temperature))
    write_whole(folder / temperature_beside(model).name, calibration.file.render())
    calibrated = Pretrained(pretrained.flanking_size, pretrained.variables, calibration.temperature)
    calibrated.to_calibrated_pt(folder / "calibrated_model.pt")


def _as_numpy_prints(temperature: Temperature) -> str:
    return "[" + " ".join(f"{value:.8g}" for value in temperature) + "]"
