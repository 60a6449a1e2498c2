"""Whether a batch fits the memory: XLA ends the process where it does not."""

from pathlib import Path

import jax

from spliceai_jax.architecture import CHANNELS, WINDOW, Architecture, Precision
from spliceai_jax.errors import SettingsError
from spliceai_jax.training.trainable import Trainable

_MEMORY = Path("/proc/meminfo")


def bytes_of_row(architecture: Architecture, trainable: Trainable, precision: Precision) -> int:
    """Return about how many bytes a row of a training batch takes while a step is computed.

    XLA's own figures for CPUs, at all flanking sizes and with one unit to all of them training, are at most 10 % higher
    and 35 % lower: for each position and channel, 6 numbers for each unit that trains and 4 to 9 for everything else.
    """
    training = sum(number >= trainable.first_entry for number in architecture.units)
    numbers = (6 * training + 6) * CHANNELS * (WINDOW + architecture.flanking_size)
    return numbers * (2 if precision == "bfloat16" else 4)


def check_memory(windows: int, of_window: int) -> None:
    """Refuse batches that the memory has no room for.

    Arguments:
        windows: Windows in a batch, over all devices.
        of_window: Bytes that a window takes.

    Raises:
        SettingsError: The message names what is needed and what there is.
    """
    devices = jax.local_devices()
    for_each = -(-windows // jax.device_count())
    if devices[0].platform == "cpu":
        needed, free, place = for_each * len(devices) * of_window, _free(), "this machine"
    else:
        figures = devices[0].memory_stats() or {}
        needed, free, place = for_each * of_window, figures.get("bytes_limit"), "the device"
    if free is not None and needed > free:
        raise SettingsError(
            f"`batch_size`: a training step of {windows} windows would take about {needed / 1e9:.0f} GB of memory, and "
            f"{place} has {free / 1e9:.0f} GB free; give at most {max(windows * free // needed, 1)}"
        )


def _free() -> int | None:
    """Return the bytes of memory that programs can still get; None where the system does not say."""
    try:
        lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
