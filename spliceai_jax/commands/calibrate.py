"""`spliceai-jax calibrate`."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spliceai_jax.commands.flags import (
    Arguments,
    Commands,
    OneModel,
    add_command,
    add_flanking_size,
)
from spliceai_jax.display import say
from spliceai_jax.errors import SettingsError, SpliceAIWarning, check_whole

_OF_OPENSPLICEAI: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {
    "epochs": (("--epochs", "-n"), {"type": int, "metavar": "N"}),
    "early_stopping": (("--early-stopping", "-E"), {"action": "store_true"}),
    "patience": (("--patience", "-P"), {"type": int, "metavar": "N"}),
    "project_name": (("--project-name", "-p"), {"metavar": "NAME"}),
    "exp_num": (("--exp-num", "-e"), {"metavar": "N"}),
    "loss": (("--loss", "-l"), {"metavar": "LOSS"}),
}
"""Flags that OpenSpliceAI's command lines hold, and which have nothing to decide here."""


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "calibrate",
        run,
        "fit a model's temperature, so that its scores can be read as probabilities",
        "spliceai-jax calibrate -m model_400nt_rs10.pt -d dataset_validation.h5 -test dataset_test.h5 -o calibrated",
    )
    add_flag = parser.add_argument
    add_flag(
        *("--pretrained-model", "--model", "-m"),
        required=True,
        action=OneModel,
        nargs="+",
        dest="model",
        metavar="PT",
        help="weights: a .pt file, or an Orbax checkpoint that convert has made",
    )
    add_flag(
        "--validation-dataset",
        "-d",
        metavar="H5",
        help="data set to fit on, which the model was not trained on",
    )
    add_flag(
        "--train-dataset",
        "-train",
        metavar="H5",
        help="instead of --validation-dataset: the training file; the file beside it with 'validation' for 'train' in "
        "its name is taken",
    )
    add_flag("--test-dataset", "-test", metavar="H5", help="data set to measure the scores on as well")
    add_flag("--output-dir", "-o", required=True, metavar="DIR", help="folder of the results")
    add_flag(
        "--temperatures",
        choices=("class", "single"),
        help="a temperature for each class, or one for all (default: class)",
    )
    add_flag(
        "--temperature-file",
        "-T",
        metavar="PT",
        help="a temperature.pt whose temperature is used, so that none is fitted",
    )
    add_flag(
        "--random-seed",
        "-r",
        type=int,
        metavar="N",
        help="decides which positions are used if there are more than can be kept (default: 42)",
    )
    add_flanking_size(add_flag)
    stock = parser.add_argument_group("flags of OpenSpliceAI that have no effect here")
    for name, (flags, options) in _OF_OPENSPLICEAI.items():
        stock.add_argument(*flags, dest=name, help="no effect", **options)


def run(arguments: Arguments, wording: Callable[[str], str]) -> None:
    """Run the command."""
    without_effect = [name for name in _OF_OPENSPLICEAI if arguments.pop(name, None) is not None]
    check_whole("random_seed", arguments.get("random_seed"))
    arguments["validation_dataset"] = _validation(arguments)
    from spliceai_jax.display import ConsoleDisplay
    from spliceai_jax.report.sections import calibration_table
    from spliceai_jax.scoring.calibrate import calibrate

    if without_effect:
        named = ", ".join(f"`{name}`" for name in without_effect)
        warnings.warn(f"these flags have no effect here: {named}", SpliceAIWarning, stacklevel=1)
    calibration = calibrate(**arguments, display=ConsoleDisplay(wording))
    say(calibration_table(calibration))
    say(f"calibrated model: {Path(arguments['output_dir']) / 'calibrated_model.pt'}")


def _validation(arguments: Arguments) -> str | Path:
    """Return the data set to fit on, and take `train_dataset` out of the arguments."""
    train = arguments.pop("train_dataset", None)
    if (given := arguments.get("validation_dataset")) is not None:
        return given
    if train is None:
        raise SettingsError("nothing to fit on; give `validation_dataset`, or `train_dataset` to find it by")
    from spliceai_jax.windows.splits import validation_sibling

    if (sibling := validation_sibling(Path(train))) is None:
        raise SettingsError(
            f"{train}: no file beside it has 'validation' for 'train' in its name; give `validation_dataset`"
        )
    return sibling
