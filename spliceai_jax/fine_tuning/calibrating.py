"""The temperature of a run's best model, fitted at the end of the run and written beside the model."""

import hashlib
from collections.abc import Mapping

from spliceai_jax.data.windows import Windows
from spliceai_jax.display import Advance
from spliceai_jax.errors import WeightsError
from spliceai_jax.evaluation.calibrated import Calibration, calibrate_windows
from spliceai_jax.network.pretrained import Pretrained
from spliceai_jax.network.temperature import read_temperature, temperature_beside
from spliceai_jax.runs.folder import RunFolder
from spliceai_jax.runs.history import Split
from spliceai_jax.runs.read import read_calibration
from spliceai_jax.training.engine import Engine


def known_calibration(folder: RunFolder) -> Calibration | None:
    """Return what the best model's temperature was found to do; None unless that and the temperature are there."""
    try:
        read_temperature(folder.best_model, hashlib.sha256(folder.best_model.read_bytes()).hexdigest())
        beside = temperature_beside(folder.best_model).read_text()
    except (OSError, ValueError, WeightsError):
        return None
    measured = read_calibration(folder)
    return measured if measured and measured.file.render() == beside else None


def calibrate_best(
    folder: RunFolder, engine: Engine, sets: Mapping[Split, Windows], rows: int, seed: int, after_batch: Advance
) -> Calibration:
    """Fit the best model's temperature on the validation set, measure it on both sets, and write both.

    One temperature for all classes: the called classes, and with them what the run has measured of precision and
    recall, stay as they are.

    Arguments:
        folder: The run's folder.
        engine: Runs the network, on devices of this process.
        sets: The run's sets.
        rows: Rows in a batch.
        seed: Decides which positions are drawn where there are too many to keep.
        after_batch: Called with the number of windows done in each batch.
    """
    model = Pretrained.load_weights(folder.best_model)
    calibration = calibrate_windows(
        engine,
        engine.place(model.variables),
        {"validation": sets["validation"], "test": sets["test"]},
        rows,
        hashlib.sha256(folder.best_model.read_bytes()).hexdigest(),
        "single",
        seed,
        after_batch,
    )
    folder.write(folder.calibration, calibration.to_json())
    folder.write(temperature_beside(folder.best_model), calibration.file.render())
    return calibration
